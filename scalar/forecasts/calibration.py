"""Bands that cover what they say: conformal prediction on a back-test's errors, and a width that follows the misses.

1. Each origin's errors are divided by how large errors were just before it, so that calm weeks and wild ones can be
   told as one.
2. For each hour ahead, the errors at that hour and its neighbours, at all past origins, are a sample; its quantiles,
   times how large errors are now, are the offsets of the band (split conformal prediction, signed, so that the two
   sides may differ). Few origins say little of the tails: the offsets are as much wider as Student's t is than the
   normal distribution.
3. Origin by origin, the share of the first day's hours that fell outside the 90 % band moves a factor of its width:
   log factor += GAIN x (missed - 0.1), as in adaptive conformal inference (Gibbs and Candès, 2021). Whatever the errors
   do, over time as many fall outside as should.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from scalar.forecasts.model import MEDIAN, QUANTILES, Floats

MISSES = 0.1
_GAIN = 1.5
_MOST, _LEAST = 4.0, 0.4
_SAMPLE = 60
"""So many errors are wanted of each hour: the fewer origins, the more neighbours."""
_WINDOW = 56
_FIRST = 5
"""Origins after which there is enough to go by."""
_SHORT, _LONG, _LATELY = 0.1, 0.03, 0.3
"""A day's share in how large errors are of late, and in the long run; and the share of the first."""
_LEAST_SIZE = 0.1
"""Of the mean of all: weeks without any error say nothing of how large one is by their measure."""
_OUTER = (QUANTILES.index(0.05), QUANTILES.index(0.95))


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    offsets: Floats
    """To add to a point forecast: a row an hour ahead, a column a level of `QUANTILES`; never falling along a row."""
    factor: float
    """How much wider than the sample's quantiles."""
    covered: float | None
    """Of the first day's hours of the back-test, those within the 90 % band as it was then."""


def calibrate(errors: Floats) -> Calibration:
    """`errors`: truth less forecast; a row an origin, a day apart, the oldest first; nan: not known."""
    sizes = _sizes(errors)
    relative = errors / sizes[:-1, None]
    factor, outside, known = 1.0, 0, 0
    for origin in range(_FIRST, len(errors)):
        low, high = (_offsets(relative[:origin, :24])[:, _OUTER] * factor).T
        truth = relative[origin, :24]
        there = ~np.isnan(truth)
        if there.any():
            missed = int(((truth < low) | (truth > high))[there].sum())
            outside, known = outside + missed, known + int(there.sum())
            factor *= float(np.exp(_GAIN * (missed / there.sum() - MISSES)))
            factor = min(max(factor, _LEAST), _MOST)
    offsets = _within(_offsets(relative) * sizes[-1] * factor, errors)
    return Calibration(offsets=offsets, factor=factor, covered=1 - outside / known if known else None)


def _sizes(errors: Floats) -> Floats:
    """How large the first day's errors were before each origin, and are now: of late, and in the long run."""
    found = np.empty(len(errors) + 1)
    day = np.abs(errors[:, :24])
    each = np.array([_mean(row, otherwise=np.nan) for row in day])
    least = max(_LEAST_SIZE * _mean(each, otherwise=0.0), 1e-9)
    short = long = max(_mean(each[:7], otherwise=1.0), least)
    for origin, size in enumerate([*each, np.nan]):
        found[origin] = max(_LATELY * short + (1 - _LATELY) * long, least)
        if not np.isnan(size):
            short += (size - short) * _SHORT
            long += (size - long) * _LONG
    return found


def _mean(values: Floats, *, otherwise: float) -> float:
    """Of those that are known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else otherwise


def _offsets(relative: Floats) -> Floats:
    recent = relative[-_WINDOW:]
    horizon = recent.shape[1]
    if len(recent) == 0:
        return np.zeros((horizon, len(QUANTILES)))
    reach = int(np.clip(np.ceil(_SAMPLE / max(len(recent), 1)) // 2, 1, 12))
    padded = np.pad(recent, ((0, 0), (reach, reach)), constant_values=np.nan)
    sample = np.concatenate([padded[:, shift : shift + horizon] for shift in range(2 * reach + 1)])
    bare = np.isnan(sample).all(axis=0)
    sample[:, bare] = 0.0
    found = _quantiles(sample)
    found[bare] = found[~bare][-1] if (~bare).any() else 0.0
    # The point forecast is the median, and no band leaves it out.
    found[:, :MEDIAN] = np.minimum(found[:, :MEDIAN], 0.0)
    found[:, MEDIAN] = 0.0
    found[:, MEDIAN + 1 :] = np.maximum(found[:, MEDIAN + 1 :], 0.0)
    return found * _unsure(len(recent))


def _within(offsets: Floats, errors: Floats) -> Floats:
    """No further than the largest error was, but for what few origins ask."""
    known = np.abs(errors[-_WINDOW:])
    largest = float(np.nanmax(known)) if (~np.isnan(known)).any() else 0.0
    most = largest * _unsure(len(known))
    return np.asarray(np.clip(offsets, -most, most))


def _unsure(origins: int) -> float:
    count = max(origins, 2)
    return float(stdtrit(count - 1, 0.95)) / 1.645 * float(np.sqrt(1 + 1 / count))


def _quantiles(sample: Floats) -> Floats:
    """Of each column, nan left out: as `np.nanquantile`, fifty times faster."""
    ordered = np.sort(sample, axis=0)
    last = (~np.isnan(sample)).sum(axis=0)[:, None] - 1
    at = np.maximum(last, 0) * np.array(QUANTILES)
    below = np.floor(at).astype(int)
    above = np.minimum(below + 1, np.maximum(last, 0))
    column = np.arange(sample.shape[1])[:, None]
    low, high = ordered[below, column], ordered[above, column]
    found: Floats = low + (high - low) * (at - below)
    return found
