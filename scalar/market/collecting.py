"""What compute was traded for, hour by hour, and how the order book stood: collected from the market, and kept.

1. Trades are public. Each belongs to the hour in which it was made, whenever its compute is delivered.
2. Of the hour that runs and of the one before, the book is looked at as well: what a node costs, and brings, for an
   hour, a day and a week from the next hour on; what stands on either side; how many nodes are to be had now.
3. Hours that are collected again keep what the book said when it was looked at.

An hour without a trade is kept as one without a trade, and only after the market has said so in a whole answer.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.errors import InvalidRequest
from scalar.market import catalogue, price_store
from scalar.market.answers import PriceLevel, Quoted
from scalar.market.desk import Desk
from scalar.market.model import Side, Sku
from scalar.market.prices import HOUR, Book, HourPrices, Traded, hour_of, hours, summarise

REMEMBERED = timedelta(days=30)
"""The market tells of no trade before that."""
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, "168h": 168 * HOUR}
"""What the book is looked at for: one node for so long, from the next hour on."""
_FARTHEST = timedelta(days=3 * 365)
"""No compute is traded for later than that."""
_LEVELS = 10


def collect(desk: Desk, start: datetime, end: datetime) -> list[HourPrices]:
    """The hours from `start` until before `end`, of every kind of machine, kept: one paging through the trades.

    Raises: `InvalidRequest` where the market has forgotten; `MarketError`, and then nothing is kept.
    """
    now = desk.clock()
    _refuse_forgotten(start, now)
    skus = catalogue.learn(desk)
    # Of compute for any time: only when they were made counts.
    fills = desk.market.fills(start=start - HOUR, end=hour_of(now) + _FARTHEST, since=start)
    traded = summarise(fills, start, end)
    books = {sku.id: _look(desk, sku, now) for sku in skus} if end > hour_of(now) - HOUR else {}
    books = _with_availability(desk, books, now) if books else {}
    known = sorted({*(sku.id for sku in skus), *(sku for sku, _ in traded)})
    rows = [
        HourPrices(
            sku=sku,
            hour=hour,
            traded=traded.get((sku, hour), Traded()),
            book=books.get(sku) if hour >= hour_of(now) - HOUR else None,
        )
        for sku in known
        for hour in hours(start, end)
    ]
    with desk.transact() as tx:
        price_store.upsert(tx, rows)
    return rows


def _refuse_forgotten(start: datetime, now: datetime) -> None:
    if start < now - REMEMBERED:
        raise InvalidRequest(
            f"The market tells of the trades of the last {REMEMBERED.days} days:"
            f" nothing can be learned of {start:%Y-%m-%d %H:%M} UTC any more."
        )


def _look(desk: Desk, sku: Sku, now: datetime) -> Book:
    start = hour_of(now) + HOUR
    only = {"id": [sku.id]}
    depth = desk.market.depth(start=start, end=start + HOUR, requirements=only, levels=_LEVELS)
    return Book(
        observed_at=now,
        quotes={name: _quotes(desk, sku, start, length) for name, length in WINDOWS.items()},
        depth={"bids": _levels(depth.bids), "asks": _levels(depth.asks)},
    )


def _quotes(desk: Desk, sku: Sku, start: datetime, length: timedelta) -> dict[str, str | None]:
    best = desk.market.quote(start=start, end=start + length, requirements={"id": [sku.id]})
    return {
        "bid": _text(best.best_bid.price if best.best_bid else None),
        "ask": _text(best.best_ask.price if best.best_ask else None),
        "buy": _text(_fills_at(desk, Side.BUY, sku, start, length)),
        "sell": _text(_fills_at(desk, Side.SELL, sku, start, length)),
    }


def _fills_at(desk: Desk, side: Side, sku: Sku, start: datetime, length: timedelta) -> Decimal | None:
    """Of one node now; None: it would not fill."""
    preview = desk.market.preview_order(
        side=side, requirements={"id": [sku.id]}, start=start, seconds=int(length.total_seconds()), nodes=1
    )
    return preview.price if isinstance(preview, Quoted) else None


def _levels(levels: Sequence[PriceLevel]) -> list[list[str | int]]:
    return [[str(each.price), max((part.nodes for part in each.schedule), default=0)] for each in levels]


def _with_availability(desk: Desk, books: dict[str, Book], now: datetime) -> dict[str, Book]:
    schedules = desk.market.availability()
    nodes = {
        sku: next((part.nodes for part in schedule if part.start <= now < part.end), 0)
        for sku, schedule in schedules.items()
    }
    return {sku: replace(book, available_nodes=nodes.get(sku)) for sku, book in books.items()}


def _text(price: Decimal | None) -> str | None:
    return None if price is None else str(price)
