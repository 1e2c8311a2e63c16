"""The plan of one kind of machine as a linear programme: which blocks to begin, extend and sell, by the hour.

    minimise   Σ_j price_j x_j  -  Σ_g bid_g y_g  +  Σ_t Σ_k P(more than k nodes at t) · recourse_t · e_tk
                                                  +  Σ_t flex_t (what flex pays at most, if it is not done)
    where      owned_t + Σ_{j covers t} x_j - Σ_{g covers t} y_g + Σ_k e_tk - f_t ≥ most_t          each hour t
               0 ≤ e_tk ≤ 1,   0 ≤ y_g ≤ idle_g,   x_j ≥ 0
               Σ_{s ≤ t} f_s between what flex is due and what has come by then
               Σ_{j ordered now} bill_j x_j ≤ budget,    Σ_{j ordered now} x_j ≤ nodes that may be added

Demand is uncertain, and recourse is simple: what the blocks don't cover in an hour is bought for that hour, or not
served. So only each hour's own distribution matters, and the expected recourse is a sum over levels: node number k of
hour t is wanted with the chance P(demand_t ≥ k), and pays chance · price if no block covers it. That is the newsvendor
level by level, exact for any number of scenarios, with a matrix that doesn't grow with them.

Every block covers consecutive hours, and levels are whole nodes: the matrix is an interval matrix, totally unimodular,
so that the relaxation's corners are whole. Flex work, the budget and the limits break that a little: `rounded` goes
down to whole nodes (within every limit), and then adds one where what is lost by it is more than the node costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalar.planning.highs import Floats, Programme, minimise

_TINY = 1e-6
_MOST_LEVELS = 400
"""Of nodes, in one hour; beyond it, levels are of several nodes each."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A block that could be bought: hours [start, end) from now, and what a node of it costs for all of them.

    `bill`: what is spent on it if it is ordered now, beyond the hours that are looked at, too; 0: it would be ordered
    later. `adds`: whether it is a node more than there is now.
    """

    start: int
    end: int
    cost: float
    most: float = float("inf")
    bill: float = 0.0
    adds: bool = True


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Idle nodes of which the rest could be sold: hours [0, end), and what a node brings."""

    end: int
    nodes: int
    brings: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """All in nodes. `fast[t, n]`: equally likely values of hour t, ascending. `recourse[t]`: dollars for one node that
    is wanted and not covered. `flex_come`, `flex_due`: cumulated node-hours.
    """

    owned: Floats
    fast: Floats
    recourse: Floats
    offers: Sequence[Offer]
    tails: Sequence[Tail] = ()
    flex_come: Floats | None = None
    flex_due: Floats | None = None
    flex_pays: float = 0.0
    budget: float = float("inf")
    room: float = float("inf")
    """Nodes that may be added now."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """`buy[j]`, `sell[g]`: whole nodes. `expected`: dollars over all the hours; `without`: if nothing is done."""

    buy: tuple[int, ...]
    sell: tuple[int, ...]
    expected: float
    without: float
    stock: Floats


def answer(question: Question, *, seconds: float = 10.0) -> Answer:
    """Raises: `SolverFailed`."""
    solved = minimise(_programme(question), seconds=seconds).values
    offers, tails = len(question.offers), len(question.tails)
    buy, sell = rounded(question, solved[:offers], solved[offers : offers + tails])
    stock = stock_of(question, buy, sell)
    return Answer(
        buy=buy,
        sell=sell,
        expected=cost_of(question, buy, sell),
        without=recourse_of(question, question.owned),
        stock=stock,
    )


def stock_of(question: Question, buy: Sequence[float], sell: Sequence[float]) -> Floats:
    stock = question.owned.copy()
    for offer, nodes in zip(question.offers, buy, strict=True):
        stock[offer.start : offer.end] += nodes
    for tail, nodes in zip(question.tails, sell, strict=True):
        stock[: tail.end] -= nodes
    return stock


def cost_of(question: Question, buy: Sequence[float], sell: Sequence[float]) -> float:
    """Expected dollars: what is bought, less what is sold, and the recourse. Flex is left out."""
    paid = sum(offer.cost * nodes for offer, nodes in zip(question.offers, buy, strict=True))
    got = sum(tail.brings * nodes for tail, nodes in zip(question.tails, sell, strict=True))
    return paid - got + recourse_of(question, stock_of(question, buy, sell))


def recourse_of(question: Question, stock: Floats) -> float:
    short = np.maximum(question.fast - stock[:, None], 0.0).mean(axis=1)
    return float(short @ question.recourse)


def rounded(question: Question, buy: Floats, sell: Floats) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Whole nodes: down, and then one more of a block where it pays and no limit is in its way."""
    whole = np.floor(buy + _TINY)
    sold = np.floor(sell + _TINY)
    stock = stock_of(question, whole.tolist(), sold.tolist())
    lost = np.argsort(-(buy - whole), kind="stable")
    for j in lost[: int((buy - whole > _TINY).sum())]:
        offer = question.offers[j]
        hours = slice(offer.start, offer.end)
        # A node of this block saves the recourse of who is not covered, and does the flex work it was meant for.
        chance = (question.fast[hours] > stock[hours, None]).mean(axis=1)
        saves = float(chance @ question.recourse[hours])
        flex = question.flex_come is not None and buy[j] - whole[j] >= 0.5
        if (saves > offer.cost + _TINY or flex) and _may_add(question, whole, j):
            whole[j] += 1
            stock[hours] += 1
    return tuple(int(each) for each in whole), tuple(int(each) for each in sold)


