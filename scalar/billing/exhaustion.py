"""What happens when money runs out: who may not run on is stopped, each job in a transaction of its own.

a job that has cost its max_cost                                   is stopped
a flex job whose organisation has had nothing left for its grace   is stopped
a fast job                                                         runs on, and is invoiced
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from scalar.billing import hold_store, holds, wallet_store, wallets
from scalar.capacity.model import Obstacle
from scalar.database import Transaction
from scalar.jobs import life, store
from scalar.jobs.endings import TerminationReason
from scalar.jobs.model import Job, JobRun, Tier


def look_after(tx: Transaction, job: Job, run: JobRun, now: datetime) -> TerminationReason | None:
    """Keep a running job's hold up with it, or have it stopped; why. The caller holds the job's lock, and the run's."""
    cost = holds.keep_up(tx, job, now) if _counts(job) else None
    reason = None
    if cost is not None and job.spec.max_cost is not None and cost >= job.spec.max_cost:
        reason = TerminationReason.MAX_COST_REACHED
    elif job.spec.tier is Tier.FLEX and wallets.watch(tx, job.organisation_id, now):
        reason = TerminationReason.OUT_OF_CREDIT
    if reason is not None:
        life.stop_run(tx, run, reason, now)
    return reason


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a look over everything came to."""

    empty: int
    """Organisations with nothing left, and no grace."""
    stopped: int
    expired: int
    """Micro-dollars of grants."""


def sweep(transact: Callable[[], AbstractContextManager[Transaction]], now: datetime) -> Swept:
    """Write off what has expired, stop what may not run on, and settle and release what was left behind."""
    with transact() as tx:
        expired = wallets.expire(tx, now)
    with transact() as tx:
        hold_store.release_rated(tx, now)
        left_behind = hold_store.unsettled(tx)
    for job_id in left_behind:
        with transact() as tx:
            _settle(tx, job_id, now)
    with transact() as tx:
        empty = [each for each in wallet_store.accounts_to_watch(tx) if wallets.watch(tx, each, now)]
        store.record_waiting(tx, {each: {"obstacle": Obstacle.CREDIT} for each in hold_store.kept_waiting(tx, empty)})
        jobs = hold_store.to_watch(tx, empty)
    stopped = 0
    for job_id in jobs:
        with transact() as tx:
            stopped += _stop(tx, job_id, now)
    return Swept(empty=len(empty), stopped=stopped, expired=expired)


def _counts(job: Job) -> bool:
    """Whether what it costs while it runs decides on anything: the worst case of the others is held already."""
    return job.spec.max_runtime_seconds is None or job.spec.max_cost is not None


def _stop(tx: Transaction, job_id: str, now: datetime) -> bool:
    job = store.job(tx, job_id, for_update=True)
    run = store.active_run(tx, job_id)
    if job is None or run is None or run.stop_reason is not None:
        return False
    return look_after(tx, job, run, now) is not None


def _settle(tx: Transaction, job_id: str, now: datetime) -> None:
    job = store.job(tx, job_id, for_update=True)
    if job is not None and job.state.ended:
        holds.settle(tx, job_id, now)
