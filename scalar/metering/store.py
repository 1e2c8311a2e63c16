"""SQL of metering: one statement a function."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from decimal import Decimal

from scalar.database import Lock, Transaction, lock, one
from scalar.metering.model import Span, UsageKind, UsageRecord, Window


def record_event(tx: Transaction, run_id: str, rank: int, kind: UsageKind, at: datetime, *, sequence: int = 0) -> bool:
    """Write an event; False where it stands already."""
    lock(tx, Lock.USAGE_EVENTS, shared=True)
    inserted = tx.execute(
        """insert into usage_events (run_id, rank, kind, sequence, at, gpus, organisation_id, tier, gpu_type, node_id)
           select t.run_id, t.rank, %(kind)s, %(sequence)s, %(at)s, j.gpus, j.organisation_id, j.tier, n.gpu_type, n.id
           from run_tasks t join nodes n on n.id = t.node_id
               join job_runs r on r.id = t.run_id join jobs j on j.id = r.job_id
           where t.run_id = %(run)s and t.rank = %(rank)s
           on conflict on constraint usage_events_once do nothing""",
        {"run": run_id, "rank": rank, "kind": kind, "sequence": sequence, "at": at},
    )
    return inserted.rowcount == 1


def watermark(tx: Transaction) -> int:
    """The id up to which every event has been committed. Waits for those on their way; end this transaction soon."""
    lock(tx, Lock.USAGE_EVENTS)
    return int(one(tx, "select coalesce(max(id), 0) as id from usage_events")["id"])


def spans_in(tx: Transaction, window: Window) -> list[Span]:
    """The whole span of every task that used its GPUs at some time in the window."""
    rows = tx.execute(
        """select t.run_id, t.rank, e.organisation_id, e.tier, e.gpu_type, e.gpus, e.start, e."end"
           from run_tasks t cross join lateral (
               select organisation_id, tier, gpu_type, gpus, min(at) as start, max(at) as "end" from usage_events
               where run_id = t.run_id and rank = t.rank group by organisation_id, tier, gpu_type, gpus) e
           where t.started_at < %(end)s and (t.ended_at is null or t.ended_at > %(start)s)
             and e.start < %(end)s and e."end" > %(start)s""",
        {"start": window.start, "end": window.end},
    )
    return [Span(**row) for row in rows]


def spans_of_run(tx: Transaction, run_id: str) -> list[Span]:
    rows = tx.execute(
        """select run_id, rank, organisation_id, tier, gpu_type, gpus, min(at) as start, max(at) as "end"
           from usage_events where run_id = %s group by run_id, rank, organisation_id, tier, gpu_type, gpus""",
        [run_id],
    )
    return [Span(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class NewUsage:
    """What one event added: its task's time from the event before it to the event; where it is the earliest of its
    task, from the event to the one after it. (Of what had come by then.)
    """

    event_id: int
    start: datetime
    end: datetime


def new_usage(tx: Transaction, after_event: int, up_to_event: int) -> list[NewUsage]:
    """What the events with ids in (after, up to] added to their tasks' time."""
    rows = tx.execute(
        """select e.id as event_id, coalesce((
                   select max(b.at) from usage_events b
                   where b.run_id = e.run_id and b.rank = e.rank and b.id < e.id and b.at < e.at), e.at) as start,
               greatest(e.at, (
                   select min(b.at) from usage_events b
                   where b.run_id = e.run_id and b.rank = e.rank and b.id < e.id)) as "end"
           from usage_events e where e.id > %s and e.id <= %s order by e.id""",
        [after_event, up_to_event],
    )
    return [NewUsage(**row) for row in rows]


def unbuilt_hours(tx: Transaction, *, since: datetime, until: datetime) -> list[datetime]:
    """Hours that ended between the two, in which some task used its GPUs, and that were never built."""
    rows = tx.execute(
        # Events are looked at for hours that are missing alone: nearly all are there.
        """select distinct h as hour from run_tasks t
           cross join lateral generate_series(
               greatest(date_trunc('hour', t.started_at, 'UTC'), date_trunc('hour', %(since)s::timestamptz, 'UTC')),
               least(t.ended_at, %(until)s::timestamptz) - interval '1 microsecond',
               interval '1 hour') as h
           where t.started_at < %(until)s and (t.ended_at is null or t.ended_at > %(since)s)
             and not exists (select from metered_hours m where m.hour = h)
             and exists (select from usage_events e where e.run_id = t.run_id and e.rank = t.rank and e.at > h)
           order by h""",
        {"since": since, "until": until},
    )
    return [row["hour"] for row in rows]


