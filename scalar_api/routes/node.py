"""What a node's agent asks and tells: the API's side of `scalar.protocol`."""

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from scalar.capacity import store
from scalar.database import Database, Transaction
from scalar.errors import NotAuthenticated, NotFound
from scalar.jobs import logs
from scalar.jobs.reports import apply_report, may_append
from scalar.jobs.tasks import desired_tasks
from scalar.market.joining import heard
from scalar.protocol import (
    DesiredState,
    LogBatch,
    LogOffsets,
    LogReceipt,
    NodeFacts,
    ReportBatch,
    ReportReceipt,
)
from scalar_api.dependencies import Db, Hub, NodeCaller, Now
from scalar_api.problems import responses

router = APIRouter(prefix="/v1/node", tags=["node agent"])
_OF_A_NODE = responses(NotFound)


@router.put("/facts", status_code=204, responses=_OF_A_NODE)
def put_facts(body: NodeFacts, caller: NodeCaller, database: Db, now: Now) -> Response:
    """After each start of the agent."""
    with database.transaction() as tx:
        store.update_facts(tx, str(caller.node_id), body, now)
    return Response(status_code=204)


@router.get("/desired", responses=_OF_A_NODE)
async def get_desired(
    caller: NodeCaller,
    database: Db,
    hub: Hub,
    now: Now,
    version: Annotated[int, Query(description="The version that the agent has; -1 for none.")] = -1,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for another one.")] = 25,
) -> DesiredState:
    """What this node should run, as soon as it differs from what the agent has; holds no thread while it waits."""
    node_id = str(caller.node_id)
    deadline = time.monotonic() + wait
    with hub.subscribe(node_id) as waiter:
        await run_in_threadpool(_seen, database, node_id, now)
        while True:
            current = await run_in_threadpool(_version, database, node_id)
            left = deadline - time.monotonic()
            if current != version or left <= 0 or hub.closing:
                return await run_in_threadpool(_desired, database, node_id)
            await waiter.wait(left)


@router.post("/reports", responses=_OF_A_NODE)
def post_reports(body: ReportBatch, caller: NodeCaller, database: Db, now: Now) -> ReportReceipt:
    """Each report in a transaction of its own, in order: one bad one holds up nobody else's."""
    outcomes = []
    for report in body.reports:
        with database.transaction() as tx:
            outcomes.append(apply_report(tx, str(caller.node_id), report, now))
    return ReportReceipt(outcomes=outcomes)


@router.post("/logs", responses=_OF_A_NODE)
def post_logs(body: LogBatch, caller: NodeCaller, database: Db) -> LogReceipt:
    """Output of one task, by offset."""
    with database.transaction() as tx:
        return _append(tx, str(caller.node_id), body)


def _append(tx: Transaction, node_id: str, batch: LogBatch) -> LogReceipt:
    if not may_append(tx, node_id, batch):
        return LogReceipt(offsets=LogOffsets(), stale=True)
    return logs.append(tx, batch.run_id, batch.rank, batch.frames)


def _seen(database: Database, node_id: str, now: Now) -> None:
    with database.transaction() as tx:
        if not store.seen(tx, node_id, now):
            raise NotAuthenticated("This node is gone: join again under a new id.")
        heard(tx, node_id, now)


def _version(database: Database, node_id: str) -> int:
    with database.transaction() as tx:
        return store.desired_version(tx, node_id)


def _desired(database: Database, node_id: str) -> DesiredState:
    """The version is read first: what changes in between comes again with the next version."""
    with database.transaction() as tx:
        version = store.desired_version(tx, node_id)
        return DesiredState(version=version, tasks=desired_tasks(tx, node_id), server_time=datetime.now(UTC))
