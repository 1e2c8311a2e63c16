"""Seasons of a day and of a week, by MSTL (Bandara, Hyndman and Bergmeir, 2021), and a smoothed level that goes on.

The seasons of the last cycle are repeated; what is left without them is forecast by simple exponential smoothing, with
the smoothing that was best at a day's distance. The seasons are estimated anew every few days of a back-test, the level
at each origin.
"""

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter
from statsmodels.tsa.seasonal import MSTL

from scalar.forecasts.history import WEEK, History
from scalar.forecasts.members.member import refits
from scalar.forecasts.model import Floats

_WINDOW = 16 * WEEK
_REFIT = WEEK
_ALPHAS = (0.01, 0.03, 0.06, 0.1, 0.2, 0.4, 0.7, 1.0)
_JUMPS = {"seasonal_jump": 3, "trend_jump": 12, "low_pass_jump": 12}
"""The smoothers are evaluated at every so manieth hour, and interpolated between: ten times faster."""


class Decomposed:
    name = "decomposed"
    needs = 2 * WEEK + 24

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        found = np.empty((len(origins), horizon))
        row = 0
        for group in refits(origins, _REFIT):
            first = max(0, group[0] - _WINDOW)
            season = _season(history.values[first : group[0]])
            for origin in group:
                found[row] = _path(history.values[first:origin], season, origin - first, group[0] - first, horizon)
                row += 1
        return found


def _season(values: Floats) -> Floats:
    """The last week of both seasons together."""
    fit = MSTL(values, periods=(24, WEEK), iterate=1, stl_kwargs=_JUMPS).fit()
    last: Floats = np.asarray(fit.seasonal).sum(axis=1)[-WEEK:]
    return last


def _path(values: Floats, season: Floats, origin: int, fitted_to: int, horizon: int) -> Floats:
    hours = np.arange(-fitted_to, origin - fitted_to + horizon) % WEEK
    seasonal = season[hours]
    left = values - seasonal[:origin]
    path: Floats = _level(left) + seasonal[origin:]
    return path


def _level(left: Floats) -> float:
    """What simple exponential smoothing says at the end."""
    best, least = float(left[-1]), np.inf
    ahead = left[WEEK + 24 :]
    for alpha in _ALPHAS:
        smooth, _ = lfilter([alpha], [1.0, alpha - 1.0], left, zi=[(1.0 - alpha) * left[0]])
        error = float(np.mean(np.abs(ahead - smooth[WEEK:-24])))
        if error < least:
            best, least = float(smooth[-1]), error
    return best
