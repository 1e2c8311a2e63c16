"""SQL that asks what is to be rated, and whether what was rated is right: one statement a function."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.billing.ledger import CREDITS, REVENUE
from scalar.billing.rating import PLATFORM_REASONS
from scalar.database import Transaction

PATIENCE = timedelta(minutes=15)
"""So long an hour waits for the market's prices of it, where there is a market; then it goes by the last ones."""


def due_hours(tx: Transaction, *, since: datetime, now: datetime) -> dict[datetime, str]:
    """Hours since then, or built since then, to rate, oldest first, each with what makes it due.

    One that was built after it was rated, or never rated; and the first in each month of a run that the platform ended
    and that is not credited there: the rest of that month follows by itself.
    """
    rows = tx.execute(
        """select m.hour, 'built ' || extract(epoch from m.built_at) as why
           from metered_hours m left join rated_hours r using (hour)
           where (m.hour >= %(since)s or m.built_at >= %(since)s)
             and (r.hour is null or (m.built_at, m.last_event_id) is distinct from (r.built_at, r.last_event_id))
             and (exists (select from market_prices p where p.hour = m.hour) or m.hour <= %(patient)s
                  or not exists (select from market_prices))
           union all
           select min(l.hour), 'lost ' || l.run_id
           from job_runs r join rated_lines l on l.job_id = r.job_id and l.run_id = r.id
           where r.reason = any(%(platform)s) and r.ended_at >= %(since)s
             and not exists (
                 select from rated_lines c
                 where c.job_id = l.job_id and c.run_id = l.run_id and c.hour = l.hour and c.kind = 'credit')
           group by l.run_id, date_trunc('month', l.hour, 'UTC') having sum(l.gpu_seconds) > 0
           order by hour, why""",
        {
            "since": since,
            "patient": now - timedelta(hours=1) - PATIENCE,
            "platform": PLATFORM_REASONS,
        },
    )
    return {row["hour"]: row["why"] for row in rows}


@dataclass(frozen=True, kw_only=True)
class Unrated:
    """A run and GPU type whose lines of an hour don't say what was metered."""

    run_id: str
    gpu_type: str
    metered: Decimal
    rated: Decimal


def rated_otherwise_than_metered(tx: Transaction, hour: datetime) -> list[Unrated]:
    rows = tx.execute(
        """with rated as (
               select run_id, gpu_type, sum(gpu_seconds) as gpu_seconds from rated_lines
               where hour = %(hour)s and kind = 'usage' group by run_id, gpu_type)
           select run_id, gpu_type, coalesce(u.gpu_seconds, 0) as metered, coalesce(r.gpu_seconds, 0) as rated
           from (select * from hourly_usage where hour = %(hour)s) u full join rated r using (run_id, gpu_type)
           where coalesce(u.gpu_seconds, 0) <> coalesce(r.gpu_seconds, 0) order by run_id, gpu_type""",
        {"hour": hour},
    )
    return [Unrated(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class OffTheLedger:
    """A rating whose lines and whose posting don't agree, in micro-dollars."""

    source: str
    lines: int
    ledger: int


def lines_off_the_ledger(tx: Transaction, hour: datetime) -> list[OffTheLedger]:
    """Of every rating that wrote a line of the hour."""
    rows = tx.execute(
        """with sources as (select distinct ledger_source as source from rated_lines where hour = %(hour)s),
           lines as (
               select ledger_source as source, sum(amount)::bigint as amount from rated_lines
               where ledger_source in (select source from sources) group by ledger_source),
           posted as (
               select t.source, -sum(e.amount)::bigint as amount
               from ledger_transactions t join ledger_entries e on e.transaction_id = t.id
               where t.source in (select source from sources) and e.account = any(%(accounts)s) group by t.source)
           select source, l.amount as lines, coalesce(p.amount, 0) as ledger
           from lines l left join posted p using (source)
           where l.amount <> coalesce(p.amount, 0) order by source""",
        {"hour": hour, "accounts": [REVENUE.name, CREDITS.name]},
    )
    return [OffTheLedger(**row) for row in rows]


def runs_below_zero(tx: Transaction, hour: datetime) -> list[str]:
    """Runs whose lines of an hour add up to less than nothing."""
    rows = tx.execute(
        """select run_id from rated_lines where hour = %s group by run_id, gpu_type
           having sum(amount) < 0 or sum(amount) filter (where kind = 'usage') < 0 order by run_id""",
        [hour],
    )
    return [row["run_id"] for row in rows]
