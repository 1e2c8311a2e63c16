"""SQL of price history: one statement a function."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from psycopg.types.json import Jsonb

from scalar.database import Transaction
from scalar.market.prices import HourPrices


def upsert(tx: Transaction, rows: Sequence[HourPrices]) -> None:
    """An hour that is written again keeps how the book stood, unless it was looked at again."""
    for row in rows:
        traded, book = row.traded, row.book
        tx.execute(
            """insert into market_prices (sku, hour, trades, node_hours, low, average, high, quotes, depth,
                   available_nodes, observed_at)
               values (%(sku)s, %(hour)s, %(trades)s, %(node_hours)s, %(low)s, %(average)s, %(high)s, %(quotes)s,
                   %(depth)s, %(available_nodes)s, %(observed_at)s)
               on conflict (sku, hour) do update set trades = excluded.trades, node_hours = excluded.node_hours,
                   low = excluded.low, average = excluded.average, high = excluded.high,
                   quotes = case when excluded.observed_at is null then market_prices.quotes else excluded.quotes end,
                   depth = case when excluded.observed_at is null then market_prices.depth else excluded.depth end,
                   available_nodes = coalesce(excluded.available_nodes, market_prices.available_nodes),
                   observed_at = coalesce(excluded.observed_at, market_prices.observed_at)""",
            {
                "sku": row.sku,
                "hour": row.hour,
                "trades": traded.trades,
                "node_hours": traded.node_hours,
                "low": traded.low,
                "average": traded.average,
                "high": traded.high,
                "quotes": Jsonb(book.quotes if book else {}),
                "depth": Jsonb(book.depth if book else {}),
                "available_nodes": book.available_nodes if book else None,
                "observed_at": book.observed_at if book else None,
            },
        )


def missing_hours(tx: Transaction, since: datetime, until: datetime) -> list[datetime]:
    """Hours from `since` until before `until` that nobody collected, oldest first."""
    rows = tx.execute(
        """select h as hour from generate_series(%(since)s, %(until)s - interval '1 hour', interval '1 hour') h
           where not exists (select from market_prices where hour = h) order by h""",
        {"since": since, "until": until},
    )
    return [row["hour"] for row in rows]


@dataclass(frozen=True, kw_only=True)
class OddHour:
    """Dollars per node-hour."""

    sku: str
    hour: datetime
    average: Decimal
    usual: Decimal


def far_from_usual(tx: Transaction, *, lately: datetime, usually: datetime) -> list[OddHour]:
    """Hours since `lately` whose average is over three times the median since `usually`, or under a third of it."""
    rows = tx.execute(
        """with usual as (
               select sku, percentile_disc(0.5) within group (order by average) as price from market_prices
               where hour >= %(usually)s and average is not null group by sku having count(*) >= 24)
           select p.sku, p.hour, p.average, u.price as usual from market_prices p join usual u on u.sku = p.sku
           where p.hour >= %(lately)s and (p.average > u.price * 3 or p.average * 3 < u.price)
           order by p.hour, p.sku""",
        {"lately": lately, "usually": usually},
    )
    return [OddHour(**row) for row in rows]
