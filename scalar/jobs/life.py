"""What happens to a job: each function is one deed, inside the caller's transaction.

    submit ─► (capacity.placing places it) ─► launch ─► apply_report … ─► finish_run ─► sequel
                cancel, requeue, stop_run, re_execute: at any time

Locks are taken in one order, job before run before the organisation's account (`billing.holds`), so that two deeds on
one job wait for each other and never deadlock.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import UUID

from scalar.accounts.store import audit
from scalar.billing import holds
from scalar.database import Channel, Transaction, notify
from scalar.errors import Conflict, IdempotencyConflict, InvalidRequest, NotFound
from scalar.jobs import store, tasks
from scalar.jobs.endings import TerminationReason, reason_of, sequel, settled
from scalar.jobs.model import Job, JobRun, JobSpec, JobState, RunState, TaskState
from scalar.protocol import TaskEnding


@dataclass(frozen=True, kw_only=True)
class Submission:
    job: Job
    created: bool
    """False: the same request was accepted before, and this is its job."""


def submit(
    tx: Transaction,
    spec: JobSpec,
    *,
    organisation_id: str,
    key_id: str,
    idempotency_key: str | None,
    now: datetime,
) -> Submission:
    """Accept a job, once per idempotency key, and hold what it may cost.

    Raises: `IdempotencyConflict`; `InvalidRequest` where it can't be done by its deadline; `PaymentRequired` where what
    it may cost is more than there is.
    """
    digest = request_hash(spec)
    job_id = store.insert_job(
        tx,
        spec,
        organisation_id=organisation_id,
        created_by=key_id,
        idempotency_key=idempotency_key,
        request_hash=digest if idempotency_key else None,
        now=now,
    )
    if job_id is None:
        return _earlier(tx, organisation_id, str(idempotency_key), digest)
    if spec.start_by is not None and spec.start_by < now:
        raise InvalidRequest(
            f"deadline: it may run for {spec.max_runtime_seconds} s, so it would have had to start by"
            f" {spec.start_by:%Y-%m-%d %H:%M:%S} UTC to be done in time."
        )
    audit(tx, key_id, "job.submit", job_id)
    notify(tx, Channel.QUEUE, job_id)
    job = _existing(store.job(tx, job_id))
    holds.hold_for(tx, job, now, new=True)
    return Submission(job=job, created=True)


def request_hash(spec: JobSpec) -> bytes:
    """The same for the same request, however its JSON was spelled."""
    asked = asdict(spec)
    for name in ("max_price_per_gpu_hour", "max_cost"):
        limit = asked.pop(name)
        if limit is not None:
            # Only then: the hashes of requests that know of no such limit stay what they were.
            asked[name] = str(limit.normalize())
    deadline = asked.pop("deadline")
    if deadline is not None:
        asked["deadline"] = deadline.astimezone(UTC).isoformat()
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=sorted).encode()).digest()


def cancel(tx: Transaction, job_id: str, *, organisation_id: str | None, actor: str, now: datetime) -> Job:
    """A job that waits ends at once; one that runs is stopped, and ends when its node says so. Repeats are no-ops.

    Raises: `NotFound`; `Conflict` where it has ended already, otherwise than by being cancelled.
    """
    job = _existing(store.job(tx, job_id, organisation_id=organisation_id, for_update=True))
    if job.state is JobState.CANCELLED:
        return job
    if job.state.ended:
        raise Conflict(f"{job_id} has already ended ({job.state}): there is nothing to cancel.")
    audit(tx, actor, "job.cancel", job_id)
    run = store.active_run(tx, job_id)
    if run is None:
        _follow(tx, job, TerminationReason.CANCELLED, now)
    else:
        stop_run(tx, run, TerminationReason.CANCELLED, now)
    return _existing(store.job(tx, job_id))


def stop_run(tx: Transaction, run: JobRun, reason: TerminationReason, now: datetime) -> None:
    """Have a run stopped; if no node was ever told of it, it ends here. The caller holds the job's lock."""
    if not store.request_stop(tx, run.id, reason, now):
        return
    if run.state is RunState.PLACED:
        finish_run(tx, run.id, reason, now=now)
    else:
        tasks.touch_nodes_of(tx, run.id)


