"""The market's statement of our account, kept line by line as it is read."""

from collections.abc import Iterable
from datetime import datetime

from scalar.database import Transaction
from scalar.market.answers import MarketTransaction, TransactionKind
from scalar.market.reconciling import Charge, Charged, StrangeCharge

_KINDS = list(TransactionKind.__members__.values())
_TRADES = (TransactionKind.BUY_ORDER, TransactionKind.SELL_ORDER)


def signed(line: MarketTransaction) -> int:
    """Cents: the market does not say which sign its amounts have, so the kind of the line decides."""
    return -abs(line.amount_cents) if line.kind is TransactionKind.BUY_ORDER else abs(line.amount_cents)


def keep(tx: Transaction, lines: Iterable[MarketTransaction], now: datetime) -> None:
    for line in lines:
        tx.execute(
            """insert into market_transactions (cursor, at, kind, amount_cents, balance_cents, market_order_id, seen_at)
               values (%s, %s, %s, %s, %s, %s, %s) on conflict (cursor) do nothing""",
            [line.cursor, line.time, str(line.kind), signed(line), line.balance_cents, line.order_id, now],
        )


def last_cursor(tx: Transaction) -> str | None:
    row = tx.execute("select cursor from market_transactions order by number desc limit 1").fetchone()
    return str(row["cursor"]) if row else None


def lines_from(tx: Transaction, cursor: str | None) -> list[Charge]:
    """In the market's order, from this line on; all of them without one."""
    rows = tx.execute(
        """select at, kind, amount_cents as cents, balance_cents, market_order_id from market_transactions
           where %(cursor)s::text is null
              or number >= (select number from market_transactions where cursor = %(cursor)s)
           order by number""",
        {"cursor": cursor},
    )
    return [Charge(**row) for row in rows]


def strange(tx: Transaction) -> list[StrangeCharge]:
    """Lines, since we trade there, of a trade that is none of ours, or of a kind that we don't know; not accepted."""
    rows = tx.execute(
        """select number, at, kind, amount_cents as cents, market_order_id from market_transactions m
           where accepted_by is null and at >= (select pool_since from market_controls)
             and (kind <> all(%(kinds)s) or (kind = any(%(trades)s)
                  and not exists (select from orders o where o.market_id = m.market_order_id)))
           order by number""",
        {"kinds": [str(kind) for kind in _KINDS], "trades": [str(kind) for kind in _TRADES]},
    )
    return [StrangeCharge(**row) for row in rows]


def accept(tx: Transaction, number: int, *, by: str, why: str) -> bool:
    """Somebody answers for a strange line; False where none has this number."""
    if number not in {line.number for line in strange(tx)}:
        return False
    update = "update market_transactions set accepted_by = %s, accepted_why = %s where number = %s"
    return tx.execute(update, [by, why, number]).rowcount == 1


def charged(tx: Transaction, market_ids: list[str]) -> dict[str, Charged]:
    rows = tx.execute(
        """select market_order_id as id, sum(amount_cents)::bigint as cents, count(*) as lines from market_transactions
           where market_order_id = any(%s) group by market_order_id""",
        [market_ids],
    )
    return {row["id"]: Charged(cents=row["cents"], lines=row["lines"]) for row in rows}
