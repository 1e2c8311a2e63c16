"""What the public may see of the books: depth, quotes, previews. All of it reads, none changes anything."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby, islice

from sandbox.market.book import Book, Queue
from sandbox.market.matching import Match, Taker, walk
from sandbox.market.orders import LiveOrder
from sandbox.market.rules import Rules
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import Depth, OpenWindow, Preview, PriceLevel, Quote, Side


def depth(book: Book, sku: str, start: int, end: int, n: int, rules: Rules, now: int) -> Depth:
    bids, asks = (
        tuple(islice(_levels(_in_window(queue, start, end, rules, now), sku), n)) for queue in (book.bids, book.asks)
    )
    return Depth(bids=bids, asks=asks)


def quote(books: Mapping[str, Book], start: int, end: int, rules: Rules, now: int) -> Quote:
    tops = [depth(books[sku], sku, start, end, 1, rules, now) for sku in sorted(books)]
    bids = [level for top in tops for level in top.bids]
    asks = [level for top in tops for level in top.asks]
    # Of equals, max and min keep the first: the lowest SKU.
    return Quote(
        best_bid=max(bids, key=lambda level: level.price, default=None),
        best_ask=min(asks, key=lambda level: level.price, default=None),
    )


def preview(books: Mapping[str, Book], taker: Taker, rules: Rules, now: int) -> Preview | None:
    matches = {sku: walk(books[sku].against(taker.side), taker, rules, now) for sku in sorted(books)}
    found = [_previewed(sku, match, rules) for sku, match in matches.items() if not match.left]
    sign = 1 if taker.side is Side.BUY else -1
    return min(found, key=lambda preview: (sign * preview.price, sign * preview.value), default=None)


def _previewed(sku: str, match: Match, rules: Rules) -> Preview:
    """The walk's last price is its worst: limited there, the same walk fills again."""
    limit = match.takes[-1].order.asked.limit
    value = sum(
        rules.price(own=limit, resting=take.order.asked.limit) * take.delta.node_minutes for take in match.takes
    )
    return Preview(sku=sku, price=limit, value=value)


def purchasable(book: Book, now: int) -> Schedule:
    total = EMPTY
    for order in book.asks:
        total = total.plus(order.ahead(now))
    return total


def windows(books: Mapping[str, Book], start: int, end: int, now: int) -> list[OpenWindow]:
    bids: dict[tuple[int, int, str], list[LiveOrder]] = defaultdict(list)
    asks: dict[tuple[int, int, str], list[LiveOrder]] = defaultdict(list)
    for sku, book in books.items():
        for queue, found in ((book.bids, bids), (book.asks, asks)):
            for order in queue:
                first, last = order.window(now)
                if start <= first and last <= end and order.ahead(now):
                    found[first, last, sku].append(order)
    return [_open_window(key, bids[key], asks[key], now) for key in sorted({*bids, *asks})]


def _open_window(key: tuple[int, int, str], bids: list[LiveOrder], asks: list[LiveOrder], now: int) -> OpenWindow:
    start, end, sku = key
    best_bid, best_ask = (
        next(_levels(((order, order.ahead(now)) for order in orders), sku), None) for orders in (bids, asks)
    )
    return OpenWindow(
        sku=sku,
        start=start,
        end=end,
        bid_count=len(bids),
        ask_count=len(asks),
        best_bid=best_bid,
        best_ask=best_ask,
    )


def _in_window(queue: Queue, start: int, end: int, rules: Rules, now: int) -> Iterator[tuple[LiveOrder, Schedule]]:
    """The orders that count for this window, and what each has left in it."""
    for order in queue:
        first, last = order.window(now)
        fits = (first, last) == (start, end) if rules.depth == "exact" else first <= start and end <= last
        if fits and (ahead := order.ahead(now).clip(start, end)):
            yield order, ahead


def _levels(orders: Iterator[tuple[LiveOrder, Schedule]], sku: str) -> Iterator[PriceLevel]:
    for price, level in groupby(orders, key=lambda found: found[0].asked.limit):
        total = EMPTY
        for _, ahead in level:
            total = total.plus(ahead)
        yield PriceLevel(sku=sku, price=price, schedule=total)
