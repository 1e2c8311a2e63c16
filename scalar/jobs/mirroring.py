"""How much of a run's life Dagster has been told: leases, so that two who could tell it never both do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from scalar.database import Channel, Transaction, notify, one
from scalar.jobs.endings import TerminationReason
from scalar.jobs.model import RunState
from scalar.jobs.store import MIRROR_LEASE


class Mirrored(StrEnum):
    NOTHING = "nothing"
    STARTED = "started"
    """The launcher has said that the run has begun."""
    RUNNING = "running"
    """The step has begun."""
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Untold:
    """A run whose state is ahead of what Dagster has been told."""

    run_id: str
    dagster_run_id: str
    mirrored: Mirrored
    state: RunState
    reason: TerminationReason | None
    message: str | None
    exit_code: int | None
    nodes: str
    ranks: int
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def text(self) -> str:
        """How it ended, in a sentence or two."""
        if self.reason is None:
            return ""
        said = self.reason.text(exit_code=self.exit_code)
        return f"{said} ({self.message})" if self.message else said


def lease_untold(tx: Transaction, now: datetime, *, limit: int = 50) -> list[Untold]:
    """Runs that Dagster must be told about, leased to the caller; others skip them until the lease is over."""
    rows = tx.execute(
        """with untold as (
               select id from job_runs
               where dagster_run_id is not null and mirrored <> 'ended'
                 and (ended_at is not null or mirrored = 'nothing' or (state = 'running' and mirrored <> 'running'))
                 and (mirror_leased_until is null or mirror_leased_until <= %(now)s)
               order by placed_at limit %(limit)s for update skip locked)
           update job_runs r set mirror_leased_until = %(until)s from untold where r.id = untold.id
           returning r.id as run_id, r.dagster_run_id::text, r.mirrored, r.state, r.reason, r.message, r.exit_code,
               r.started_at, r.ended_at,
               (select string_agg(n.name, ', ' order by t.rank) from run_tasks t join nodes n on n.id = t.node_id
                where t.run_id = r.id) as nodes,
               (select count(*) from run_tasks t where t.run_id = r.id) as ranks""",
        {"now": now, "until": now + MIRROR_LEASE, "limit": limit},
    )
    return [_untold(row) for row in rows]


def told(tx: Transaction, run_id: str, mirrored: Mirrored) -> None:
    """Dagster has it: the lease is over, and whoever passed the run over meanwhile looks again."""
    row = one(
        tx,
        """update job_runs set mirror_leased_until = null,
               mirrored = case when mirrored = 'ended' then mirrored else %s end where id = %s returning job_id""",
        [mirrored, run_id],
    )
    if mirrored is Mirrored.STARTED:
        notify(tx, Channel.RUNS, row["job_id"])


def _untold(row: dict[str, Any]) -> Untold:
    reason = TerminationReason(row["reason"]) if row["reason"] else None
    state, mirrored = RunState(row["state"]), Mirrored(row["mirrored"])
    return Untold(**{**row, "state": state, "mirrored": mirrored, "reason": reason, "nodes": row["nodes"] or ""})
