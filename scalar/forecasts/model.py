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
class Series:
    """`values`: one for each hour from `start` on; nan where it isn't known."""

    start: datetime
    values: Floats

    @property
    def end(self) -> datetime:
        """The first hour after it."""
        return self.start + len(self.values) * HOUR

    def until(self, hour: datetime) -> "Series":
        """What was known when `hour` began."""
        known = max(0, min(len(self.values), (hour - self.start) // HOUR))
        return Series(start=self.start, values=self.values[:known])

    def last(self, hours: int) -> "Series":
        left_out = max(0, len(self.values) - hours)
        return Series(start=self.start + left_out * HOUR, values=self.values[left_out:])


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
