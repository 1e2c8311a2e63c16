"""A series as members read it: without gaps, and with a calendar that goes on beyond its end.

Everything here is causal: what is said of an hour follows from earlier hours alone, so that a back-test sees what was
there to see. But for one thing: whose holidays a series keeps is decided once, from all of it.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalar.forecasts.calendar import country, holiday_hours, hour_of_week
from scalar.forecasts.model import HORIZON, Floats, Lifetimes, Series

WEEK = 168
CAP = 60 * WEEK
"""Hours that are looked back on: a year, so that last year's holidays are among them."""
_HOLDS = 6
"""Hours of a gap in which the last known value holds; after that it is as it was a week before."""
_RECENT = (0.4, 0.3, 0.2, 0.1)
"""Weights of the same hour one, two, three and four weeks ago."""
_FORGETS = 0.9
"""So much less does an hour count that was on a holiday."""


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    start: datetime
    known: Floats
    """As it was told: nan where nothing was."""
    values: Floats
    lifetimes: Lifetimes | None = None

    @classmethod
    def of(cls, series: Series) -> "History":
        recent = series.last(CAP)
        return cls(start=recent.start, known=recent.values, values=filled(recent.values), lifetimes=recent.lifetimes)

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def hours_of_week(self) -> NDArray[np.int64]:
        return hour_of_week(self.start, np.arange(len(self) + HORIZON))

    @cached_property
    def country(self) -> str | None:
        return country(self.start, self.values)

    @cached_property
    def holidays(self) -> Floats:
        return holiday_hours(self.start, len(self) + HORIZON, self.country)

    @cached_property
    def usual(self) -> Floats:
        """What the weeks before had at that hour of the week, up to `HORIZON` hours beyond the end."""
        return usual(self.values, self.holidays)


def filled(values: Floats) -> Floats:
    """Every gap filled from what came before it; what is missing at the start is the first known value."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) == 0:
        return np.zeros(len(values))
    found = values.copy()
    found[: known[0]] = values[known[0]]
    last = known[0]
    for hour in np.flatnonzero(np.isnan(found)):
        if not np.isnan(found[hour - 1]) and not np.isnan(values[hour - 1]):
            last = hour - 1
        found[hour] = found[last] if hour - last <= _HOLDS or hour < WEEK else found[hour - WEEK]
    return found


def usual(values: Floats, holidays: Floats) -> Floats:
    """nan for the first week. What a holiday had says little of the week after it."""
    length = len(holidays)
    total, weight = np.zeros(length), np.zeros(length)
    for weeks, share in enumerate(_RECENT, start=1):
        shift = weeks * WEEK
        usable = max(0, min(len(values), length - shift))
        was, now = holidays[:usable], holidays[shift : shift + usable]
        shares = share * (1.0 - _FORGETS * np.maximum(was - now, 0.0))
        total[shift : shift + usable] += shares * values[:usable]
        weight[shift : shift + usable] += shares
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(weight > 0, total / weight, np.nan)
    return found
