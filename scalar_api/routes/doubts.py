"""Hours whose usage is in doubt, for operators: seen, and accepted."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, Field

from scalar.errors import NotFound
from scalar.metering import doubts
from scalar.metering.model import Window, hour_of
from scalar_api.dependencies import Db, Now, Operator
from scalar_api.invoice_views import ReasonBody
from scalar_api.problems import responses

router = APIRouter(prefix="/v1/metered-hours", tags=["billing"])
_OF_AN_HOUR = responses(NotFound)
Hour = Annotated[AwareDatetime, Path(examples=["2026-01-09T14:00Z"], description="Any moment of it.")]


class DoubtView(BaseModel):
    says: str
    accepted: bool = Field(description="Somebody has looked: it holds the hour back no more.")


class DoubtList(BaseModel):
    hour: datetime
    data: list[DoubtView]


@router.get("/{hour}/doubts", responses=_OF_AN_HOUR)
def list_doubts(hour: Hour, _: Operator, database: Db) -> DoubtList:
    """Why an hour is not rated: GPUs that two runs had at once, runs that are metered otherwise than they ran."""
    window = Window.hour(hour_of(hour))
    with database.transaction() as tx:
        return _view(window, doubts.doubts(tx, window))


@router.post("/{hour}/accept", responses=_OF_AN_HOUR)
def accept_doubts(hour: Hour, body: ReasonBody, caller: Operator, database: Db, now: Now) -> DoubtList:
    """You have looked: let the hour be rated as it is metered. What nobody should pay, correct by a credit note.

    Who did it, and why, is kept. Where more becomes doubtful, the hour waits again. Repeats change nothing.
    """
    window = Window.hour(hour_of(hour))
    with database.transaction() as tx:
        return _view(window, doubts.accept(tx, window, reason=body.reason, actor=caller.actor, now=now))


def _view(window: Window, found: list[doubts.Doubt]) -> DoubtList:
    return DoubtList(hour=window.start, data=[DoubtView(says=each.says, accepted=each.accepted) for each in found])
