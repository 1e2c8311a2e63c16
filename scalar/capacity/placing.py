"""One scheduling pass against the database: read, decide, write, in one transaction and one at a time."""

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime

from pydantic import SecretStr

from scalar.capacity import store
from scalar.capacity.model import SILENT_AFTER, Decision, Placement
from scalar.capacity.reservations import holds_now
from scalar.capacity.scheduling import place
from scalar.database import Channel, Lock, Transaction, lock, notify
from scalar.jobs import store as jobs
from scalar.jobs import tasks
from scalar.jobs.model import JobState


@dataclass(frozen=True, kw_only=True)
class PassOutcome:
    queued: int
    decision: Decision

    @property
    def placed(self) -> int:
        return len(self.decision.placements)


def run_pass(tx: Transaction, now: datetime) -> PassOutcome:
    """Place what can be placed, and tell the rest why they wait. A second pass waits until this transaction ends."""
    lock(tx, Lock.SCHEDULING_PASS)
    queue = jobs.queue(tx, now)
    if not queue:
        return PassOutcome(queued=0, decision=Decision(placements=(), refusals=()))
    decision = place(queue, store.free_nodes(tx, now - SILENT_AFTER), store.quotas(tx), now, holds_now(tx, now))
    for placement in decision.placements:
        _write(tx, placement, now)
    jobs.record_waiting(
        tx, {each.job_id: {k: v for k, v in asdict(each).items() if k != "job_id"} for each in decision.refusals}
    )
    return PassOutcome(queued=len(queue), decision=decision)


def _write(tx: Transaction, placement: Placement, now: datetime) -> None:
    """A job that was cancelled since the queue was read is left alone: its row is locked and looked at again."""
    job = jobs.job(tx, placement.job_id, for_update=True)
    if job is None or job.state is not JobState.QUEUED:
        return
    jobs.move_job(tx, placement.job_id, JobState.PLACED)
    run = jobs.insert_run(tx, placement.job_id, SecretStr(secrets.token_urlsafe(24)), now)
    for rank, share in enumerate(placement.shares):
        tasks.insert_task(tx, run.id, rank, share.node_id, cpus=share.cpus, memory_bytes=share.memory_bytes)
        store.assign_gpus(tx, share.node_id, share.gpus, run.id, rank, now)
    notify(tx, Channel.RUNS, job.id)
    if run.dagster_run_id is not None:
        tasks.touch_nodes_of(tx, run.id)
