"""Which hours are nights, weekends and holidays: what a member may know of an hour before it comes. All times are UTC.

Whose holidays a series keeps is seen from it: of some countries, the one on whose holidays it differed most from other
days; none where none stands out, or where there is less than half a year to look at.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scalar.forecasts.model import Floats

COUNTRIES: Mapping[str, int] = {"US": -6, "JP": 9, "GB": 0, "DE": 1, "FR": 1, "CN": 8, "IN": 5, "BR": -3, "AU": 10}
"""And by how many hours their days begin before UTC's."""
_EPOCH_WEEKDAY = 3
"""1 January 1970 was a Thursday."""
_LONG_ENOUGH = 26 * 7
_STANDS_OUT = 4.0
"""Standard errors."""
_FEWEST = 3


def hours_since_epoch(start: datetime) -> int:
    return int(start.timestamp()) // 3600


def hour_of_week(start: datetime, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """0: the first hour of a Monday. `index`: hours after `start`."""
    found: NDArray[np.int64] = (hours_since_epoch(start) + 24 * _EPOCH_WEEKDAY + index) % 168
    return found


def country(start: datetime, values: Floats) -> str | None:
    """Whose holidays these values keep."""
    best, most = None, _STANDS_OUT
    for name, offset in COUNTRIES.items():
        found = _difference(start + timedelta(hours=offset), values, name)
        if found > most:
            best, most = name, found
    return best


def holiday_hours(start: datetime, count: int, kept: str | None) -> Floats:
    """1.0 for each hour on a holiday; 0.5 about Christmas and the New Year, and on days between one and a weekend."""
    if kept is None:
        return np.zeros(count)
    return np.repeat(_weights(kept, *_local(start, kept, count)), 24)[_into(start, kept) :][:count]


def holiday_names(kept: str, first: date, last: date) -> Mapping[date, str]:
    years = range(first.year, last.year + 1)
    return {day: name for year in years for day, name in _of(kept, year).items() if first <= day <= last}


def _local(start: datetime, kept: str, count: int) -> tuple[date, int]:
    return (start + timedelta(hours=COUNTRIES[kept])).date(), count // 24 + 2


def _into(start: datetime, kept: str) -> int:
    return (start + timedelta(hours=COUNTRIES[kept])).hour


@cache
def _weights(kept: str, first: date, days: int) -> Floats:
    return np.array([_weight(kept, first + timedelta(days=day)) for day in range(days)])


def _weight(kept: str, day: date) -> float:
    off = _of(kept, day.year)
    if day in off:
        return 1.0
    quiet = (day.month, day.day) >= (12, 24) or (day.month, day.day) <= (1, 3)
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    bridge = (day.weekday() == 4 and before in off) or (day.weekday() == 0 and after in off)
    return 0.5 if quiet or bridge else 0.0


@cache
def _of(kept: str, year: int) -> Mapping[date, str]:
    import holidays  # noqa: PLC0415 - a third of a second, and only long series need it

    return {day: str(name) for day, name in holidays.country_holidays(kept, years=year).items()}


def _difference(local: datetime, values: Floats, name: str) -> float:
    """How far days off were from the same weekday of the weeks around them, in standard errors of working days."""
    skip = -local.hour % 24
    days = (len(values) - skip) // 24
    if days < _LONG_ENOUGH:
        return 0.0
    means = values[skip : skip + 24 * days].reshape(days, 24).mean(axis=1)
    first = (local + timedelta(hours=skip)).date()
    around = np.stack([np.roll(means, shift) for shift in (-14, -7, 7, 14)])
    off = (means - np.median(around, axis=0))[14:-14]
    dates = [first + timedelta(days=14 + day) for day in range(len(off))]
    free = np.array([day in _of(name, day.year) and day.weekday() < 5 for day in dates])
    working = np.array([day.weekday() < 5 for day in dates]) & ~free
    if free.sum() < _FEWEST:
        return 0.0
    spread = max(float(np.std(off[working])), 1e-9) / np.sqrt(free.sum())
    return float(abs(np.mean(off[free]) - np.mean(off[working])) / spread)
