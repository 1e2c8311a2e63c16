"""A series that is known by the hour, and a forecast of it: frozen values. Hours begin on the whole hour, UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MEDIAN = QUANTILES.index(0.5)
HORIZON = 168
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lifetimes:
    """The jobs that a series of demand is the sum of, a row each: hours from the series' start, and GPUs.

    `ends` is infinite while a job goes on. One that was there before the series has begun at a negative hour.
    """

    starts: Floats
    ends: Floats
    gpus: Floats

    def until(self, hour: float) -> "Lifetimes":
        """What was known then: nothing of later jobs, and not when those that ran would end."""
        known = self.starts < hour
        ends = self.ends[known]
        return Lifetimes(starts=self.starts[known], ends=np.where(ends > hour, np.inf, ends), gpus=self.gpus[known])

    def since(self, hour: float) -> "Lifetimes":
        """Counted from that hour on; all of them are left in."""
        return Lifetimes(starts=self.starts - hour, ends=self.ends - hour, gpus=self.gpus)


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """`values`: one for each hour from `start` on; nan where it isn't known."""

    start: datetime
    values: Floats
    lifetimes: Lifetimes | None = None
    """Of demand whose jobs are known."""

    @property
    def end(self) -> datetime:
        """The first hour after it."""
        return self.start + len(self.values) * HOUR

    def until(self, hour: datetime) -> "Series":
        """What was known when `hour` began."""
        known = max(0, min(len(self.values), (hour - self.start) // HOUR))
        lifetimes = self.lifetimes and self.lifetimes.until(known)
        return Series(start=self.start, values=self.values[:known], lifetimes=lifetimes)

    def last(self, hours: int) -> "Series":
        left_out = max(0, len(self.values) - hours)
        lifetimes = self.lifetimes and self.lifetimes.since(left_out)
        return Series(start=self.start + left_out * HOUR, values=self.values[left_out:], lifetimes=lifetimes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """`quantiles[h, q]`: of the hour `start + h`, at the level `QUANTILES[q]`; never falling with q."""

    start: datetime
    quantiles: Floats
    member: str
    """Who made it: "persistence", "mean of boosted, decomposed"."""
    notes: tuple[str, ...] = ()
    """What was odd about the series, for people."""
    errors: Floats | None = None
    """Truth less forecast, of late, by back-test: a row an origin, a column an hour ahead; nan: not known."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """What each member had to say in the first day."""
    naive: Floats | None = None
    """What the best naive copy of the back-test says: of the last hour, of yesterday, or of last week."""

    @property
    def median(self) -> Floats:
        middle: Floats = self.quantiles[:, MEDIAN]
        return middle
