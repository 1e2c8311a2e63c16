"""Values with defaults, for tests to name only what matters to them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic import SecretStr

from scalar.accounts import store as accounts
from scalar.accounts.keys import Key, Role, new_key
from scalar.accounts.model import Organisation
from scalar.capacity import fleet
from scalar.capacity.model import FreeNode, Node
from scalar.capacity.placing import run_pass
from scalar.database import Transaction
from scalar.jobs import life, store, tasks
from scalar.jobs.model import Job, JobRun, JobSpec, JobState, Requirements, RunState, Task, TaskState, Tier
from scalar.jobs.reports import apply_report
from scalar.market import joining
from scalar.market import store as market
from scalar.market.model import Fill, Order, OrderRequest, OrderState, Rectangle, Side
from scalar.protocol import (
    Gpu,
    NodeFacts,
    ReportOutcome,
    RuntimeKind,
    TaskAlive,
    TaskEnded,
    TaskEnding,
    TaskReport,
    TaskRunning,
    TaskStarting,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
GIB = 1024**3


def a_spec(**changes: Any) -> JobSpec:
    """`gpus`, `nodes`, `gpu_type`, `cpus`, `memory_bytes` go to the requirements."""
    wanted = {k: changes.pop(k) for k in ("gpus", "nodes", "gpu_type", "cpus", "memory_bytes") if k in changes}
    spec = JobSpec(
        name="train", image="busybox:local", requirements=Requirements(**{"gpus": 1, **wanted}), tier=Tier.FAST
    )
    return replace(spec, **changes)


def a_job(id: str = "job_1", **changes: Any) -> Job:
    """A queued job; what isn't a field of `Job` goes to its spec."""
    fields = {k: changes.pop(k) for k in list(changes) if k in Job.__dataclass_fields__ and k != "spec"}
    job = Job(
        id=id,
        organisation_id="org_1",
        spec=a_spec(**changes),
        state=JobState.QUEUED,
        reason=None,
        failures=0,
        interruptions=0,
        submitted_at=NOON,
        queued_at=NOON,
        not_before=None,
        ended_at=None,
        waiting=None,
    )
    return replace(job, **fields)


def a_free_node(id: str = "node_1", gpus: int = 8, **changes: Any) -> FreeNode:
    node = FreeNode(
        id=id,
        gpu_type="H100",
        gpus_total=gpus,
        free_gpus=tuple(range(gpus)),
        cpus_total=gpus * 16.0,
        free_cpus=gpus * 16.0,
        memory_total=gpus * 64 * GIB,
        free_memory=gpus * 64 * GIB,
    )
    return replace(node, **changes)


def facts(name: str = "alpha", gpus: int = 8, gpu_type: str = "H100", **changes: Any) -> NodeFacts:
    return NodeFacts(
        **{
            "name": name,
            "gpus": [Gpu(index=index, type=gpu_type) for index in range(gpus)],
            "cpus": gpus * 16.0,
            "memory_bytes": gpus * 64 * GIB,
            "runtime": RuntimeKind.DOCKER,
            "agent_version": "test",
            "boot_id": "boot",
            **changes,
        }
    )


def an_organisation(tx: Transaction, name: str = "acme", **changes: Any) -> Organisation:
    return accounts.create_organisation(tx, name, **changes)


def a_key(tx: Transaction, role: Role = Role.CUSTOMER, organisation_id: str | None = None) -> tuple[Key, str]:
    """The key and its id."""
    key = new_key(role)
    return key, accounts.create_key(tx, key, role, name="test", organisation_id=organisation_id).id


def a_node(tx: Transaction, name: str = "alpha", gpus: int = 8, *, now: datetime = NOON, **changes: Any) -> Node:
    """A node that has joined as an agent would."""
    token = fleet.new_join_token(tx, actor="test", uses=1, lifetime=timedelta(hours=1), now=now)
    node, _ = joining.join(tx, token.secret, facts(name, gpus, **changes), now)
    return node


def a_submitted_job(tx: Transaction, organisation_id: str, key_id: str, *, now: datetime = NOON, **spec: Any) -> Job:
    return life.submit(
        tx, a_spec(**spec), organisation_id=organisation_id, key_id=key_id, idempotency_key=None, now=now
    ).job


def a_launched_run(tx: Transaction, job_id: str, dagster_run_id: str, *, now: datetime = NOON) -> JobRun:
    """The job's run, placed by a pass and claimed by a Dagster run."""
    run_pass(tx, now)
    run = store.runs_of_job(tx, job_id)[-1]
    assert life.launch(tx, run.id, dagster_run_id, now)
    return store.run(tx, run.id)  # type: ignore[return-value]


