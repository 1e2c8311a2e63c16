"""The resting orders of one SKU, best first: by price, then (if the rules say so) by size, then by age."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from sandbox.market.orders import LiveOrder
from sandbox.market.values import Side

# The order's seq is unique, so the order itself is never compared.
Entry = tuple[int, int, int, LiveOrder]


class Queue:
    """One side. A sorted list: finding a place is a binary search, making room a move of a few bytes."""

    def __init__(self, side: Side, *, by_size: bool = False) -> None:
        self._sign = -1 if side is Side.BUY else 1  # the best bid is the highest, the best ask the lowest
        self._by_size = by_size
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[LiveOrder]:
        for entry in self._entries:
            yield entry[3]

    def add(self, order: LiveOrder) -> None:
        insort(self._entries, (*self._rank(order), order))

    def remove(self, order: LiveOrder) -> None:
        del self._entries[bisect_left(self._entries, self._rank(order))]

    def _rank(self, order: LiveOrder) -> tuple[int, int, int]:
        size = -order.whole.node_minutes if self._by_size else 0
        return self._sign * order.asked.limit, size, order.seq


class Book:
    def __init__(self, *, by_size: bool = False) -> None:
        self.bids = Queue(Side.BUY, by_size=by_size)
        self.asks = Queue(Side.SELL, by_size=by_size)

    def side(self, side: Side) -> Queue:
        return self.bids if side is Side.BUY else self.asks

    def against(self, side: Side) -> Queue:
        """Whom an order of `side` can trade with."""
        return self.asks if side is Side.BUY else self.bids