def replace_hour(
    tx: Transaction, hour: datetime, records: Iterable[UsageRecord], *, last_event_id: int, now: datetime
) -> None:
    """The hour is these records, and no others."""
    tx.execute("delete from hourly_usage where hour = %s", [hour])
    tx.cursor().executemany(
        """insert into hourly_usage (hour, run_id, organisation_id, tier, gpu_type, gpu_seconds)
           values (%s, %s, %s, %s, %s, %s)""",
        [astuple(record) for record in records],
    )
    tx.execute(
        """insert into metered_hours (hour, last_event_id, built_at) values (%s, %s, %s)
           on conflict (hour) do update set last_event_id = excluded.last_event_id, built_at = excluded.built_at""",
        [hour, last_event_id, now],
    )


def usage_of_hour(tx: Transaction, hour: datetime) -> list[UsageRecord]:
    rows = tx.execute(
        """select hour, run_id, organisation_id, tier, gpu_type, gpu_seconds from hourly_usage
           where hour = %s order by run_id, gpu_type""",
        [hour],
    )
    return [UsageRecord(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class DoubleUse:
    """Two runs that were both metered on one GPU at one time."""

    node_id: str
    gpu_index: int
    run_id: str
    other_run_id: str
    seconds: Decimal


def gpus_used_twice(tx: Transaction, window: Window) -> list[DoubleUse]:
    """Any two runs whose metered time on one GPU overlaps, in the window."""
    rows = tx.execute(
        """with used as (
               select a.node_id, a.gpu_index, a.run_id, min(e.at) as start, max(e.at) as "end"
               from run_tasks t join gpu_assignments a using (run_id, rank) join usage_events e using (run_id, rank)
               where t.started_at < %(end)s and (t.ended_at is null or t.ended_at > %(start)s)
               group by a.node_id, a.gpu_index, a.run_id)
           select node_id, gpu_index, a.run_id, b.run_id as other_run_id,
               extract(epoch from least(a."end", b."end") - greatest(a.start, b.start)) as seconds
           from used a join used b using (node_id, gpu_index)
           where a.run_id < b.run_id and a.start < b."end" and b.start < a."end"
             and greatest(a.start, b.start) < %(end)s and least(a."end", b."end") > %(start)s""",
        {"start": window.start, "end": window.end},
    )
    return [DoubleUse(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """A run whose metered hours don't add up to its containers' own time, in GPU seconds."""

    run_id: str
    metered: Decimal
    own: Decimal


def runs_that_differ(tx: Transaction, window: Window) -> list[Discrepancy]:
    """Runs that ended in the hour, with every hour of theirs built, and metered otherwise than they ran.

    A run's own time is from its containers' start to their end as the tasks have them, not the events.
    """
    rows = tx.execute(
        """with ended as (
               select r.id as run_id, min(t.started_at) as started_at,
                   sum(j.gpus * extract(epoch from t.ended_at - t.started_at)) as own
               from job_runs r join jobs j on j.id = r.job_id join run_tasks t on t.run_id = r.id
               where r.ended_at >= %(start)s and r.ended_at < %(end)s and t.started_at is not null
               group by r.id)
           select e.run_id, coalesce(sum(u.gpu_seconds), 0) as metered, e.own
           from ended e left join hourly_usage u on u.run_id = e.run_id
           where not exists (
               select from generate_series(date_trunc('hour', e.started_at, 'UTC'), %(start)s, interval '1 hour') h
               where not exists (select from metered_hours b where b.hour = h))
           group by e.run_id, e.own having coalesce(sum(u.gpu_seconds), 0) <> e.own""",
        {"start": window.start, "end": window.end},
    )
    return [Discrepancy(**row) for row in rows]


def accepted_doubts(tx: Transaction, says: Sequence[str]) -> set[str]:
    """Those of them that somebody has accepted."""
    rows = tx.execute("select says from accepted_doubts where says = any(%s)", [list(says)])
    return {row["says"] for row in rows}


def accept_doubts(tx: Transaction, says: Sequence[str], *, actor: str, now: datetime) -> None:
    tx.execute(
        """insert into accepted_doubts (says, accepted_at, accepted_by) select says, %s, %s from unnest(%s::text[]) says
           on conflict do nothing""",
        [now, actor, list(says)],
    )
