"""SQL of what the market's fills cost and brought, and of what of them is in the ledger."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from scalar.billing.block_prices import Sale
from scalar.billing.money import apportion, micros
from scalar.database import Transaction
from scalar.market.model import Side
from scalar.metering.model import Window

_MINUTES_AN_HOUR = 60


@dataclass(frozen=True, kw_only=True)
class FillFact:
    """A fill as the market told of it; of a sale, with the fee and the blocks that it was taken from."""

    order_id: str
    position: int
    side: Side
    at: datetime
    amount: int
    fee: int
    block_ids: tuple[str, ...]


def fills(tx: Transaction, *, unposted: bool = False, of_blocks: Collection[str] = ()) -> list[FillFact]:
    """Fills that the ledger doesn't have yet, or sales of these blocks."""
    rows = tx.execute(
        """select f.order_id, f.position, o.side, f.filled_at as at, f.amount, o.fee_flat, o.fee_bps,
               coalesce(s.minutes, 0) as minutes,
               coalesce(s.block_ids, array(select id from blocks b where (b.order_id, b.fill) = (f.order_id, f.position)
                                           order by id)) as block_ids
           from fills f join orders o on o.id = f.order_id
           left join lateral (
               select array_agg(distinct block_id order by block_id) as block_ids,
                   sum(extract(epoch from upper(during) - lower(during))) / 60 as minutes
               from sales where (order_id, fill) = (f.order_id, f.position)) s on true
           where (%(unposted)s and not exists (
                   select from posted_fills p where (p.order_id, p.position) = (f.order_id, f.position)))
              or (f.order_id, f.position) in (select order_id, fill from sales where block_id = any(%(blocks)s))
           order by f.filled_at, f.order_id, f.position""",
        {"unposted": unposted, "blocks": list(of_blocks)},
    )
    return [
        FillFact(
            order_id=row["order_id"],
            position=row["position"],
            side=Side(row["side"]),
            at=row["at"],
            amount=micros(row["amount"]),
            fee=_fee(row),
            block_ids=tuple(row["block_ids"]),
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True)
class PostedFill:
    """Micro-dollars that the ledger has of a fill, in so many postings."""

    amount: int = 0
    fee: int = 0
    cost_of_sold: int = 0
    postings: int = 0


def lock_fills(tx: Transaction) -> None:
    """One at a time posts them."""
    tx.execute("lock table posted_fills in share row exclusive mode")


def posted_fill(tx: Transaction, order_id: str, position: int) -> PostedFill:
    row = tx.execute(
        """select amount, fee, cost_of_sold, postings from posted_fills where order_id = %s and position = %s""",
        [order_id, position],
    ).fetchone()
    return PostedFill(**row) if row else PostedFill()


def keep_posted(tx: Transaction, order_id: str, position: int, posted: PostedFill, now: datetime) -> None:
    tx.execute(
        """insert into posted_fills (order_id, position, amount, fee, cost_of_sold, postings, posted_at)
           values (%s, %s, %s, %s, %s, %s, %s)
           on conflict (order_id, position) do update set amount = excluded.amount, fee = excluded.fee,
               cost_of_sold = excluded.cost_of_sold, postings = excluded.postings, posted_at = excluded.posted_at""",
        [order_id, position, *astuple(posted), now],
    )


@dataclass(frozen=True, kw_only=True)
class Deposit:
    """Money that came to our balance at the market by no order."""

    cursor: str
    at: datetime
    kind: str
    cents: int


def unposted_deposits(tx: Transaction) -> list[Deposit]:
    rows = tx.execute(
        """select cursor, at, kind, amount_cents as cents from market_transactions t
           where market_order_id is null and kind not in ('buy_order', 'sell_order') and amount_cents <> 0
             and not exists (select from ledger_transactions l where l.source = 'statement/' || t.cursor)
           order by number"""
    )
    return [Deposit(**row) for row in rows]


def sales_of(tx: Transaction, block_ids: Collection[str]) -> dict[str, list[Sale]]:
    """By block. What a fill brought is shared among its blocks by node-minutes: it was sold at one price."""
    parts: dict[tuple[str, int], dict[str, list[Window]]] = defaultdict(lambda: defaultdict(list))
    rows = tx.execute(
        """select order_id, fill, block_id, lower(during) as start, upper(during) as "end" from sales
           where (order_id, fill) in (select order_id, fill from sales where block_id = any(%s))
           order by block_id, seat, during""",
        [list(block_ids)],
    )
    for row in rows:
        parts[row["order_id"], row["fill"]][row["block_id"]].append(Window(start=row["start"], end=row["end"]))
    found: dict[str, list[Sale]] = defaultdict(list)
    for fill in fills(tx, of_blocks=block_ids):
        of_block = parts[fill.order_id, fill.position]
        shares = apportion(fill.amount - fill.fee, [_minutes(of_block[each]) for each in fill.block_ids])
        for block_id, net in zip(fill.block_ids, shares, strict=True):
            found[block_id].append(
                Sale(
                    order_id=fill.order_id,
                    fill=fill.position,
                    at=fill.at,
                    net=net,
                    parts=tuple(of_block[block_id]),
                )
            )
    return found


def _fee(row: dict[str, Any]) -> int:
    """Of a sale: never more than it brought."""
    if row["side"] != Side.SELL or row["fee_bps"] is None:
        return 0
    flat = (row["fee_flat"] or Decimal(0)) * row["minutes"] / _MINUTES_AN_HOUR
    return min(micros(flat + row["amount"] * row["fee_bps"] / 10_000), micros(row["amount"]))


def _minutes(parts: Sequence[Window]) -> int:
    return sum(int((part.end - part.start).total_seconds()) // _MINUTES_AN_HOUR for part in parts)
