"""SQL of jobs and runs: one statement a function."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from scalar.database import Transaction, one
from scalar.errors import IllegalMove
from scalar.ids import new_id
from scalar.jobs.endings import Sequel, TerminationReason
from scalar.jobs.model import (
    LAST_CALL,
    Job,
    JobRun,
    JobSpec,
    JobState,
    Requirements,
    RetryOn,
    RetryPolicy,
    RunState,
    Tier,
)

MIRROR_LEASE = timedelta(seconds=30)
"""Longer than telling Dagster something ever takes; who died while telling is taken over from after it."""

_WITHOUT_CONTENTS = """id, organisation_id, name, image, null::text[] as command, null::text[] as args,
    '{}'::jsonb as env, labels, gpus, gpu_type, nodes, cpus, memory_bytes, tier, priority, max_runtime_seconds,
    max_price_per_gpu_hour, max_cost, deadline, max_attempts, retry_on, state, reason, failures, interruptions,
    submitted_at, queued_at, not_before, ended_at, waiting"""
"""Of many jobs at once: a command and an environment may have 256 KiB, and neither a list nor a pass needs them."""

_RUN = """id, job_id, attempt, state, reason, message, exit_code, token, dagster_run_id, placed_at, launched_at,
          started_at, ended_at, stop_reason"""


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a list shows: newest first, from the one after `before` on."""

    organisation_id: str | None
    states: Collection[JobState] = ()
    tier: Tier | None = None
    labels: dict[str, str] | None = None
    before: str | None = None
    limit: int = 50


def insert_job(
    tx: Transaction,
    spec: JobSpec,
    *,
    organisation_id: str,
    created_by: str,
    idempotency_key: str | None,
    request_hash: bytes | None,
    now: datetime,
) -> str | None:
    """The new job's id, or None where the organisation has used this idempotency key before."""
    row = tx.execute(
        """insert into jobs (id, organisation_id, created_by, idempotency_key, request_hash, name, image, command,
               args, env, labels, gpus, gpu_type, nodes, cpus, memory_bytes, tier, priority, max_runtime_seconds,
               max_price_per_gpu_hour, max_cost, deadline, max_attempts, retry_on, submitted_at, queued_at)
           values (%(id)s, %(organisation_id)s, %(created_by)s, %(idempotency_key)s, %(request_hash)s, %(name)s,
               %(image)s, %(command)s, %(args)s, %(env)s, %(labels)s, %(gpus)s, %(gpu_type)s, %(nodes)s, %(cpus)s,
               %(memory_bytes)s, %(tier)s, %(priority)s, %(max_runtime_seconds)s, %(max_price_per_gpu_hour)s,
               %(max_cost)s, %(deadline)s, %(max_attempts)s, %(retry_on)s, %(now)s, %(now)s)
           on conflict (organisation_id, idempotency_key) do nothing returning id""",
        {
            "id": new_id("job"),
            "organisation_id": organisation_id,
            "created_by": created_by,
            "idempotency_key": idempotency_key,
            "request_hash": request_hash,
            "now": now,
            **_columns(spec),
        },
    ).fetchone()
    return str(row["id"]) if row else None


def earlier_request(tx: Transaction, organisation_id: str, idempotency_key: str) -> tuple[str, bytes]:
    """(job id, hash of the request) under an idempotency key that has been used."""
    row = one(
        tx,
        "select id, request_hash from jobs where organisation_id = %s and idempotency_key = %s",
        [organisation_id, idempotency_key],
    )
    return str(row["id"]), bytes(row["request_hash"])


def job(tx: Transaction, job_id: str, *, organisation_id: str | None = None, for_update: bool = False) -> Job | None:
    """`organisation_id`: only if it is theirs; None for operators."""
    row = tx.execute(
        f"""select * from jobs where id = %(id)s and organisation_id = coalesce(%(org)s, organisation_id)
            {"for update" if for_update else ""}""",
        {"id": job_id, "org": organisation_id},
    ).fetchone()
    return _job(row) if row else None


