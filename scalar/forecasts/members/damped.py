"""The last value, drawn to the mean of the last week the further ahead: an autoregression of one lag about that mean.

How fast it is drawn is what would have been best over the last four weeks; not at all is among the speeds, and then it
is persistence. For series that wander, but not far: prices, and what a cluster has in use.
"""

from collections.abc import Sequence

import numpy as np

from scalar.forecasts.history import WEEK, History
from scalar.forecasts.model import Floats

_WINDOW = 4 * WEEK
_KEPT = (1.0, 0.99, 0.98, 0.96, 0.93, 0.9, 0.8)
"""Of the distance from the mean, from one hour to the next."""
_AHEAD = (6, 12, 24)
_FIRST = 48


class Damped:
    name = "damped"
    needs = 72

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        mean = _mean_of_week(history.values)
        off = history.values - mean
        at = np.array(origins)
        missed = np.stack([_missed(history.values, mean, off, kept) for kept in _KEPT])
        recent = missed[:, at] - missed[:, np.maximum(at - _WINDOW, 0)]
        kept = np.array(_KEPT)[recent.argmin(axis=0)]
        found: Floats = mean[at - 1, None] + off[at - 1, None] * kept[:, None] ** np.arange(1, horizon + 1)
        return found


def _mean_of_week(values: Floats) -> Floats:
    """Of the week up to each hour, that hour included."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    until = np.arange(1, len(sums))
    first = np.maximum(until - WEEK, 0)
    found: Floats = (sums[until] - sums[first]) / (until - first)
    return found


def _missed(values: Floats, mean: Floats, off: Floats, kept: float) -> Floats:
    """Absolute errors up to each hour, summed: one more than there are hours."""
    errors = np.zeros(len(values))
    for ahead in _AHEAD:
        errors[ahead:] += np.abs(values[ahead:] - mean[:-ahead] - off[:-ahead] * kept**ahead)
    errors[:_FIRST] = 0.0
    return np.concatenate([[0.0], np.cumsum(errors)])
