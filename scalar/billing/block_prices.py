"""What each second of a block's nodes cost: what was paid for it, less resale. Pure, and exact.

A block is bought at one price, so that each of its node-seconds costs the same at first. A sale takes node-seconds away
and brings money: what it brings comes off the cost of those that are left from that moment on. A second that has
passed keeps its price. Where nothing is left to bear a loss, or what is left would cost less than nothing, the company
keeps the difference.

    paid = what the seconds cost + what sales brought, less their fees + what they left to the company
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property

from scalar.metering.model import Window

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Sale:
    """What one fill of a sale took of one block."""

    order_id: str
    fill: int
    at: datetime
    """When it was sold."""
    net: int
    """Micro-dollars that it brought, less the market's fee."""
    parts: tuple[Window, ...]
    """One node each, for a while."""

    def since(self, start: datetime) -> datetime:
        """From when on it counts: a sale of what had begun already, from its own start."""
        return max(start, min([self.at, *(part.start for part in self.parts)]))


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of a sale in the block's books, in micro-dollars."""

    sale: Sale
    cost: int
    """What of the block's price went with it: what it brought, unless nothing is left to bear the difference."""

    @property
    def result(self) -> int:
        """A loss that is left to the company; negative: a gain beyond what all the rest would have cost."""
        return self.cost - self.sale.net


@dataclass(frozen=True, kw_only=True)
class Step:
    """A time in which each node-second of a block costs the same."""

    start: datetime
    end: datetime
    rate: Fraction
    """Micro-dollars for a node and microsecond."""


@dataclass(frozen=True, kw_only=True)
class Bought:
    """A block: `nodes` machines of `gpus` GPUs each in a window, what was paid for it, and what was sold of it."""

    id: str
    gpu_type: str
    gpus: int
    nodes: int
    window: Window
    paid: int
    """Micro-dollars."""
    sales: tuple[Sale, ...] = ()

    @property
    def settled(self) -> tuple[Settled, ...]:
        """Its sales, in the order in which they count."""
        return self._life[1]

    @property
    def steps(self) -> tuple[Step, ...]:
        return self._life[0]

    def kept(self, start: datetime, end: datetime) -> int:
        """Node-microseconds of [start, end) that are ours."""
        return self._left(Window(start=start, end=end), self.sales)

    def cost_until(self, moment: datetime) -> int:
        """Micro-dollars of all that was ours before then: rounded on the sum, so that hours add up to the whole."""
        carried = Fraction(0)
        for step in self.steps:
            if step.start < moment:
                carried += step.rate * self.kept(step.start, min(step.end, moment))
        return round(carried)

    @cached_property
    def _life(self) -> tuple[tuple[Step, ...], tuple[Settled, ...]]:
        since, end, total, carried = self.window.start, self.window.end, self.paid, Fraction(0)
        before: list[Sale] = []
        steps: list[Step] = []
        settled: list[Settled] = []
        rate = Fraction(self.paid, self._left(self.window, ()))
        for at, sale in sorted(((each.since(since), each) for each in self.sales), key=_turn):
            carried += rate * self._left(Window(start=since, end=at), before)
            steps.append(Step(start=since, end=at, rate=rate))
            before.append(sale)
            left, target = self._left(Window(start=at, end=end), before), total - sale.net
            if left and target >= carried:
                rate = (target - carried) / left
            else:
                target, rate = round(carried), Fraction(0)
            settled.append(Settled(sale=sale, cost=total - target))
            total, since = target, at
        steps.append(Step(start=since, end=end, rate=rate))
        return tuple(each for each in steps if each.start < each.end), tuple(settled)

    def _left(self, window: Window, sales: Sequence[Sale]) -> int:
        within = Window(start=max(window.start, self.window.start), end=min(window.end, self.window.end))
        return self.nodes * length(within) - sum(overlap(part, within) for sale in sales for part in sale.parts)


def length(window: Window) -> int:
    """Microseconds; none where it ends before it starts."""
    return max((window.end - window.start) // _MICROSECOND, 0)


def overlap(one: Window, other: Window) -> int:
    """Microseconds that lie in both."""
    return length(Window(start=max(one.start, other.start), end=min(one.end, other.end)))


def _turn(each: tuple[datetime, Sale]) -> tuple[datetime, str, int]:
    at, sale = each
    return at, sale.order_id, sale.fill