def jobs(tx: Transaction, which: JobFilter) -> list[Job]:
    rows = tx.execute(
        f"""select {_WITHOUT_CONTENTS} from jobs
           where organisation_id = coalesce(%(org)s, organisation_id)
             and (%(states)s::text[] is null or state = any(%(states)s))
             and tier = coalesce(%(tier)s, tier)
             and (%(labels)s::jsonb is null or labels @> %(labels)s)
             and (%(before)s::text is null or id < %(before)s)
           order by id desc limit %(limit)s""",
        {
            "org": which.organisation_id,
            "states": [state.value for state in which.states] or None,
            "tier": which.tier,
            "labels": Jsonb(which.labels) if which.labels else None,
            "before": which.before,
            "limit": which.limit,
        },
    )
    return [_job(row) for row in rows]


def queue(tx: Transaction, now: datetime) -> list[Job]:
    """What waits and may be placed now, most urgent first: fast before flex, then priority, then age.

    A flex job whose deadline leaves it half an hour or less to start counts as fast.
    Flex jobs of an organisation that has nothing left, and no grace either, wait until it has.
    """
    rows = tx.execute(
        f"""select {_WITHOUT_CONTENTS} from jobs
           where state = 'queued' and (not_before is null or not_before <= %(now)s)
             and not (tier = 'flex' and exists (
                 select from billing_accounts b where b.organisation_id = jobs.organisation_id
                 and b.empty_since + make_interval(secs => b.grace_seconds) <= %(now)s))
           order by tier = 'flex' and (deadline is null or
               deadline - make_interval(secs => max_runtime_seconds) > %(now)s + %(last_call)s),
               priority desc, queued_at, id""",
        {"now": now, "last_call": LAST_CALL},
    )
    return [_job(row) for row in rows]


def move_job(tx: Transaction, job_id: str, state: JobState) -> None:
    """Raises: `IllegalMove`."""
    try:
        tx.execute("update jobs set state = %s, waiting = null where id = %s", [state, job_id])
    except CheckViolation as error:
        raise IllegalMove(f"{job_id} can't become {state}.") from error


def apply_sequel(tx: Transaction, job_id: str, reason: TerminationReason, then: Sequel, now: datetime) -> None:
    """What becomes of a job after a run of it ended."""
    queued = then.state is JobState.QUEUED
    tx.execute(
        """update jobs set state = %(state)s, reason = %(reason)s, failures = %(failures)s,
               interruptions = %(interruptions)s, not_before = %(not_before)s, waiting = null,
               requested_dagster_run_id = null,
               queued_at = case when %(queued)s then %(now)s else queued_at end,
               ended_at = case when %(queued)s then null else %(now)s::timestamptz end
           where id = %(id)s""",
        {
            "id": job_id,
            "state": then.state,
            "reason": reason,
            "failures": then.failures,
            "interruptions": then.interruptions,
            "not_before": then.not_before,
            "queued": queued,
            "now": now,
        },
    )


def requeue_job(tx: Transaction, job_id: str, now: datetime, *, dagster_run_id: UUID | None = None) -> None:
    """A job that has ended starts again, with all its tries. Raises: `IllegalMove`."""
    requeued = tx.execute(
        """update jobs set state = 'queued', reason = null, failures = 0, interruptions = 0, not_before = null,
               waiting = null, queued_at = %s, ended_at = null, requested_dagster_run_id = %s
           where id = %s and ended_at is not null""",
        [now, dagster_run_id, job_id],
    )
    if requeued.rowcount == 0:
        raise IllegalMove(f"{job_id} has not ended: only a job that has ended can start again.")


def record_waiting(tx: Transaction, waiting: dict[str, dict[str, object] | None]) -> None:
    """Why each job was left in the queue, by job id; only what has changed is written."""
    tx.execute(
        """update jobs set waiting = told.waiting
           from unnest(%s::text[], %s::jsonb[]) as told (id, waiting)
           where jobs.id = told.id and jobs.state = 'queued' and jobs.waiting is distinct from told.waiting""",
        [list(waiting), [Jsonb(each) for each in waiting.values()]],
    )


