"""SQL of what plans look ahead by: one statement a function."""

from datetime import datetime
from decimal import Decimal

import numpy as np

from scalar.database import Transaction, one
from scalar.planning.highs import Floats


def used_by_hour(tx: Transaction, gpu_type: str, tier: str, start: datetime, end: datetime) -> Floats | None:
    """GPUs of one type and tier that ran in each hour of [start, end), from the first in which any did; None: none."""
    rows = tx.execute(
        """with used as (
               select hour, sum(gpu_seconds) / 3600 as gpus from hourly_usage
               where gpu_type = %(gpu_type)s and tier = %(tier)s and hour >= %(start)s and hour < %(end)s
               group by hour)
           select coalesce(u.gpus, 0)::float8 as gpus
           from generate_series(
               (select min(hour) from used), %(end)s - interval '1 hour', interval '1 hour') as h (hour)
           left join used u on u.hour = h.hour order by h.hour""",
        {"gpu_type": gpu_type, "tier": tier, "start": start, "end": end},
    )
    found = [row["gpus"] for row in rows]
    return np.array(found) if found else None


def asked_by_hour(tx: Transaction, sku: str, since: datetime) -> list[Decimal]:
    """What an hour was offered at, or traded at where nobody asked, of late."""
    rows = tx.execute(
        """select coalesce((quotes -> '1h' ->> 'buy')::numeric, average) as price from market_prices
           where sku = %s and hour >= %s and coalesce((quotes -> '1h' ->> 'buy')::numeric, average) is not null""",
        [sku, since],
    )
    return [row["price"] for row in rows]


def recent_customers(tx: Transaction, since: datetime) -> list[str]:
    """Whose jobs ran since then, or wait."""
    rows = tx.execute(
        """select organisation_id from hourly_usage where hour >= %s
           union select organisation_id from jobs where state = 'queued' order by 1""",
        [since],
    )
    return [row["organisation_id"] for row in rows]


def rated_since(tx: Transaction, organisation_id: str, since: datetime) -> int:
    """Micro-dollars of usage, before credits."""
    query = """select coalesce(sum(amount), 0)::bigint as amount from rated_lines
               where organisation_id = %s and hour >= %s and kind = 'usage'"""
    return int(one(tx, query, [organisation_id, since])["amount"])