def a_run(**changes: Any) -> JobRun:
    """A run that is placed."""
    run = JobRun(
        id="run_1",
        job_id="job_1",
        attempt=1,
        state=RunState.PLACED,
        reason=None,
        message=None,
        exit_code=None,
        token=SecretStr("token"),
        dagster_run_id=None,
        placed_at=NOON,
        launched_at=None,
        started_at=None,
        ended_at=None,
        stop_reason=None,
    )
    return replace(run, **changes)


def a_task(**changes: Any) -> Task:
    task = Task(
        run_id="run_1",
        rank=0,
        node_id="node_1",
        node_name="alpha",
        gpus=[0],
        state=TaskState.PENDING,
        detail=None,
        started_at=None,
        ended_at=None,
        ending=None,
        exit_code=None,
        message=None,
        gpu_seconds=0.0,
    )
    return replace(task, **changes)


def a_customer(tx: Transaction, name: str = "acme", **changes: Any) -> tuple[str, str]:
    """(id of a new organisation, id of a key of its)."""
    org = an_organisation(tx, name, **changes)
    return org.id, a_key(tx, organisation_id=org.id)[1]


def a_job_of(tx: Transaction, customer: tuple[str, str], *, now: datetime = NOON, **spec: Any) -> Job:
    return a_submitted_job(tx, *customer, now=now, **spec)


def launch(tx: Transaction, job_id: str, *, now: datetime = NOON) -> JobRun:
    """As `a_launched_run`, by some Dagster run."""
    return a_launched_run(tx, job_id, str(uuid4()), now=now)


def node_of(tx: Transaction, run: JobRun, rank: int = 0) -> str:
    """The id of the node that a task of the run was placed on."""
    return tasks.task_rows(tx, run.id)[rank].node_id


def starting(run: JobRun, *, at: datetime = NOON, rank: int = 0, **changes: Any) -> TaskStarting:
    return TaskStarting(run_id=run.id, token=run.token, at=at, rank=rank, **changes)


def running(run: JobRun, *, at: datetime = NOON, rank: int = 0, **changes: Any) -> TaskRunning:
    return TaskRunning(run_id=run.id, token=run.token, at=at, rank=rank, **{"container_id": "c", **changes})


def alive(run: JobRun, *, started_at: datetime = NOON, rank: int = 0, sequence: int = 1) -> TaskAlive:
    at = started_at + sequence * timedelta(seconds=60)
    return TaskAlive(run_id=run.id, token=run.token, at=at, rank=rank, sequence=sequence)


def ended(
    run: JobRun, *, at: datetime = NOON, started_at: datetime | None = NOON, rank: int = 0, **changes: Any
) -> TaskEnded:
    """It exited with 0 unless told otherwise."""
    how = {"ending": TaskEnding.EXITED, **changes}
    if how["ending"] is TaskEnding.EXITED:
        how.setdefault("exit_code", 0)
    return TaskEnded(run_id=run.id, token=run.token, at=at, started_at=started_at, rank=rank, **how)


def told(tx: Transaction, run: JobRun, report: TaskReport, *, now: datetime | None = None) -> ReportOutcome:
    """The report, from the node that the task was placed on."""
    return apply_report(tx, node_of(tx, run, report.rank), report, now or report.at)


def a_block(
    tx: Transaction, *, start: datetime, hours: float = 2, nodes: int = 1, price: str = "12", sku: str = "isku_sea3h100"
) -> tuple[str, Order]:
    """A purchase that has filled, in our books alone: (the block's id, its order)."""
    window = Rectangle(start=start, end=start + timedelta(hours=hours), nodes=nodes)
    order = a_filled_order(tx, Side.BUY, sku, window, price, filled_at=start)
    return market.insert_block(tx, order.id, 0, 0, sku, window, Decimal(price)), order


def a_filled_order(
    tx: Transaction, side: Side, sku: str, window: Rectangle, price: str, *, filled_at: datetime
) -> Order:
    """All of it at its limit, in one fill."""
    request = OrderRequest(side=side, sku=sku, window=window, limit_price=Decimal(price), purpose="a test")
    order = market.insert_order(
        tx,
        request,
        state=OrderState.INTENDED,
        requested_by="test",
        plan_id=None,
        idempotency_key=None,
        message=None,
        now=filled_at,
    )
    assert order is not None
    market.move_order(tx, order.id, OrderState.PENDING, filled_at, market_id=f"ordr_{order.id}")
    fill = Fill(contract=None, filled_at=filled_at, price=Decimal(price), parts=(window,))
    market.insert_fill(tx, order.id, 0, fill)
    market.add_amount(tx, order.id, fill.amount)
    market.move_order(tx, order.id, OrderState.FILLED, filled_at)
    return order