def insert_run(tx: Transaction, job_id: str, token: SecretStr, now: datetime) -> JobRun:
    """The next try of a job; it takes over the Dagster run that waited for it, if one did.

    Raises: `IllegalMove` where the job has a run that has not ended.
    """
    try:
        row = one(
            tx,
            f"""with requested as (
                    select id, requested_dagster_run_id as dagster_run_id from jobs where id = %(job)s
                ), cleared as (
                    update jobs set requested_dagster_run_id = null where id = %(job)s
                )
                insert into job_runs (id, job_id, attempt, token, placed_at, dagster_run_id, state, launched_at,
                    mirrored)
                select %(id)s, id, (select count(*) + 1 from job_runs where job_id = %(job)s), %(token)s, %(now)s,
                    dagster_run_id,
                    case when dagster_run_id is null then 'placed' else 'launched' end,
                    case when dagster_run_id is null then null else %(now)s::timestamptz end,
                    case when dagster_run_id is null then 'nothing' else 'started' end
                from requested returning {_RUN}""",
            {"id": new_id("run"), "job": job_id, "token": token.get_secret_value(), "now": now},
        )
    except UniqueViolation as error:
        raise IllegalMove(f"{job_id} has a run already.") from error
    return _run(row)


def run(tx: Transaction, run_id: str, *, for_update: bool = False) -> JobRun | None:
    lock = "for update" if for_update else ""
    row = tx.execute(f"select {_RUN} from job_runs where id = %s {lock}", [run_id]).fetchone()
    return _run(row) if row else None


def run_of_dagster(tx: Transaction, dagster_run_id: str) -> JobRun | None:
    row = tx.execute(f"select {_RUN} from job_runs where dagster_run_id = %s", [dagster_run_id]).fetchone()
    return _run(row) if row else None


def runs_of_job(tx: Transaction, job_id: str) -> list[JobRun]:
    """Oldest first."""
    rows = tx.execute(f"select {_RUN} from job_runs where job_id = %s order by attempt", [job_id])
    return [_run(row) for row in rows]


def latest_runs(tx: Transaction, job_ids: list[str]) -> dict[str, JobRun]:
    """The last run of each of these jobs that has one."""
    rows = tx.execute(
        f"select distinct on (job_id) {_RUN} from job_runs where job_id = any(%s) order by job_id, attempt desc",
        [job_ids],
    )
    return {row["job_id"]: _run(row) for row in rows}


def active_run(tx: Transaction, job_id: str) -> JobRun | None:
    row = tx.execute(
        f"select {_RUN} from job_runs where job_id = %s and ended_at is null for update", [job_id]
    ).fetchone()
    return _run(row) if row else None


def claim_run(tx: Transaction, run_id: str, dagster_run_id: str, now: datetime) -> bool:
    """This Dagster run is the run's, from now on. False where another came first, or the run has ended.

    Whoever claims it tells Dagster that it has begun, and has it leased for that.
    """
    claim = """update job_runs set dagster_run_id = %s, state = 'launched', launched_at = %s, mirror_leased_until = %s
               where id = %s and dagster_run_id is null and state = 'placed'"""
    return tx.execute(claim, [dagster_run_id, now, now + MIRROR_LEASE, run_id]).rowcount == 1


def is_requested(tx: Transaction, dagster_run_id: str) -> bool:
    """Whether a job waits in the queue with this Dagster run for its next one."""
    query = "select from jobs where requested_dagster_run_id = %s"
    return tx.execute(query, [dagster_run_id]).fetchone() is not None


def withdraw_request(tx: Transaction, dagster_run_id: str, now: datetime) -> str | None:
    """Cancel the job that waits with this Dagster run: its id; None where none does."""
    withdraw = """update jobs set state = 'cancelled', reason = 'terminated', ended_at = %s, waiting = null,
                      requested_dagster_run_id = null
                  where requested_dagster_run_id = %s and state = 'queued' returning id"""
    row = tx.execute(withdraw, [now, dagster_run_id]).fetchone()
    return str(row["id"]) if row else None


def move_run(tx: Transaction, run_id: str, state: RunState, *, started_at: datetime | None = None) -> None:
    """Raises: `IllegalMove`."""
    try:
        tx.execute(
            "update job_runs set state = %s, started_at = coalesce(started_at, %s) where id = %s",
            [state, started_at, run_id],
        )
    except CheckViolation as error:
        raise IllegalMove(f"{run_id} can't become {state}.") from error


