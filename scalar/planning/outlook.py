"""What a plan that looks ahead is told of the hours to come: frozen values, plain numbers, so that they can be kept.

Hours are counted from the plan's own moment: hour 0 is the one that begins then. Prices are dollars per node-hour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from scalar.planning.highs import Floats

Row = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Authority:
    """How far measured skill lets a plan go. 1, 1 and a week: all the way. See the forecasts' skill."""

    limit_price: Decimal = Decimal(1)
    """Of what a node-hour is expected to be worth, so much is paid at most for one that is bought ahead."""
    order_size: Decimal = Decimal(1)
    """Factor on the nodes that are bought ahead; what the queue needs now is not ahead."""
    horizon_hours: int = 168
    """Nothing is bought ahead for longer."""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What one kind of machine may be wanted for: in GPUs, by hour.

    `fast[t]`: equally likely values, ascending: jobs that want to run in that hour. `flex[t]`: flex work that comes in
    that hour, in GPU-hours, and may wait for `slack` more; `flex_due[t]`: what of it must be done in that hour at the
    latest, where that is sooner; `flex_price`: what a GPU-hour of it pays at most; None: anything.
    `hourly[t]`: what one hour is likely to cost then; `prices[t]`: equally likely values of it, ascending; empty: it is
    known. `value`: what a node-hour of fast work brings; None: whatever it costs.
    """

    fast: tuple[Row, ...]
    hourly: Row
    flex: Row = ()
    flex_due: Row = ()
    slack: int = 24
    flex_price: float | None = None
    prices: tuple[Row, ...] = ()
    value: float | None = None
    authority: Authority = field(default_factory=Authority)

    @property
    def hours(self) -> int:
        return min(len(self.fast), len(self.hourly))


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """By the market's id of a kind of machine. A GPU type that several kinds have stands at the cheapest of them."""

    kinds: Mapping[str, Ahead] = field(default_factory=dict)
    service_level: float = 0.8
    """Of Fast demand, while a machine could not be there in time otherwise."""
    lead_hours: int = 1
    """Until a machine that is bought now can work."""
    budget: float | None = None
    """Dollars that may be spent on what is ordered now: what the caps leave; None: any."""
    notes: tuple[str, ...] = ()


def levels(paths: Floats, count: int | None = None) -> tuple[Row, ...]:
    """Scenarios (n, hours) as equally likely values of each hour, ascending; `count`: reduced to so many.

    Of each hour alone: what one hour has to do with the next doesn't matter to what covers them singly. Reduced values
    are the means of groups of neighbours, so that each hour's mean stays as it was.
    """
    ascending = np.sort(paths, axis=0)
    if count is not None and count < len(ascending):
        ascending = np.array([group.mean(axis=0) for group in np.array_split(ascending, count)])
    return tuple(tuple(float(value) for value in column) for column in ascending.T)


def funded(paths: Floats, gpu_hours: float) -> Floats:
    """Scenarios of what can also be paid for: each ends where its sum reaches what wallets and commitments cover."""
    before = np.cumsum(paths, axis=1) - paths
    return np.asarray(np.clip(gpu_hours - before, 0.0, paths))


def at_once(rows: Sequence[Row]) -> Floats:
    """(hours, values), all rows of one length."""
    return np.array(rows, dtype=np.float64)