def requeue(tx: Transaction, job_id: str, *, organisation_id: str | None, actor: str, now: datetime) -> Job:
    """A job that has ended starts again from the queue, with all its tries.

    Raises: `NotFound`, `IllegalMove`; `PaymentRequired` where it may cost more than there is.
    """
    _existing(store.job(tx, job_id, organisation_id=organisation_id, for_update=True))
    store.requeue_job(tx, job_id, now)
    audit(tx, actor, "job.requeue", job_id)
    notify(tx, Channel.QUEUE, job_id)
    job = _existing(store.job(tx, job_id))
    holds.hold_for(tx, job, now)
    return job


def re_execute(tx: Transaction, job_id: str, dagster_run_id: str, now: datetime) -> None:
    """Somebody re-executed the job in Dagster: it starts again, and its next run is that Dagster run.

    Raises: `NotFound`, `IllegalMove` where it has not ended; `PaymentRequired` where it may cost more than there is.
    """
    _existing(store.job(tx, job_id, for_update=True))
    store.requeue_job(tx, job_id, now, dagster_run_id=UUID(dagster_run_id))
    audit(tx, "dagster", "job.re_execute", job_id, dagster_run_id=dagster_run_id)
    notify(tx, Channel.QUEUE, job_id)
    holds.hold_for(tx, _existing(store.job(tx, job_id)), now)


def withdraw(tx: Transaction, dagster_run_id: str, now: datetime) -> bool:
    """A re-execution that still waits is wanted no more: its job is cancelled. False where none waits."""
    job_id = store.withdraw_request(tx, dagster_run_id, now)
    if job_id is not None:
        holds.settle(tx, job_id, now)
    return job_id is not None


def launch(tx: Transaction, run_id: str, dagster_run_id: str, now: datetime) -> bool:
    """A Dagster run claims a placed run: from now on its nodes want it. False where another came first."""
    if not store.claim_run(tx, run_id, dagster_run_id, now):
        return False
    tasks.touch_nodes_of(tx, run_id)
    return True


def finish_run(
    tx: Transaction,
    run_id: str,
    reason: TerminationReason,
    *,
    now: datetime,
    ended_at: datetime | None = None,
    exit_code: int | None = None,
    message: str | None = None,
) -> None:
    """A run ends, its GPUs are free, and the job goes where the rule of retries sends it.

    `ended_at`: the end of its last container, where one ran. The caller holds the job's lock.
    """
    run = _existing_run(store.run(tx, run_id, for_update=True))
    if run.state.ended:
        return
    reason = settled(reason, TerminationReason(run.stop_reason) if run.stop_reason else None)
    store.end_run(tx, run_id, reason, message=message, exit_code=exit_code, ended_at=ended_at or now)
    tasks.end_open_tasks(tx, run_id, TaskEnding.STOPPED, now)
    tasks.release_gpus(tx, run_id, None, now)
    tasks.touch_nodes_of(tx, run_id)
    job = _existing(store.job(tx, run.job_id, for_update=True))
    _follow(tx, job, reason, now)
    notify(tx, Channel.RUNS, run.job_id)
    notify(tx, Channel.QUEUE, job.id)


def lose_node_of(tx: Transaction, run_id: str, node_id: str, now: datetime) -> None:
    """A run's node is known to be off. What the run has on other nodes is stopped before the job may start again.

    The caller holds the job's lock.
    """
    run = _existing_run(store.run(tx, run_id, for_update=True))
    tasks.end_open_tasks(tx, run_id, TaskEnding.CONTAINER_LOST, now, node_id=node_id)
    rows = tasks.task_rows(tx, run_id)
    if run.state is RunState.PLACED or all(row.state is TaskState.ENDED for row in rows):
        finish_run(tx, run_id, TerminationReason.NODE_LOST, now=now)
        return
    for row in rows:
        if row.node_id == node_id:
            tasks.release_gpus(tx, run_id, row.rank, now)
    stop_run(tx, run, TerminationReason.NODE_LOST, now)