def end_run(
    tx: Transaction,
    run_id: str,
    reason: TerminationReason,
    *,
    message: str | None,
    exit_code: int | None,
    ended_at: datetime,
) -> None:
    tx.execute(
        """update job_runs set state = %s, reason = %s, message = %s, exit_code = %s,
               ended_at = greatest(%s, started_at, placed_at) where id = %s""",
        [reason.run_state, reason, message, exit_code, ended_at, run_id],
    )


def request_stop(tx: Transaction, run_id: str, reason: TerminationReason, now: datetime) -> bool:
    """Ask a run's nodes to stop it; the first reason stays, but for a gang that stops by itself (`peer_failed`): who
    cancels that wants no other try. False where it was asked before.
    """
    ask = """update job_runs set stop_reason = %(reason)s, stop_requested_at = coalesce(stop_requested_at, %(now)s)
             where id = %(run)s and ended_at is null and %(reason)s <> coalesce(stop_reason, '')
               and coalesce(stop_reason, 'peer_failed') = 'peer_failed'"""
    return tx.execute(ask, {"reason": reason, "now": now, "run": run_id}).rowcount == 1


def counts_by_state(tx: Transaction) -> dict[tuple[str, str], int]:
    """Jobs by (state, tier)."""
    rows = tx.execute("select state, tier, count(*) as n from jobs group by state, tier")
    return {(row["state"], row["tier"]): row["n"] for row in rows}


def oldest_queued(tx: Transaction) -> datetime | None:
    return one(tx, "select min(queued_at) as oldest from jobs where state = 'queued'")["oldest"]  # type: ignore[no-any-return]


def _columns(spec: JobSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "image": spec.image,
        "command": spec.command,
        "args": spec.args,
        "env": Jsonb(spec.env),
        "labels": Jsonb(spec.labels),
        "gpus": spec.requirements.gpus,
        "gpu_type": spec.requirements.gpu_type,
        "nodes": spec.requirements.nodes,
        "cpus": spec.requirements.cpus,
        "memory_bytes": spec.requirements.memory_bytes,
        "tier": spec.tier,
        "priority": spec.priority,
        "max_runtime_seconds": spec.max_runtime_seconds,
        "max_price_per_gpu_hour": spec.max_price_per_gpu_hour,
        "max_cost": spec.max_cost,
        "deadline": spec.deadline,
        "max_attempts": spec.retries.max_attempts,
        "retry_on": sorted(spec.retries.on),
    }


def _job(row: dict[str, Any]) -> Job:
    spec = JobSpec(
        name=row["name"],
        image=row["image"],
        command=row["command"],
        args=row["args"],
        env=row["env"],
        requirements=Requirements(
            gpus=row["gpus"],
            gpu_type=row["gpu_type"],
            nodes=row["nodes"],
            cpus=row["cpus"],
            memory_bytes=row["memory_bytes"],
        ),
        tier=Tier(row["tier"]),
        priority=row["priority"],
        max_runtime_seconds=row["max_runtime_seconds"],
        max_price_per_gpu_hour=row["max_price_per_gpu_hour"],
        max_cost=row["max_cost"],
        deadline=row["deadline"],
        retries=RetryPolicy(max_attempts=row["max_attempts"], on=frozenset(map(RetryOn, row["retry_on"]))),
        labels=row["labels"],
    )
    return Job(
        id=row["id"],
        organisation_id=row["organisation_id"],
        spec=spec,
        state=JobState(row["state"]),
        reason=row["reason"],
        failures=row["failures"],
        interruptions=row["interruptions"],
        submitted_at=row["submitted_at"],
        queued_at=row["queued_at"],
        not_before=row["not_before"],
        ended_at=row["ended_at"],
        waiting=row["waiting"],
    )


def _run(row: dict[str, Any]) -> JobRun:
    dagster_run_id = row["dagster_run_id"]
    return JobRun(
        **{
            **row,
            "state": RunState(row["state"]),
            "token": SecretStr(row["token"]),
            "dagster_run_id": str(dagster_run_id) if dagster_run_id else None,
        }
    )
