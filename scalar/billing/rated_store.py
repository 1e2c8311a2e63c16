"""SQL of rating: one statement a function."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from scalar.billing.rating import PLATFORM_REASONS, Line, LineKind, MonthToDate, Use
from scalar.database import Transaction, one
from scalar.metering.model import HOUR, Span, Window

# `offset 0`: each run is looked up by its id, and never all runs that ever were, whatever the planner believes.
_USE = """u.hour, u.run_id, o.job_id, u.organisation_id, o.key_id, o.project, u.tier, u.gpu_type, u.gpu_seconds, o.lost
    from hourly_usage u cross join lateral (
        select r.job_id, j.created_by as key_id, j.labels ->> 'project' as project,
            r.ended_at is not null and r.reason = any(%(platform)s) as lost
        from job_runs r join jobs j on j.id = r.job_id where r.id = u.run_id offset 0) o"""

# Per GPU-second, from dollars per node-hour: of the last hour, up to this one, in which the type was traded.
_MARKET_PRICES = """with last as (
        select s.gpu_type, max(p.hour) as hour from skus s cross join lateral (
            select hour from market_prices where sku = s.id and hour <= %(hour)s and average is not null
            order by hour desc limit 1) p
        group by s.gpu_type)
    select l.gpu_type, round(case
            when sum(p.node_hours) > 0 then sum(p.average * p.node_hours) / sum(p.node_hours * s.gpus_per_node)
            else avg(p.average / s.gpus_per_node) end / 3600, 12) as price
    from last l join skus s on s.gpu_type = l.gpu_type
        join market_prices p on p.sku = s.id and p.hour = l.hour and p.average is not null
    group by l.gpu_type"""


_RATED = "select hour from rated_hours where hour >= %(start)s and hour < %(end)s"


@dataclass(frozen=True, kw_only=True)
class Build:
    """Which build of an hour's usage is read."""

    built_at: datetime | None = None
    last_event_id: int | None = None


def hold_build(tx: Transaction, hour: datetime) -> Build:
    """The hour's usage is not built anew until this transaction ends."""
    row = tx.execute("select built_at, last_event_id from metered_hours where hour = %s for share", [hour]).fetchone()
    return Build(**row) if row else Build()


def one_at_a_time(tx: Transaction) -> None:
    """Nobody else rates until this transaction ends: each hour counts on those before it."""
    tx.execute("lock table rated_hours in share row exclusive mode")


def uses_in(tx: Transaction, hour: datetime) -> list[Use]:
    rows = tx.execute(f"select {_USE} where u.hour = %(hour)s", {"hour": hour, "platform": PLATFORM_REASONS})
    return [Use(**row) for row in rows]


def any_rated(tx: Transaction, window: Window) -> bool:
    """Whether some hour of the window is."""
    return bool(one(tx, f"select exists ({_RATED}) as any_rated", _bounds(window))["any_rated"])


def uses_of(tx: Transaction, organisation_ids: Sequence[str], window: Window) -> list[Use]:
    """What these used in the hours of the window that are rated."""
    rows = tx.execute(
        f"select {_USE} where u.organisation_id = any(%(ids)s) and u.hour in ({_RATED})",
        {"ids": list(organisation_ids), "platform": PLATFORM_REASONS, **_bounds(window)},
    )
    return [Use(**row) for row in rows]


def standing_in(tx: Transaction, hour: datetime) -> list[Line]:
    """What the lines of an hour add up to, one a (run, GPU type, kind)."""
    return _standing(tx, "hour = %(hour)s", {"hour": hour})


def standing_of(tx: Transaction, organisation_ids: Sequence[str], window: Window) -> list[Line]:
    """The same, of some organisations in the hours of the window that are rated."""
    where = f"organisation_id = any(%(ids)s) and hour in ({_RATED})"
    return _standing(tx, where, {"ids": list(organisation_ids), **_bounds(window)})


def counted(tx: Transaction, organisation_ids: Sequence[str], month: datetime) -> MonthToDate:
    """What these have used of a month, in all its rated hours."""
    charged: dict[tuple[str, str, str], Decimal] = {}
    free: dict[str, Decimal] = {}
    for row in tx.execute(
        """select organisation_id, gpu_type, tier, gpu_seconds, free_seconds from month_quantities
           where month = %s and organisation_id = any(%s)""",
        [month, list(organisation_ids)],
    ):
        charged[row["organisation_id"], row["gpu_type"], row["tier"]] = row["gpu_seconds"] - row["free_seconds"]
        free[row["organisation_id"]] = free.get(row["organisation_id"], Decimal(0)) + row["free_seconds"]
    return MonthToDate(charged=charged, free=free)


