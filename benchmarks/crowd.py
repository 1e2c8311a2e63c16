"""A thousand jobs at once: how long a pass decides, and how fast their runs are launched through Dagster."""

import statistics
import time
from datetime import UTC, datetime, timedelta

from scalar.accounts import store as accounts
from scalar.accounts.keys import key_hash
from scalar.capacity import fleet
from scalar.capacity.model import FreeNode
from scalar.capacity.scheduling import place
from scalar.database import Channel, Database, Transaction, notify
from scalar.jobs import life
from scalar.jobs.model import Job, JobSpec, JobState, Requirements, Tier
from scalar.market import joining
from scalar.protocol import Gpu, NodeFacts, RuntimeKind
from scalar_api.up.platform import Platform

JOBS, NODES, GPUS = 1000, 200, 8
_GIB = 1024**3
_SPEC = JobSpec(name="crowd", image="none", requirements=Requirements(gpus=1), tier=Tier.FAST)


def one_pass() -> dict[str, float]:
    """The pure decision, as often as gives a steady median."""
    now = datetime.now(UTC)
    queue = [a_job(number, now) for number in range(JOBS)]
    nodes = [a_node(number) for number in range(NODES)]
    times = []
    for _ in range(30):
        began = time.perf_counter()
        decision = place(queue, nodes, {}, now)
        times.append(time.perf_counter() - began)
    if len(decision.placements) != JOBS:
        raise RuntimeError(f"{len(decision.placements)} of {JOBS} were placed")
    return {"decision, median s (goal ≤ 0.5)": statistics.median(times)}


def launch_all(platform: Platform) -> dict[str, float]:
    """Nodes that have joined and have no agent: what is timed is the control plane, up to the claim of every run."""
    with Database(platform.database_url) as database:
        with database.transaction() as tx:
            prepare(tx, platform.credentials.customer_key)
        began = time.perf_counter()
        with database.transaction() as tx:
            notify(tx, Channel.QUEUE, "crowd")
        placed = wait_for(database, "select count(*) as n from job_runs", began)
        launched = wait_for(database, "select count(*) as n from job_runs where dagster_run_id is not null", began)
    return {
        "placed, s": placed,
        "placed and launched, s": launched,
        "launched a second (goal ≥ 10)": JOBS / launched,
    }


def prepare(tx: Transaction, customer_key: str) -> None:
    now = datetime.now(UTC)
    caller = accounts.principal(tx, key_hash(customer_key), now)
    if caller is None or caller.organisation_id is None:
        raise RuntimeError("the platform's own key is not known")
    token = fleet.new_join_token(tx, actor="bench", uses=NODES, lifetime=timedelta(hours=1), now=now)
    for number in range(NODES):
        joining.join(tx, token.secret, facts(number), now)
    tx.execute("update nodes set state = 'draining' where name not like 'crowd-%'")
    for _ in range(JOBS):
        life.submit(
            tx, _SPEC, organisation_id=caller.organisation_id, key_id=caller.key_id, idempotency_key=None, now=now
        )


def wait_for(database: Database, count: str, began: float) -> float:
    """Seconds until the count is all of them; the nodes are kept alive meanwhile."""
    kept_alive = 0.0
    while True:
        took = time.perf_counter() - began
        with database.transaction() as tx:
            row = tx.execute(count).fetchone()
            if took - kept_alive > 20:
                kept_alive = took
                tx.execute("update nodes set last_seen_at = now() where name like 'crowd-%'")
        if row is not None and row["n"] >= JOBS:
            return took
        if took > 300:
            raise RuntimeError(f"{row} of {JOBS} after {took:.0f} s")
        time.sleep(0.1)


def facts(number: int) -> NodeFacts:
    return NodeFacts(
        name=f"crowd-{number:03}",
        gpus=[Gpu(index=index, type="H100") for index in range(GPUS)],
        cpus=128,
        memory_bytes=1024 * _GIB,
        runtime=RuntimeKind.DOCKER,
        agent_version="bench",
        boot_id="bench",
    )


def a_node(number: int) -> FreeNode:
    return FreeNode(
        id=f"node_{number:03}",
        gpu_type="H100",
        gpus_total=GPUS,
        free_gpus=tuple(range(GPUS)),
        cpus_total=128,
        free_cpus=128,
        memory_total=1024 * _GIB,
        free_memory=1024 * _GIB,
    )


def a_job(number: int, now: datetime) -> Job:
    return Job(
        id=f"job_{number:04}",
        organisation_id="org",
        spec=_SPEC,
        state=JobState.QUEUED,
        reason=None,
        failures=0,
        interruptions=0,
        submitted_at=now,
        queued_at=now,
        not_before=None,
        ended_at=None,
        waiting=None,
    )
