"""The books of the policy that really ran, worked out anew from what was recorded: pure.

    orders' fills, blocks and sales ─► what was paid, resold, and what of it was used up in which hour
    usage by hour, rate cards, prices ─► what it brought, by hour and organisation

The same pure functions as in earnest (`costs_in`, `rate`, `posting_of`, a block's `settled`), on a whole month at once
and in any order. In the ledger the same rows came about one by one, as reports and fills came in, with corrections: a
row here is what all postings of one hour's cost, of one fill, or of the month's usage come to in one account; and
`rated` has usage line by line. They must be equal, exactly.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scalar.billing.block_prices import Bought
from scalar.billing.costs import Use as CostedUse
from scalar.billing.costs import costs_in
from scalar.billing.fill_store import FillFact
from scalar.billing.ledger import (
    CASH_MARKET,
    MARKET_FEES,
    PREPAID_NODE_HOURS,
    RESALE,
    SUPPLIER_COST,
    Entry,
    move,
)
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import RateCard
from scalar.billing.rated_usage import posting_of
from scalar.billing.rating import Line, MarketPrices, MonthToDate, Use, rate
from scalar.market.model import Side
from scalar.metering.model import Window

Row = tuple[str, str, str]
"""(kind: usage, cost or fill; which month, hour or fill; account)."""
LineKey = tuple[datetime, str, str, str]
"""(hour, run, GPU type, kind)."""
Rows = Mapping[Row, int]
"""Micro-dollars, debits positive; none is zero."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """What there is of one month. `rated`, `costed`: the hours that the ledger has."""

    month: Window
    rated: Sequence[datetime]
    uses: Sequence[Use]
    cards: Sequence[RateCard]
    prices: MarketPrices
    costed: Sequence[datetime]
    blocks: Sequence[Bought]
    costed_uses: Mapping[datetime, Sequence[CostedUse]]
    fills: Sequence[FillFact]


def books(records: Records) -> Rows:
    """The ledger's rows of the month, as they must be."""
    rows: Counter[Row] = Counter()
    for kind, subject, entries in (*_usage(records), *_costs(records), *_fills(records)):
        for entry in entries:
            rows[kind, subject, entry.account.name] += entry.amount
    return {row: amount for row, amount in rows.items() if amount}


def hour_name(hour: datetime) -> str:
    """As the ledger's sources have it."""
    return f"{hour:%Y-%m-%dT%H}"


def rated(records: Records) -> Mapping[LineKey, int]:
    """Micro-dollars of each line of usage."""
    return {line_key(line): line.amount for line in _lines(records) if line.amount}


def line_key(line: Line) -> LineKey:
    return line.use.hour, line.use.run_id, line.use.gpu_type, line.kind.value


def _lines(records: Records) -> list[Line]:
    return rate(records.uses, RateBook(records.cards), MonthToDate(), records.prices)


def _usage(records: Records) -> Iterable[tuple[str, str, Sequence[Entry]]]:
    month = records.month.start
    yield "usage", f"{month:%Y-%m}", posting_of(_lines(records), "replayed", at=month).entries


def _costs(records: Records) -> Iterable[tuple[str, str, Sequence[Entry]]]:
    for hour in records.costed:
        costs = costs_in(records.blocks, records.costed_uses.get(hour, ()), Window.hour(hour))
        yield "cost", hour_name(hour), move(costs.total, debit=SUPPLIER_COST, credit=PREPAID_NODE_HOURS)


def _fills(records: Records) -> Iterable[tuple[str, str, Sequence[Entry]]]:
    gone = {
        (settled.sale.order_id, settled.sale.fill, block.id): settled.cost
        for block in records.blocks
        for settled in block.settled
    }
    for fill in records.fills:
        subject = f"{fill.order_id}/{fill.position}"
        if fill.side is Side.BUY:
            yield "fill", subject, move(fill.amount, debit=PREPAID_NODE_HOURS, credit=CASH_MARKET)
            continue
        cost = sum(gone.get((fill.order_id, fill.position, block_id), 0) for block_id in fill.block_ids)
        yield "fill", subject, move(fill.amount, debit=CASH_MARKET, credit=RESALE)
        yield "fill", subject, move(fill.fee, debit=MARKET_FEES, credit=CASH_MARKET)
        yield "fill", subject, move(cost, debit=SUPPLIER_COST, credit=PREPAID_NODE_HOURS)
