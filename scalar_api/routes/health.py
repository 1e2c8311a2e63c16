"""Is it up, can it work, and how much does it do: for load balancers and Prometheus."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from scalar.errors import Conflict, Unavailable
from scalar.migrations import available, pending
from scalar_api.dependencies import Db, Hub
from scalar_api.metrics import CONTENT_TYPE, render

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", responses={503: {"description": "The database does not answer, or lacks a migration."}})
def readyz(database: Db) -> Health:
    """It can serve: the database answers and has every migration."""
    with database.transaction() as tx:
        try:
            missing = pending(tx, available())
        except Conflict as error:
            raise Unavailable(error.message) from error
    if missing:
        raise Unavailable(f"The database lacks {len(missing)} migration(s): run `scalar admin migrate`.")
    return Health()


@router.get("/metrics", response_class=Response)
def metrics(request: Request, database: Db, hub: Hub) -> Response:
    """Prometheus text: jobs by state and tier, GPUs in use, the oldest waiting job, requests and their latency."""
    text = render(request.app.state.metrics, database, listening=hub.connected, now=datetime.now(UTC))
    return Response(text, media_type=CONTENT_TYPE)
