"""Simple exponential smoothing: a mean of what was, the last hours counting most.

Its memory is the one that would have been best over the last sixteen weeks, half a day ahead; none at all is among
them, and then it is persistence. For series without a day that are noisy from hour to hour.
"""

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from scalar.forecasts.history import WEEK, History
from scalar.forecasts.model import Floats

_WINDOW = 16 * WEEK
_ALPHAS = (1.0, 0.7, 0.4, 0.2, 0.1, 0.06, 0.03, 0.01)
_AHEAD = 12
_FIRST = 48


class Smoothed:
    name = "smoothed"
    needs = 72

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        at = np.array(origins)
        levels = np.stack([_level(history.values, alpha) for alpha in _ALPHAS])
        missed = np.stack([_missed(history.values, level) for level in levels])
        recent = missed[:, at] - missed[:, np.maximum(at - _WINDOW, 0)]
        level = levels[recent.argmin(axis=0), at - 1]
        return np.repeat(level[:, None], horizon, axis=1)


def _level(values: Floats, alpha: float) -> Floats:
    found: Floats = lfilter([alpha], [1.0, alpha - 1.0], values, zi=[(1.0 - alpha) * values[0]])[0]
    return found


def _missed(values: Floats, level: Floats) -> Floats:
    """Absolute errors up to each hour, summed: one more than there are hours."""
    errors = np.zeros(len(values))
    errors[_AHEAD:] = np.abs(values[_AHEAD:] - level[:-_AHEAD])
    errors[:_FIRST] = 0.0
    return np.concatenate([[0.0], np.cumsum(errors)])
