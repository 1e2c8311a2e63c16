"""What is odd about a series, and what is done about it: short, flat, zero, gappy, or shifted to another level.

Each oddity has a note for people. What a member gets to see follows from it: a series is cut at the last shift of its
level if enough is left after it; the members that need a longer history than there is stay out by themselves.
"""

from dataclasses import dataclass, replace

import numpy as np

from scalar.forecasts.history import WEEK
from scalar.forecasts.model import Floats, Series

_GAPPY = 0.1
_STALE = 6
"""Hours without news at the end that are worth a note."""
_SHORT = 4 * WEEK
_SHIFT_DAYS = 4
"""A level lasts so many days, at least."""
_RECENT_DAYS = 42
_BIG = 6.0
"""A shift is so many times as far as the days before it differed from each other."""
_HALF = 0.5
"""And by so much of the level before."""


@dataclass(frozen=True, kw_only=True)
class Oddities:
    empty: bool = False
    constant: float | None = None
    """All that was ever seen, or all of the last week's."""
    shifted: int | None = None
    """The index from which on the level is another."""
    notes: tuple[str, ...] = ()


def look(series: Series) -> Oddities:
    values = series.values
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return Oddities(empty=True, notes=("Nothing is known of it: no demand is assumed.",))
    constant = _constant(values)
    shifted = None if constant is not None else shift(values)
    notes = (*_flatness(constant), *_gaps(values), *_length(values), *_moved(series, shifted))
    return Oddities(constant=constant, shifted=shifted, notes=notes)


def levelled(series: Series, odd: Oddities) -> Series:
    """What was before the shift, brought to the level after it: by a factor where there was something, else cut off."""
    if odd.shifted is None:
        return series
    before, after = series.values[: odd.shifted], series.values[odd.shifted :]
    fortnight = 14 * 24
    was, now = float(np.nanmedian(before[-fortnight:])), float(np.nanmedian(after[:fortnight]))
    if was <= 0 or now <= 0:
        return series.last(len(after))
    return replace(series, values=np.concatenate([before * (now / was), after]))


def shift(values: Floats) -> int | None:
    """Where the level of the days last changed for good, if it did within six weeks.

    Days are compared whole weeks apart where there are such, so that a weekend is no shift.
    """
    days = len(values) // 24
    if days < 4 * _SHIFT_DAYS:
        return None
    first = len(values) - 24 * days
    levels = np.array([_middle(day) for day in values[first:].reshape(days, 24)])
    levels = levels[~np.isnan(levels)] if np.isnan(levels).any() else levels
    days = len(levels)
    for at in range(days - _SHIFT_DAYS, max(2 * _SHIFT_DAYS, days - _RECENT_DAYS), -1):
        before, after = levels[max(0, at - 14) : at], levels[at : at + 14]
        step = float(np.median(after) - np.median(before))
        spread = max(float(np.max(before) - np.min(before)) / 2, float(np.max(after) - np.min(after)) / 2, 1e-9)
        apart = np.min(after) > np.max(before) if step > 0 else np.max(after) < np.min(before)
        if apart and abs(step) > _HALF * abs(float(np.median(before))) and abs(step) > _BIG / 2 * spread:
            return len(values) - 24 * (days - at)
    return None


def _middle(day: Floats) -> float:
    there = day[~np.isnan(day)]
    return float(np.mean(there)) if len(there) else np.nan


def _constant(values: Floats) -> float | None:
    last = values[-WEEK:]
    seen = last[~np.isnan(last)]
    if len(seen) and np.ptp(seen) <= 1e-12 * max(1.0, abs(float(seen[0]))):
        return float(seen[0])
    return None


def _flatness(constant: float | None) -> tuple[str, ...]:
    if constant is None:
        return ()
    if constant == 0:
        return ("Zero for a week: zero goes on, and the band is what weeks like it had.",)
    return (f"Flat for a week at {constant:g}: it goes on, and the band is what weeks like it had.",)


def _gaps(values: Floats) -> tuple[str, ...]:
    there = ~np.isnan(values)
    since = int(np.flatnonzero(there)[0])
    share = 1 - float(np.mean(there[since:]))
    stale = len(values) - 1 - int(np.flatnonzero(there)[-1])
    gappy = (
        (f"{share:.0%} of its hours are missing: filled from the hours and weeks before.",) if share > _GAPPY else ()
    )
    late = (f"Nothing was heard of it for the last {stale} hours.",) if stale >= _STALE else ()
    return (*gappy, *late)


def _length(values: Floats) -> tuple[str, ...]:
    if len(values) >= _SHORT:
        return ()
    return (f"Short: {len(values) / 24:.1f} days. Persistence counts for more, and bands are wide.",)


def _moved(series: Series, shifted: int | None) -> tuple[str, ...]:
    if shifted is None:
        return ()
    hour = Series(start=series.start, values=series.values[:shifted]).end
    return (f"Its level moved about {hour:%-d %B}: what was before counts for its shape alone.",)
