"""What was quoted, looked up; and what a job will pay: pure. Dollars per node-hour."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from scalar.jobs.model import Tier
from scalar.market.model import Rectangle, Side, minute_of, on_tick
from scalar.planning.model import Kind, Policy, Question, Quote, Wish


class Quotes:
    """The market's answers, by window."""

    def __init__(self, quotes: Iterable[Quote]) -> None:
        self._found: dict[tuple[Side, str, datetime, datetime], list[tuple[int, Decimal]]] = {}
        for each in quotes:
            if each.price is not None:
                asked = each.question
                key = (asked.side, asked.sku, asked.window.start, asked.window.end)
                self._found.setdefault(key, []).append((asked.window.nodes, each.price))

    def price(self, side: Side, sku: str, window: Rectangle) -> Decimal | None:
        """For so many nodes, or for the next larger number that was asked about; None: not to be had."""
        offered = self._found.get((side, sku, window.start, window.end), [])
        return min(((nodes, price) for nodes, price in offered if nodes >= window.nodes), default=(0, None))[1]


def soon(now: datetime, policy: Policy) -> datetime:
    """When what is ordered now may begin."""
    return minute_of(now + policy.to_send, up=True)


def ladder(side: Side, sku: str, window: Rectangle) -> list[Question]:
    """For 1, 2, 4 … nodes, and for all: more nodes cost more."""
    counts = sorted({window.nodes, *(1 << power for power in range(window.nodes.bit_length()))})
    return [
        Question(side=side, sku=sku, window=Rectangle(start=window.start, end=window.end, nodes=count))
        for count in counts
        if count <= window.nodes
    ]


def acceptable(wish: Wish, kind: Kind, policy: Policy) -> Decimal | None:
    """The most that may be paid for it; None: whatever the platform's own limits allow.

    A flex job without a limit waits for what is no dearer than usual, while its deadline lets it.
    """
    if wish.price_limit is not None:
        return wish.price_limit * kind.gpus
    if wish.tier is Tier.FLEX and not wish.pressing and kind.usual_price is not None:
        return kind.usual_price * policy.flex_price_ratio
    return None


def below(price: Decimal, most: Decimal | None) -> bool:
    return most is None or price <= most


def bid(quoted: Decimal, most: Decimal | None, policy: Policy) -> Decimal:
    """A little above the quote, so that it still fills when the book has moved; never above what may be paid."""
    raised = quoted * policy.bid_up
    return on_tick(raised if most is None else min(raised, most))
