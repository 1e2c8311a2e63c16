"""Usage events in batches: what a node has kept while it could not be heard, and what an operator fills in later."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from scalar.accounts.keys import Role
from scalar.accounts.model import Principal
from scalar.accounts.store import audit
from scalar.errors import Forbidden, TooLarge
from scalar.metering.batches import NewEvent, Refusal
from scalar.metering.ingest import Taken, take
from scalar.metering.model import UsageKind
from scalar.protocol import Text
from scalar_api.dependencies import Caller, Db, Now
from scalar_api.problems import responses

router = APIRouter(prefix="/v1", tags=["metering"])

MOST_EVENTS = 10_000
_INTEGER = 2**31 - 1


class Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    run_id: Text = Field(max_length=100)
    rank: int = Field(default=0, ge=0, le=_INTEGER)
    kind: UsageKind
    sequence: int = Field(default=0, ge=0, le=_INTEGER, description="Of a sign of life: from 1 on. Else 0.")
    at: AwareDatetime

    @model_validator(mode="after")
    def _only_alive_counts(self) -> "Event":
        if (self.kind is UsageKind.ALIVE) != (self.sequence > 0):
            raise ValueError("sequence: `alive` counts from 1 on, `started` and `ended` have none")
        return self


class _Malformed:
    """What stands where an item of the batch is no event."""

    def __init__(self, why: str) -> None:
        self.why = why


def _event_or_why_not(item: object, validate: ValidatorFunctionWrapHandler) -> Event | _Malformed:
    """One bad item doesn't spoil the batch."""
    try:
        return validate(item)  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return _Malformed(": ".join([*(str(part) for part in first["loc"]), first["msg"]]))


_Item = Annotated[
    Annotated[Event, WrapValidator(_event_or_why_not)] | SkipJsonSchema[InstanceOf[_Malformed]],
    Field(union_mode="left_to_right"),
]


class Batch(BaseModel):
    events: list[_Item] = Field(max_length=MOST_EVENTS)


class Refused(BaseModel):
    index: int = Field(description="Of the event in the batch, from 0 on.")
    reason: Refusal
    detail: str


class Receipt(BaseModel):
    """Whatever became of an event, it need not be sent again as it is."""

    accepted: int
    known: int = Field(description="Those that stood already, or came twice in the batch.")
    refused: list[Refused]


def _reporter(caller: Caller) -> Principal:
    if caller.role is Role.CUSTOMER:
        raise Forbidden("What was used is said by the nodes; a customer's key can't.")
    return caller


Reporter = Annotated[Principal, Depends(_reporter)]
"""A node, of its own tasks; or an operator, of all."""


@router.post("/usage-events", responses=responses(TooLarge))
def add_usage_events(body: Batch, caller: Reporter, database: Db, now: Now) -> Receipt:
    """Add what is missing of tasks whose start is known; repeats are no-ops, and what is refused holds up nothing else.

    The state of no run changes: starts and ends are known by the nodes' reports alone.
    """
    malformed = {index: item.why for index, item in enumerate(body.events) if isinstance(item, _Malformed)}
    events = {index: _event(item) for index, item in enumerate(body.events) if isinstance(item, Event)}
    with database.transaction() as tx:
        taken = take(tx, events, node_id=caller.node_id, now=now)
        if caller.role is Role.OPERATOR and taken.accepted:
            audit(tx, caller.actor, "usage_events.add", "usage_events", accepted=taken.accepted)
    return Receipt(accepted=taken.accepted, known=taken.known, refused=_refused(taken, malformed))


def _event(item: Event) -> NewEvent:
    return NewEvent(run_id=item.run_id, rank=item.rank, kind=item.kind, sequence=item.sequence, at=item.at)


def _refused(taken: Taken, malformed: dict[int, str]) -> list[Refused]:
    bad = [Refused(index=index, reason=Refusal.MALFORMED, detail=why) for index, why in malformed.items()]
    others = [Refused(index=index, reason=why, detail=why.advice) for index, why in taken.refused.items()]
    return sorted([*bad, *others], key=lambda each: each.index)
