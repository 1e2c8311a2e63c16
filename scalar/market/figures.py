"""SQL of the market's figures: what dashboards and alerts read."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from scalar.database import Transaction, one


@dataclass(frozen=True, kw_only=True)
class Dollars:
    spent: Decimal
    """Paid for what has filled, ever."""
    open: Decimal
    """What open purchases may yet cost at their limits, beyond what of them has filled."""
    earned: Decimal
    """Brought by sales, before fees."""


@dataclass(frozen=True, kw_only=True)
class PriceHour:
    """What was traded of one kind of machine in one hour, and how the book stood: dollars per node-hour."""

    hour: datetime
    trades: int
    node_hours: Decimal
    low: Decimal | None
    average: Decimal | None
    high: Decimal | None
    quotes: dict[str, Any]
    depth: dict[str, Any]
    available_nodes: int | None


def orders_by_state(tx: Transaction) -> dict[str, int]:
    rows = tx.execute("select state, count(*) as n from orders group by state")
    return {row["state"]: row["n"] for row in rows}


def dollars(tx: Transaction) -> Dollars:
    row = one(
        tx,
        """select coalesce(sum(amount) filter (where side = 'buy'), 0) as spent,
               coalesce(sum(amount) filter (where side = 'sell'), 0) as earned,
               coalesce(sum(greatest(0, limit_price * nodes * extract(epoch from ends_at - starts_at) / 3600 - amount))
                   filter (where side = 'buy' and ended_at is null), 0) as open
           from orders""",
    )
    return Dollars(**row)


def fill_seconds(tx: Transaction, since: datetime) -> dict[str, float]:
    """By kind of machine: the median time from sending an order to knowing that it has filled, of those since then."""
    rows = tx.execute(
        """select coalesce(k.alias, o.sku) as sku,
               percentile_cont(0.5) within group (order by extract(epoch from o.filled_at - o.sent_at)) as seconds
           from orders o left join skus k on k.id = o.sku
           where o.filled_at > %s and o.sent_at is not null and not o.allow_standing group by 1""",
        [since],
    )
    return {row["sku"]: float(row["seconds"]) for row in rows}


def ready_seconds(tx: Transaction, since: datetime) -> dict[str, float]:
    """By kind of machine: the median time from asking for a machine to its node taking work, of those since then."""
    rows = tx.execute(
        """select coalesce(k.alias, i.sku) as sku,
               percentile_cont(0.5) within group (order by extract(epoch from i.ready_at - i.asked_at)) as seconds
           from instances i left join skus k on k.id = i.sku
           where i.ready_at > %s and i.asked_at is not null group by 1""",
        [since],
    )
    return {row["sku"]: float(row["seconds"]) for row in rows}


def live_instances_by_state(tx: Transaction) -> dict[str, int]:
    rows = tx.execute("select state, count(*) as n from instances where state <> 'ended' group by state")
    return {row["state"]: row["n"] for row in rows}


def price_hours(tx: Transaction, sku: str, since: datetime) -> list[PriceHour]:
    """Oldest first; an hour that nobody looked at has no row."""
    rows = tx.execute(
        """select hour, trades, node_hours, low, average, high, quotes, depth, available_nodes from market_prices
           where sku = %s and hour >= %s order by hour""",
        [sku, since],
    )
    return [PriceHour(**row) for row in rows]
