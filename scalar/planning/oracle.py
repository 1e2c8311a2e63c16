"""The least that demand could have cost, had all of it been known: what every policy is measured against. Pure.

Blocks of `hours` may begin at any hour and cost `block` per unit and hour; what they don't cover is bought by the hour
at `hourly`. Of a block that outlasts the series, only the hours within it are paid for: so does `accrued` for a policy.

    s[t] = s[t-1] + x[t] - x[t-H]      the stock, from what was bought
    s[t] + h[t] ≥ fast[t] + f[t]       demand, and the flex work that is done in that hour
    arrived by t ≥ Σ f ≥ due by t      flex work is done after it has come, and before its slack is over

The matrix has three entries a column and more structure than that: every block covers consecutive hours (an interval
matrix), so that whole-numbered demand has a whole-numbered optimum, and the programme is a min-cost flow over time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalar.planning.highs import Floats, Programme, minimise


@dataclass(frozen=True, kw_only=True)
class Terms:
    """`block` and `hourly` are prices of one unit for one hour."""

    hours: int
    block: float = 1.0
    hourly: float = 2.1

    @property
    def break_even(self) -> float:
        """Hours of use from which on a block is cheaper."""
        return self.hours * self.block / self.hourly

    @property
    def quantile(self) -> float:
        """Of the demand that is to come: the newsvendor's level."""
        return 1 - self.block / self.hourly


def accrued(stock: Floats, demand: Floats, terms: Terms) -> Floats:
    """What each hour cost: its part of the blocks, and what was bought by the hour."""
    return np.asarray(terms.block * stock + terms.hourly * np.maximum(demand - stock, 0.0))


def perfect_cost(fast: Floats, terms: Terms, *, flex: Floats | None = None, slack: int = 0) -> float:
    """Of Fast demand in each hour; with `flex`, of work that comes in an hour and may wait for `slack` more.

    Raises: `SolverFailed`.
    """
    hours = len(fast)
    if hours == 0:
        return 0.0
    programme = _blocks_and_hours(fast, terms)
    if flex is not None:
        programme = _with_flex(programme, hours, flex, slack)
    return minimise(programme, seconds=600, inner=flex is not None).cost


def _blocks_and_hours(fast: Floats, terms: Terms) -> Programme:
    """Columns: x (blocks bought), s (stock), h (bought by the hour), each by hour."""
    n = len(fast)
    t = np.arange(n)
    late = t[terms.hours :]
    rows = np.concatenate([t, t, t[1:], late, n + t, n + t])
    columns = np.concatenate([n + t, t, n + t[:-1], late - terms.hours, n + t, 2 * n + t])
    one = np.ones(n)
    values = np.concatenate([one, -one, -one[1:], one[: len(late)], one, one])
    paid = terms.block * np.minimum(terms.hours, n - t)
    return Programme(
        costs=np.concatenate([paid, np.zeros(n), np.full(n, terms.hourly)]),
        lower=np.zeros(3 * n),
        upper=np.full(3 * n, np.inf),
        row_lower=np.concatenate([np.zeros(n), fast]),
        row_upper=np.concatenate([np.zeros(n), np.full(n, np.inf)]),
        rows=rows,
        columns=columns,
        values=values,
    )


def _with_flex(base: Programme, n: int, flex: Floats, slack: int) -> Programme:
    """Two more columns an hour: f (done then) and c (done by then), with c[t] = c[t-1] + f[t] between its bounds."""
    t = np.arange(n)
    come = np.cumsum(flex)
    due = np.concatenate([np.zeros(min(slack, n)), come[: max(n - slack, 0)]])
    due[-1] = come[-1]
    one = np.ones(n)
    return Programme(
        costs=np.concatenate([base.costs, np.zeros(2 * n)]),
        lower=np.concatenate([base.lower, np.zeros(n), due]),
        upper=np.concatenate([base.upper, np.full(n, np.inf), come]),
        row_lower=np.concatenate([base.row_lower, np.zeros(n)]),
        row_upper=np.concatenate([base.row_upper, np.zeros(n)]),
        rows=np.concatenate([base.rows, n + t, 2 * n + t, 2 * n + t, 2 * n + t[1:]]),
        columns=np.concatenate([base.columns, 3 * n + t, 4 * n + t, 3 * n + t, 4 * n + t[:-1]]),
        values=np.concatenate([base.values, -one, one, -one, -one[1:]]),
    )


def perfect_mix(demand: Floats, hourly: Floats, ratios: Mapping[int, float]) -> float:
    """The least for demand in each hour, with blocks of several lengths and a price that moves.

    A block of H hours that begins at t costs `ratios[H] · hourly[t]` per hour. Raises: `SolverFailed`.
    """
    n = len(demand)
    t = np.arange(n)
    rows, columns, values = [t], [t], [np.ones(n)]
    costs = [hourly]
    for number, (hours, ratio) in enumerate(sorted(ratios.items())):
        begun, stock, row = (1 + 2 * number) * n, (2 + 2 * number) * n, (1 + number) * n
        late = t[hours:]
        rows += [t, row + t, row + t, row + t[1:], row + late]
        columns += [stock + t, stock + t, begun + t, stock + t[:-1], begun + late - hours]
        values += [np.ones(n), np.ones(n), -np.ones(n), -np.ones(max(n - 1, 0)), np.ones(len(late))]
        costs += [ratio * hourly * np.minimum(hours, n - t), np.zeros(n)]
    balances = np.zeros(n * len(ratios))
    every = np.concatenate(costs)
    programme = Programme(
        costs=every,
        lower=np.zeros(len(every)),
        upper=np.full(len(every), np.inf),
        row_lower=np.concatenate([demand, balances]),
        row_upper=np.concatenate([np.full(n, np.inf), balances]),
        rows=np.concatenate(rows),
        columns=np.concatenate(columns),
        values=np.concatenate(values),
    )
    return minimise(programme, seconds=600, inner=True).cost if n else 0.0
