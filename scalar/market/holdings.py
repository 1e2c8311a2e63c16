"""What was bought and what became of it: each block with what was sold of it and the machines on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from scalar.database import Transaction
from scalar.market.model import Block, InstanceState, Rectangle


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """A machine on one seat of a block, for a while."""

    instance_id: str
    seat: int
    start: datetime
    end: datetime
    state: InstanceState
    node_id: str | None
    node_name: str | None
    until: datetime
    """The end of the machine's last seat, of this block or of one that follows."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    block: Block
    sku_alias: str
    gpu_type: str | None
    gpus_per_node: int | None
    sold_node_minutes: int
    proceeds: Decimal
    """Dollars, before the market's fee."""
    sittings: tuple[Sitting, ...]


@dataclass(frozen=True, kw_only=True)
class HoldingFilter:
    """Which blocks a list shows: by their end, from the one after `after` on."""

    ending_after: datetime | None = None
    order_id: str | None = None
    after: str | None = None
    limit: int = 200


def holdings(tx: Transaction, which: HoldingFilter) -> list[Holding]:
    rows = tx.execute(
        """select b.id, b.order_id, b.sku, b.nodes, b.starts_at, b.ends_at, b.price,
               coalesce(k.alias, b.sku) as alias, k.gpu_type, k.gpus_per_node, s.minutes, s.proceeds
           from blocks b left join skus k on k.id = b.sku
           cross join lateral (
               select coalesce(sum(m.minutes), 0)::bigint as minutes,
                   round(coalesce(sum(m.minutes * m.price), 0) / 60, 6) as proceeds
               from (select extract(epoch from upper(during) - lower(during)) / 60 as minutes, price from sales
                     where block_id = b.id) m) s
           where (%(ending_after)s::timestamptz is null or b.ends_at > %(ending_after)s)
             and (%(order_id)s::text is null or b.order_id = %(order_id)s)
             and (%(after)s::text is null or (b.ends_at, b.id) > (select ends_at, id from blocks where id = %(after)s))
           order by b.ends_at, b.id limit %(limit)s""",
        {"ending_after": which.ending_after, "order_id": which.order_id, "after": which.after, "limit": which.limit},
    ).fetchall()
    sittings = _sittings(tx, [row["id"] for row in rows])
    return [_holding(row, sittings.get(row["id"], [])) for row in rows]


def _sittings(tx: Transaction, block_ids: list[str]) -> dict[str, list[Sitting]]:
    rows = tx.execute(
        """select s.block_id, s.instance_id, s.seat, lower(s.during) as start, upper(s.during) as end, i.state,
               i.node_id, n.name as node_name, i.until
           from seatings s join instances i on i.id = s.instance_id left join nodes n on n.id = i.node_id
           where s.block_id = any(%s) order by s.seat, s.during""",
        [block_ids],
    )
    by_block: dict[str, list[Sitting]] = {}
    for row in rows:
        block_id = row.pop("block_id")
        by_block.setdefault(block_id, []).append(Sitting(**{**row, "state": InstanceState(row["state"])}))
    return by_block


def _holding(row: dict[str, Any], sittings: Iterable[Sitting]) -> Holding:
    return Holding(
        block=Block(
            id=row["id"],
            order_id=row["order_id"],
            sku=row["sku"],
            window=Rectangle(start=row["starts_at"], end=row["ends_at"], nodes=row["nodes"]),
            price=row["price"],
        ),
        sku_alias=row["alias"],
        gpu_type=row["gpu_type"],
        gpus_per_node=row["gpus_per_node"],
        sold_node_minutes=row["minutes"],
        proceeds=row["proceeds"],
        sittings=tuple(sittings),
    )