def _may_add(question: Question, whole: Floats, j: int) -> bool:
    offer = question.offers[j]
    if whole[j] + 1 > offer.most + _TINY:
        return False
    counted = list(zip(question.offers, whole.tolist(), strict=True))
    spent = sum(each.bill * count for each, count in counted)
    added = sum(count for each, count in counted if each.adds)
    return bool(spent + offer.bill <= question.budget + _TINY and added + offer.adds <= question.room + _TINY)


def _programme(question: Question) -> Programme:
    parts = _Parts(len(question.owned))
    for offer in question.offers:
        parts.column(offer.cost, offer.most, range(offer.start, offer.end), 1.0)
    for tail in question.tails:
        parts.column(-tail.brings, tail.nodes, range(tail.end), -1.0)
    most = _levels(question, parts)
    row_lower, row_upper = [most - question.owned], [np.full(len(most), np.inf)]
    if question.flex_come is not None and question.flex_due is not None:
        lower, upper = _flex(question, parts)
        row_lower.append(lower)
        row_upper.append(upper)
    for limit, weights in (
        (question.budget, [offer.bill for offer in question.offers]),
        (question.room, [float(offer.adds) for offer in question.offers]),
    ):
        if np.isfinite(limit) and any(weights):
            parts.row([j for j, weight in enumerate(weights) if weight], [weight for weight in weights if weight])
            row_lower.append(np.array([-np.inf]))
            row_upper.append(np.array([limit]))
    return parts.programme(np.concatenate(row_lower), np.concatenate(row_upper))


def _levels(question: Question, parts: "_Parts") -> Floats:
    """Columns e: each stretch of levels of an hour that is wanted with one chance. The most that is wanted, by hour."""
    hours, count = question.fast.shape
    tops = np.ceil(question.fast - _TINY)
    width = max(1.0, np.ceil(tops.max(initial=0.0) / _MOST_LEVELS))
    tops = np.ceil(tops / width) * width
    for t in range(hours):
        values, first = np.unique(tops[t], return_index=True)
        below = np.concatenate([[0.0], values[:-1]])
        for value, low, at in zip(values, below, first, strict=True):
            if value > low:
                parts.column((count - at) / count * question.recourse[t], value - low, (t,), 1.0)
    return np.asarray(tops[:, -1])


def _flex(question: Question, parts: "_Parts") -> tuple[Floats, Floats]:
    """Columns f (done in an hour), c (done by then) and one for what is given up; rows c[t] = c[t-1] + f[t]."""
    come, due = np.asarray(question.flex_come), np.asarray(question.flex_due)
    hours = len(come)
    begin = parts.rows_so_far(hours)
    for t in range(hours):
        parts.entries(0.0, 0.0, np.inf, [(t, -1.0), (begin + t, -1.0)])
    for t in range(hours):
        following = [(begin + t + 1, -1.0)] if t + 1 < hours else []
        parts.entries(0.0, due[t], come[t], [(begin + t, 1.0), *following])
    for t in range(hours):
        parts.entries(question.flex_pays, 0.0, np.inf, [(begin + t, -1.0)])
    return np.zeros(hours), np.zeros(hours)


class _Parts:
    """A programme, put together column by column."""

    def __init__(self, rows: int) -> None:
        self._rows_count = rows
        self._costs: list[float] = []
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._values: list[float] = []

    def column(self, cost: float, most: float, rows: Sequence[int], value: float) -> None:
        self.entries(cost, 0.0, most, [(row, value) for row in rows])

    def entries(self, cost: float, least: float, most: float, entries: Sequence[tuple[int, float]]) -> None:
        column = len(self._costs)
        self._costs.append(cost)
        self._lower.append(least)
        self._upper.append(most)
        for row, value in entries:
            self._rows.append(row)
            self._columns.append(column)
            self._values.append(value)

    def rows_so_far(self, more: int) -> int:
        begin = self._rows_count
        self._rows_count += more
        return begin

    def row(self, columns: Sequence[int], values: Sequence[float]) -> None:
        row = self.rows_so_far(1)
        self._rows += [row] * len(columns)
        self._columns += columns
        self._values += values

    def programme(self, row_lower: Floats, row_upper: Floats) -> Programme:
        return Programme(
            costs=np.array(self._costs),
            lower=np.array(self._lower),
            upper=np.array(self._upper),
            row_lower=row_lower,
            row_upper=row_upper,
            rows=np.array(self._rows, dtype=np.int64),
            columns=np.array(self._columns, dtype=np.int64),
            values=np.array(self._values),
        )