def count(tx: Transaction, month: datetime, ledger_source: str) -> None:
    """Add the lines of one rating to what was counted of their month."""
    tx.execute(
        """insert into month_quantities as q (month, organisation_id, gpu_type, tier, gpu_seconds, free_seconds)
           select %s, organisation_id, gpu_type, tier, sum(gpu_seconds), sum(free_seconds) from rated_lines
           where ledger_source = %s group by organisation_id, gpu_type, tier
           on conflict (month, organisation_id, gpu_type, tier) do update set
               gpu_seconds = q.gpu_seconds + excluded.gpu_seconds,
               free_seconds = q.free_seconds + excluded.free_seconds""",
        [month, ledger_source],
    )


@dataclass(frozen=True, kw_only=True)
class RatedRunHour:
    job_id: str
    run_id: str
    hour: datetime
    amount: int
    """Micro-dollars, credits taken off."""


def rated_hours_of(tx: Transaction, job_ids: Sequence[str]) -> list[RatedRunHour]:
    """Of all their runs but those that the platform ended: their credit may not be rated yet."""
    rows = tx.execute(
        """select l.job_id, l.run_id, l.hour, sum(l.amount)::bigint as amount
           from rated_lines l join job_runs r on r.id = l.run_id
           where l.job_id = any(%s) and (r.ended_at is null or r.reason <> all(%s))
           group by l.job_id, l.run_id, l.hour""",
        [list(job_ids), PLATFORM_REASONS],
    )
    return [RatedRunHour(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class JobSpan:
    """One task's use of its GPUs until its last event, and whose it is."""

    job_id: str
    key_id: str
    project: str | None
    span: Span


def spans_of_jobs(tx: Transaction, job_ids: Sequence[str]) -> list[JobSpan]:
    """Of all their runs but those that the platform ended: these are credited."""
    rows = tx.execute(
        """select r.job_id, j.created_by as key_id, j.labels ->> 'project' as project, e.run_id, e.rank,
               e.organisation_id, e.tier, e.gpu_type, e.gpus, min(e.at) as start, max(e.at) as "end"
           from jobs j join job_runs r on r.job_id = j.id join usage_events e on e.run_id = r.id
           where j.id = any(%s) and (r.ended_at is null or r.reason <> all(%s))
           group by r.job_id, j.id, e.run_id, e.rank, e.organisation_id, e.tier, e.gpu_type, e.gpus""",
        [list(job_ids), PLATFORM_REASONS],
    )
    return [_job_span(row) for row in rows]


def rated_until(tx: Transaction) -> datetime | None:
    """The end of the last hour that was rated."""
    row = tx.execute("select hour from rated_hours order by hour desc limit 1").fetchone()
    return row["hour"] + HOUR if row else None


def other_spans(
    tx: Transaction, organisation_ids: Sequence[str], job_ids: Sequence[str], since: datetime
) -> list[JobSpan]:
    """What all other jobs of these organisations have used since then, as `spans_of_jobs`."""
    rows = tx.execute(
        """select r.job_id, j.created_by as key_id, j.labels ->> 'project' as project, t.run_id, t.rank,
               j.organisation_id, j.tier, n.gpu_type, j.gpus, greatest(t.started_at, %(since)s) as start,
               heard.at as "end"
           from run_tasks t join job_runs r on r.id = t.run_id join jobs j on j.id = r.job_id
               join nodes n on n.id = t.node_id
           cross join lateral (select max(e.at) as at from usage_events e
                               where e.run_id = t.run_id and e.rank = t.rank) heard
           where j.organisation_id = any(%(orgs)s) and j.id <> all(%(jobs)s)
             and (t.state <> 'ended' or t.ended_at > %(since)s) and heard.at > %(since)s
             and (r.ended_at is null or r.reason <> all(%(platform)s))""",
        {"orgs": list(organisation_ids), "jobs": list(job_ids), "since": since, "platform": PLATFORM_REASONS},
    )
    return [_job_span(row) for row in rows]


def fix_market_prices(tx: Transaction, hour: datetime) -> None:
    """What the market asked in that hour, by GPU type, or last before it: kept from the first rating on."""
    tx.execute(
        f"""insert into rated_market_prices (hour, gpu_type, price)
            select %(hour)s, gpu_type, price from ({_MARKET_PRICES}) m on conflict do nothing""",
        {"hour": hour},
    )


def market_prices(tx: Transaction, hours: Iterable[datetime]) -> dict[tuple[datetime, str], Decimal]:
    """Dollars per GPU-second by hour and GPU type, as rating has fixed them."""
    rows = tx.execute("select hour, gpu_type, price from rated_market_prices where hour = any(%s)", [sorted(hours)])
    return {(row["hour"], row["gpu_type"]): row["price"] for row in rows}


def market_prices_known(tx: Transaction, at: datetime) -> dict[str, Decimal]:
    """By GPU type, the last that is known of the market: what an hour that is not rated yet goes by."""
    return {row["gpu_type"]: row["price"] for row in tx.execute(_MARKET_PRICES, {"hour": at})}


def append(tx: Transaction, lines: Iterable[Line], *, ledger_source: str, now: datetime) -> None:
    statement = """copy rated_lines (hour, run_id, job_id, organisation_id, key_id, project, tier, gpu_type, kind,
                       gpu_seconds, free_seconds, exact, amount, rate_card_id, ledger_source, rated_at) from stdin"""
    with tx.cursor().copy(statement) as copy:
        for line in lines:
            use = line.use
            copy.write_row(
                (
                    use.hour,
                    use.run_id,
                    use.job_id,
                    use.organisation_id,
                    use.key_id,
                    use.project,
                    use.tier,
                    use.gpu_type,
                    line.kind,
                    line.gpu_seconds,
                    line.free_seconds,
                    line.exact,
                    line.amount,
                    line.rate_card_id,
                    ledger_source,
                    now,
                )
            )


def mark_rated(tx: Transaction, hour: datetime, build: Build, *, differs: bool, now: datetime) -> None:
    tx.execute(
        """insert into rated_hours as h (hour, rated_at, built_at, last_event_id, ratings) values (%s, %s, %s, %s, %s)
           on conflict (hour) do update set rated_at = excluded.rated_at, built_at = excluded.built_at,
               last_event_id = excluded.last_event_id, ratings = h.ratings + excluded.ratings""",
        [hour, now, build.built_at, build.last_event_id, int(differs)],
    )


def ratings(tx: Transaction, hour: datetime) -> int:
    """How often the hour was rated with a difference."""
    row = tx.execute("select ratings from rated_hours where hour = %s", [hour]).fetchone()
    return int(row["ratings"]) if row else 0


def _job_span(row: dict[str, Any]) -> JobSpan:
    return JobSpan(job_id=row.pop("job_id"), key_id=row.pop("key_id"), project=row.pop("project"), span=Span(**row))


def _bounds(window: Window) -> dict[str, datetime]:
    return {"start": window.start, "end": window.end}


def _standing(tx: Transaction, where: str, parameters: dict[str, Any]) -> list[Line]:
    rows = tx.execute(
        f"""select hour, run_id, job_id, organisation_id, key_id, project, tier, gpu_type, kind, sum(amount)::bigint as
                amount, sum(gpu_seconds) as gpu_seconds, sum(free_seconds) as free_seconds, sum(exact) as exact
            from rated_lines where {where}
            group by hour, run_id, job_id, organisation_id, key_id, project, tier, gpu_type, kind""",
        parameters,
    )
    return [_line(row) for row in rows]


def _line(row: dict[str, Any]) -> Line:
    use = Use(
        hour=row["hour"],
        run_id=row["run_id"],
        job_id=row["job_id"],
        organisation_id=row["organisation_id"],
        key_id=row["key_id"],
        project=row["project"],
        tier=row["tier"],
        gpu_type=row["gpu_type"],
        gpu_seconds=row["gpu_seconds"],
    )
    return Line(
        use=use,
        kind=LineKind(row["kind"]),
        gpu_seconds=row["gpu_seconds"],
        free_seconds=row["free_seconds"],
        exact=row["exact"],
        amount=row["amount"],
        rate_card_id="",
    )