def task_starting(tx: Transaction, run: JobRun) -> None:
    """A node has taken the run up."""
    if run.state is RunState.LAUNCHED:
        store.move_run(tx, run.id, RunState.STARTING)
        notify(tx, Channel.RUNS, run.job_id)


def task_started(tx: Transaction, run: JobRun, rank: int, container_id: str, at: datetime) -> None:
    """A container of a run is up. The run, and its job, run from the first one on."""
    tasks.mark_running(tx, run.id, rank, container_id, at)
    if run.state in (RunState.LAUNCHED, RunState.STARTING):
        store.move_run(tx, run.id, RunState.RUNNING, started_at=at)
        store.move_job(tx, run.job_id, JobState.RUNNING)
        notify(tx, Channel.RUNS, run.job_id)


def task_ended(tx: Transaction, run: JobRun, rank: int, now: datetime) -> None:
    """A container of a run has ended: the run ends with its last one; a failure stops the others."""
    rows = tasks.task_rows(tx, run.id)
    tasks.release_gpus(tx, run.id, rank, now)
    if all(row.state is TaskState.ENDED for row in rows):
        _finish_with(tx, run, rows, now)
    elif (failed := _first_failure(rows)) is not None and failed.rank == rank:
        stop_run(tx, run, TerminationReason.PEER_FAILED, now)


def _finish_with(tx: Transaction, run: JobRun, rows: list[tasks.TaskRow], now: datetime) -> None:
    """The run ended as the first of its tasks that failed did, or as its leader did."""
    decisive = _first_failure(rows) or rows[0]
    reason = _reason(decisive, TerminationReason(run.stop_reason) if run.stop_reason else None)
    if run.stop_reason == TerminationReason.NODE_LOST and reason is TerminationReason.CONTAINER_LOST:
        reason = TerminationReason.NODE_LOST
    ended = [row.ended_at for row in rows if row.started_at and row.ended_at]
    finish_run(
        tx,
        run.id,
        reason,
        now=now,
        ended_at=max(ended) if ended else None,
        exit_code=decisive.exit_code,
        message=decisive.message,
    )


def _first_failure(rows: list[tasks.TaskRow]) -> tasks.TaskRow | None:
    """The earliest task that failed by itself (the ones stopped on its account don't count)."""
    failures = [
        row
        for row in rows
        if row.ending is not None
        and row.ending is not TaskEnding.STOPPED
        and _reason(row, None) is not TerminationReason.COMPLETED
    ]
    return min(failures, key=lambda row: (row.ended_at is None, row.ended_at, row.rank)) if failures else None


def _reason(row: tasks.TaskRow, stop: TerminationReason | None) -> TerminationReason:
    return reason_of(row.ending or TaskEnding.STOPPED, row.exit_code, stop)


def _follow(tx: Transaction, job: Job, reason: TerminationReason, now: datetime) -> None:
    """The job goes where the rule of retries sends it, and what is held for it goes along."""
    then = sequel(reason, job.spec.retries, failures=job.failures, interruptions=job.interruptions, now=now)
    store.apply_sequel(tx, job.id, reason, then, now)
    if then.state.ended:
        holds.settle(tx, job.id, now)
    else:
        holds.hold_on(tx, job, now)


def _earlier(tx: Transaction, organisation_id: str, idempotency_key: str, digest: bytes) -> Submission:
    job_id, earlier_digest = store.earlier_request(tx, organisation_id, idempotency_key)
    if earlier_digest != digest:
        raise IdempotencyConflict(
            f"The idempotency key {idempotency_key!r} belongs to {job_id}, which was another request. Use a new key"
            " for a new job.",
            job_id=job_id,
        )
    return Submission(job=_existing(store.job(tx, job_id)), created=False)


def _existing(job: Job | None) -> Job:
    if job is None:
        raise NotFound("There is no such job.")
    return job


def _existing_run(run: JobRun | None) -> JobRun:
    if run is None:
        raise NotFound("There is no such run.")
    return run
