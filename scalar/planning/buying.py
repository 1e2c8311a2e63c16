"""When is a block worth its price? An online rule, per level of demand: pure.

A unit of stock at level `l` works in every hour in which demand is at least `l`. A block of H hours at price c, where
the hour costs p, is worth it if it works in more than H·c/p of them. So, of the demand that is to come, the level that
is exceeded in c/p of the hours is the most that pays: its (1 - c/p) quantile, the newsvendor's level. Nothing is bought
above what is wanted just now, since a block may begin at any hour: one that would stand idle first can wait.

    target[t] = min(demand[t], quantile(1 - caution · c/p) of what is to come)

A quantile doesn't say when: blocks that were bought before end at hours of their own, and one that is bought for a peak
takes the place of one that ends after it. `rolling` looks at that, hour by hour, a few blocks ahead.

Forecasts are never all right. So a **portfolio** of rules (quantiles of several views, rolling plans by several views)
runs through the same history, each with a stock of its own, and the rule follows the mean of their stocks, weighted by
what each would have cost of late:

    weight ∝ exp(-SHARPNESS · relative cost),   relative cost = Σ 2^(-age/half-life) cost / Σ 2^(-age/half-life) demand

Cost is convex in the stock, so that the mean of the stocks costs no more than the mean of their costs. When the rule is
first asked, all of them go on from what is truly owned. One of them knows no forecast: **break-even**, which buys for a
level once the hours that it paid for singly at that level within the last H come to the price of a block. By itself it
pays about twice what the best could have paid, at worst (a block's price for nothing, after as much paid by the hour).
It gains weight where forecasts mislead. That the portfolio stays below twice is measured on steps, and not proven: no
adversary that watches it was tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scalar.planning.experts import USUAL, WEEK, View, by_the_hour
from scalar.planning.highs import Floats, SolverFailed
from scalar.planning.oracle import Terms, accrued
from scalar.planning.rolling import BLOCKS, planned, segments

SHARPNESS = 30.0
"""A rule that costs 3% of the demand's worth more than another has 1/e of its weight.

Hedge's own rate, √(8 ln rules · blocks remembered) by the range of a block's cost, is 7 for blocks of a week and 19 for
those of a day. Much more is too much: few blocks are remembered, and who was better of late was mostly lucky.
"""
_LEVELS = 48
_PLAN_EVERY = 6
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class BuyingRule:
    terms: Terms
    views: Mapping[str, View] = field(default_factory=lambda: USUAL)
    """Of which quantiles are taken."""
    rolling: Mapping[str, View] | None = None
    """By which it is planned hour by hour: they give scenarios (n, hours). None: the usual ones."""
    cautions: Sequence[float] = (1.0,)
    past: int = 6 * WEEK
    """Hours through which the portfolio runs before it is first asked."""

    @property
    def plans_by(self) -> Mapping[str, View]:
        return by_the_hour(self.terms.hours) if self.rolling is None else self.rolling

    @property
    def half_life(self) -> float:
        return 3.0 * max(WEEK, self.terms.hours)

    @property
    def plan_every(self) -> int:
        """Hours, of the past. Once it is asked, each hour is planned anew."""
        return min(_PLAN_EVERY, max(1, self.terms.hours // 4))

    @property
    def names(self) -> list[str]:
        quantiles = [f"{view} x {caution:g}" for view in self.views for caution in self.cautions]
        return [*quantiles, *(f"{view}, rolling" for view in self.plans_by), "break-even"]


class Buyer:
    """The portfolio on its way through a series, hour by hour."""

    def __init__(self, rule: BuyingRule, series: Floats, at: int, owned: Floats | None = None) -> None:
        """`series` may be longer than what is known: nothing beyond the hour that is asked about is looked at.

        `at`: the hour that is asked about first. `owned` (hours,): from then on, of blocks bought before; none if None.
        """
        self._rule, self._series = rule, series
        self._at, self._owned = at, np.zeros(0) if owned is None else owned[: rule.terms.hours]
        self._quantiles = np.clip(1 - np.asarray(rule.cautions) / rule.terms.hourly * rule.terms.block, 0.0, 1.0)
        self._first = self._next = max(0, at - rule.past)
        self._rules = len(rule.names)
        self._stocks = np.zeros((self._rules, len(series) - self._first + BLOCKS * rule.terms.hours))
        self._plans, self._planned = np.zeros((len(rule.plans_by), BLOCKS * rule.terms.hours)), -1
        self._costs = np.zeros(self._rules)
        self._demand = 0.0

    def target(self, at: int) -> float:
        """How much to own from this hour on, of what is wanted in it."""
        while self._next <= at:
            self._live(self._next)
            self._next += 1
        return float(min(self._weights() @ self._stocks[:, at - self._first], self._series[at]))

    def weights(self) -> dict[str, float]:
        """By the rule's `names`."""
        return dict(zip(self._rule.names, self._weights().tolist(), strict=True))

    def _weights(self) -> Floats:
        relative = self._before / max(self._demand_before, _TINY)
        weights = np.exp(-SHARPNESS * (relative - relative.min()))
        return np.asarray(weights / weights.sum())

    def _live(self, at: int) -> None:
        """Every rule buys for this hour, and pays for it; what it pays counts from the next one on."""
        own, demand = at - self._first, float(self._series[at])
        self._before, self._demand_before = self._costs.copy(), self._demand
        if at == self._at:
            self._stocks[:, own:] = 0.0
            self._stocks[:, own : own + len(self._owned)] = self._owned
        levels = np.append(self._levels(at), self._by_plan(at))
        wanted = np.append(np.minimum(levels, demand), self._break_even(at))
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

    def _by_plan(self, at: int) -> Floats:
        every = self._rule.plan_every if at < self._at else 1
        if self._planned < 0 or at - self._planned >= every:
            first = self._rules - 1 - len(self._rule.plans_by)
            for number, view in enumerate(self._rule.plans_by.values()):
                self._plans[number] = self._plan(at, view, self._stocks[first + number])
            self._planned = at
        return np.asarray(self._plans[:, at - self._planned])

    def _plan(self, at: int, view: View, stock: Floats) -> Floats:
        """Nothing is planned where nothing can be said, or where the solver fails: the other rules go on."""
        terms, own = self._rule.terms, at - self._first
        hours = BLOCKS * terms.hours
        paths = view(self._series, at, max(WEEK, terms.hours))
        if paths is None or not paths.size:
            return np.zeros(hours)
        values = segments(paths, hours)
        values[:, 0] = self._series[at]
        try:
            return planned(values, stock[own : own + hours], terms)
        except SolverFailed:
            return np.zeros(hours)

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
