"""SQL of price history: one statement a function."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from scalar.database import Transaction

if TYPE_CHECKING:
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


def hours_known(tx: Transaction, since: datetime) -> set[datetime]:
    """Hours from then on whose trades were collected."""
    rows = tx.execute("select distinct hour from market_prices where hour >= %s", [since])
    return {row["hour"] for row in rows}
