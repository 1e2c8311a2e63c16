"""SQL of demand history: one statement a function."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from scalar.database import Transaction
from scalar.forecasts.demand import Demand, Life, Use, Wait
from scalar.metering.model import Window


def uses_in(tx: Transaction, window: Window) -> list[Use]:
    """GPUs that runs had, from their placement on."""
    rows = tx.execute(
        """select n.gpu_type, j.tier, sum(extract(epoch from least(upper(a.during), %(end)s)
               - greatest(lower(a.during), %(start)s)) / 3600)::float8 as gpu_hours
           from gpu_assignments a join nodes n on n.id = a.node_id
               join job_runs r on r.id = a.run_id join jobs j on j.id = r.job_id
           where a.during && tstzrange(%(start)s, %(end)s) group by n.gpu_type, j.tier""",
        {"start": window.start, "end": window.end},
    )
    return [Use(**row) for row in rows]


def waits_in(tx: Transaction, window: Window) -> list[Wait]:
    """Time that jobs spent in the queue, cut to the window.

    A wait ends with a run's placement, or with the job. It began with the job, with the end of the run before, or, of
    the last wait, when it was queued (and could be tried again).
    """
    rows = tx.execute(
        """select j.gpu_type, j.tier, j.gpus * j.nodes as gpus, greatest(w.start, %(start)s) as start,
               least(w."end", %(end)s) as "end", j.max_price_per_gpu_hour as price_limit,
               case when j.state = 'queued' and w.open then j.waiting ->> 'obstacle' end as obstacle
           from jobs j cross join lateral (
               select case when lead(r.id) over runs is null and j.queued_at <= r.placed_at
                       then greatest(j.queued_at, j.not_before) else coalesce(lag(r.ended_at) over runs, j.submitted_at)
                   end as start, r.placed_at as "end", false as open
               from job_runs r where r.job_id = j.id window runs as (order by r.attempt)
               union all
               select greatest(j.queued_at, j.not_before), coalesce(j.ended_at, 'infinity'), true
               where not exists (select from job_runs r where r.job_id = j.id and r.placed_at >= j.queued_at)) w
           where j.submitted_at < %(end)s and (j.ended_at is null or j.ended_at > %(start)s)
             and w.start < %(end)s and w."end" > %(start)s and w.start < w."end"
           order by j.id""",
        {"start": window.start, "end": window.end},
    )
    return [Wait(**row) for row in rows]


def lives_since(tx: Transaction, since: datetime) -> list[Life]:
    """Of jobs that were not over by then."""
    rows = tx.execute(
        """select coalesce(n.gpu_type, j.gpu_type) as gpu_type, j.tier, j.gpus * j.nodes as gpus,
               j.submitted_at as start, j.ended_at as "end", j.max_price_per_gpu_hour as price_limit,
               case when n.gpu_type is null and j.state = 'queued' then j.waiting ->> 'obstacle' end as obstacle,
               n.gpu_type is not null as ran
           from jobs j left join lateral (
               select n.gpu_type from job_runs r join gpu_assignments a on a.run_id = r.id
                   join nodes n on n.id = a.node_id
               where r.job_id = j.id order by r.attempt desc limit 1) n on true
           where j.ended_at is null or j.ended_at > %s""",
        [since],
    )
    return [Life(**row) for row in rows]


def prices_at(tx: Transaction, hour: datetime) -> dict[str, Decimal]:
    """By GPU type, what the cheapest kind of machine was last traded for within a day: dollars per GPU-hour."""
    rows = tx.execute(
        """select k.gpu_type, min(p.average / k.gpus_per_node) as price from skus k cross join lateral (
               select average from market_prices where sku = k.id and average is not null
                 and hour <= %(hour)s and hour > %(hour)s - interval '1 day' order by hour desc limit 1) p
           group by k.gpu_type""",
        {"hour": hour},
    )
    return {row["gpu_type"]: row["price"] for row in rows}


def clear_hour(tx: Transaction, hour: datetime, now: datetime) -> None:
    """The hour was looked at, and nothing is in it (yet)."""
    tx.execute("delete from demand_history where hour = %s", [hour])
    tx.execute(
        """insert into demand_hours (hour, built_at) values (%s, %s)
           on conflict (hour) do update set built_at = excluded.built_at""",
        [hour, now],
    )


def insert(tx: Transaction, hour: datetime, found: Iterable[Demand]) -> None:
    tx.cursor().executemany(
        """insert into demand_history (hour, gpu_type, tier, running, queued, refused_for_price, refused_for_quota)
           values (%s, %s, %s, %s, %s, %s, %s)""",
        [
            (hour, each.gpu_type, each.tier, each.running, each.queued, each.refused_for_price, each.refused_for_quota)
            for each in found
        ],
    )


def missing_hours(tx: Transaction, since: datetime, until: datetime) -> list[datetime]:
    """Hours that are over by `until`, and that nobody looked at, oldest first; none before the first job."""
    rows = tx.execute(
        """select h as hour from generate_series(
               greatest(%(since)s, (select date_trunc('hour', min(submitted_at), 'UTC') from jobs)),
               %(until)s - interval '1 hour', interval '1 hour') h
           where exists (select from jobs) and not exists (select from demand_hours d where d.hour = h) order by h""",
        {"since": since, "until": until},
    )
    return [row["hour"] for row in rows]


def unlike_the_queue(tx: Transaction, window: Window) -> float:
    """GPU-hours in the hour's history beyond what assignments of the hour and jobs in its queue could make."""
    row = tx.execute(
        """select coalesce(sum(running), 0) - coalesce((
               select sum(extract(epoch from least(upper(during), %(end)s) - greatest(lower(during), %(start)s)) / 3600)
               from gpu_assignments where during && tstzrange(%(start)s, %(end)s)), 0)::float8 as off
           from demand_history where hour = %(start)s""",
        {"start": window.start, "end": window.end},
    ).fetchone()
    return float(row["off"]) if row else 0.0
