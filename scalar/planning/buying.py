"""When is a block worth its price? An online rule, per level of demand: pure.

A unit of stock at level `l` works in every hour in which demand is at least `l`. A block of H hours at price c, where
the hour costs p, is worth it if it works in more than H·c/p of them. So, of the demand that is to come, the level that
is exceeded in c/p of the hours is the most that pays: its (1 - c/p) quantile, the newsvendor's level. Nothing is bought
above what is wanted just now, since a block may begin at any hour: one that would stand idle first can wait.

    target[t] = min(demand[t], quantile(1 - caution · c/p) of what is to come)

Forecasts are never all right, and how much to wait for more news (`caution`) depends on how much news there is. So a
**portfolio** of rules (every view of the series with every caution) runs through the same history, each with a stock
of its own, and the rule follows the mean of their stocks, weighted by what each would have cost of late:

    weight ∝ exp(-SHARPNESS · relative cost),   relative cost = Σ 2^(-age/half-life) cost / Σ 2^(-age/half-life) demand

Cost is convex in the stock, so that the mean of the stocks costs no more than the mean of their costs. One of the
rules knows no forecast: **break-even**, which buys for a level once the hours that it paid for singly at that level
within the last H come to the price of a block. By itself it pays about twice what the best could have paid, at worst
(a block's price for nothing, after as much paid by the hour). It gains weight where forecasts mislead. That the
portfolio stays below twice is measured on steps, and not proven: no adversary that watches it was tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scalar.planning.experts import USUAL, WEEK, View
from scalar.planning.highs import Floats
from scalar.planning.oracle import Terms, accrued

SHARPNESS = 100.0
"""A rule that costs 1% of the demand's worth more than another has 1/e of its weight."""
_LEVELS = 48
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class BuyingRule:
    terms: Terms
    views: Mapping[str, View] = field(default_factory=lambda: USUAL)
    cautions: Sequence[float] = (0.9, 1.0, 1.15, 1.3)
    past: int = 6 * WEEK
    """Hours through which the portfolio runs before it is first asked."""

    @property
    def half_life(self) -> float:
        return 3.0 * max(WEEK, self.terms.hours)


class Buyer:
    """The portfolio on its way through a series, hour by hour."""

    def __init__(self, rule: BuyingRule, series: Floats, at: int) -> None:
        """`series` may be longer than what is known: nothing beyond the hour that is asked about is looked at."""
        self._rule, self._series = rule, series
        self._quantiles = np.clip(1 - np.asarray(rule.cautions) / rule.terms.hourly * rule.terms.block, 0.0, 1.0)
        self._first = self._next = max(0, at - rule.past)
        self._rules = len(rule.views) * len(rule.cautions) + 1
        self._stocks = np.zeros((self._rules, len(series) - self._first + rule.terms.hours))
        self._costs = np.zeros(self._rules)
        self._demand = 0.0

    def target(self, at: int) -> float:
        """How much to own from this hour on, of what is wanted in it."""
        while self._next <= at:
            self._live(self._next)
            self._next += 1
        return float(min(self._weights() @ self._stocks[:, at - self._first], self._series[at]))

    def weights(self) -> dict[str, float]:
        """By view (and caution); the last is break-even."""
        names = [f"{view} x {caution:g}" for view in self._rule.views for caution in self._rule.cautions]
        return dict(zip([*names, "break-even"], self._weights().tolist(), strict=True))

    def _weights(self) -> Floats:
        relative = self._before / max(self._demand_before, _TINY)
        weights = np.exp(-SHARPNESS * (relative - relative.min()))
        return np.asarray(weights / weights.sum())

    def _live(self, at: int) -> None:
        """Every rule buys for this hour, and pays for it; what it pays counts from the next one on."""
        own, demand = at - self._first, float(self._series[at])
        self._before, self._demand_before = self._costs.copy(), self._demand
        wanted = np.append(np.minimum(self._levels(at), demand), self._break_even(at))
        more = np.maximum(wanted - self._stocks[:, own], 0.0)
        self._stocks[:, own : own + self._rule.terms.hours] += more[:, None]
        fading = 0.5 ** (1 / self._rule.half_life)
        paid = accrued(self._stocks[:, own], np.full(self._rules, demand), self._rule.terms)
        self._costs = fading * self._costs + paid
        self._demand = fading * self._demand + self._rule.terms.block * demand

    def _levels(self, at: int) -> Floats:
        found = []
        for view in self._rule.views.values():
            values = view(self._series, at, self._rule.terms.hours)
            blind = np.zeros(len(self._quantiles))
            found.append(blind if values is None or not values.size else np.quantile(values, self._quantiles))
        return np.concatenate(found) if found else np.zeros(0)

    def _break_even(self, at: int) -> float:
        """The highest level at which single hours have cost as much as a block."""
        own, terms = at - self._first, self._rule.terms
        start = max(0, own + 1 - terms.hours)
        stock, demand = self._stocks[-1, start : own + 1], self._series[self._first + start : at + 1]
        if demand[-1] <= stock[-1]:
            return 0.0
        edges = np.linspace(stock[-1], demand[-1], _LEVELS + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        paid = ((stock[:, None] < middle) & (middle <= demand[:, None])).sum(axis=0)
        enough = paid >= terms.break_even
        return float(edges[_LEVELS if enough.all() else int(np.argmin(enough))])


def follow(rule: BuyingRule, series: Floats, start: int, end: int) -> Floats:
    """The stock in each hour of [start, end), for who begins with none: the rule, lived through."""
    buyer, hours = Buyer(rule, series, start), rule.terms.hours
    stock = np.zeros(end - start + hours)
    for at in range(start, end):
        now = at - start
        more = buyer.target(at) - stock[now]
        if more > _TINY:
            stock[now : now + hours] += more
    return stock[: end - start]
