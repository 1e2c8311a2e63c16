"""Ridge regression on lags: a linear rule for each hour ahead, all of them fitted at once.

What is regressed is how far each hour was from a base, in units of how far it usually is, cut off at a few of them: the
rule knows no level, and one mad hour doesn't bend it. Two bases make two members: `regressed` looks at how far hours
are from the usual of their hour of the week (see `history.usual`), `reverting` at how far they are from the mean of the
last day, for series that follow no week.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from scalar.forecasts.history import WEEK, History
from scalar.forecasts.members.member import refits
from scalar.forecasts.model import Floats

Hours = NDArray[np.int64]
_REFIT = WEEK
_LAGS = np.array([*range(1, 25), 26, 28, 30, 36, 42, 48, 72, 96, 120, 144, 168])
_MEANS = (24, 48, 72, WEEK)
_INPUTS = len(_LAGS) + len(_MEANS) + 1
_FEWEST = 72
_RIDGE = 30.0
_HALF_LIFE = 16 * WEEK
_CUT = 5.0


class Regressed:
    def __init__(self, *, weekly: bool = True) -> None:
        self.name = "regressed" if weekly else "reverting"
        self.needs = (4 if weekly else 2) * WEEK
        self._weekly = weekly

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        found = np.empty((len(origins), horizon))
        row = 0
        for group in refits(origins, _REFIT):
            scale = self._scale(history, group[0])
            rule = self._fitted(history, group[0], scale, horizon)
            at = np.array(group)
            off = scale * (self._seen(history, at, scale) @ rule)
            found[row : row + len(group)] = self._base(history, at, horizon) + off
            row += len(group)
        return found

    def _base(self, history: History, origins: Hours, horizon: int) -> Floats:
        if self._weekly:
            found: Floats = history.usual[origins[:, None] + np.arange(horizon)]
            return found
        return _level(history.values, origins)[:, None]

    def _seen(self, history: History, origins: Hours, scale: float) -> Floats:
        """What a forecast made at each origin goes by."""
        values = history.values
        if self._weekly:
            values = np.nan_to_num(values - history.usual[: len(values)])
        sums = np.concatenate([[0.0], np.cumsum(values)])
        means = np.stack([(sums[origins] - sums[origins - each]) / each for each in _MEANS], axis=1)
        off = np.concatenate([values[origins[:, None] - _LAGS], means], axis=1)
        if not self._weekly:
            off = off - _level(values, origins)[:, None]
        return np.concatenate([np.clip(off / scale, -_CUT, _CUT), np.ones((len(origins), 1))], axis=1)

    def _fitted(self, history: History, until: int, scale: float, horizon: int) -> Floats:
        """Weights, a column an hour ahead. What is near counts more."""
        origins = np.arange(2 * WEEK if self._weekly else WEEK, until - horizon)
        if len(origins) < _FEWEST:
            return np.zeros((_INPUTS, horizon))
        seen = self._seen(history, origins, scale)
        truth = history.values[origins[:, None] + np.arange(horizon)]
        off = np.clip((truth - self._base(history, origins, horizon)) / scale, -_CUT, _CUT)
        weighted = seen * (0.5 ** ((until - origins) / _HALF_LIFE))[:, None]
        square = weighted.T @ seen + _RIDGE * np.eye(_INPUTS)
        rule: Floats = cho_solve(cho_factor(square), weighted.T @ off)
        return rule

    def _scale(self, history: History, until: int) -> float:
        first = max(WEEK, until - 8 * WEEK)
        recent = history.values[first:until]
        off = recent - history.usual[first:until] if self._weekly else recent - np.mean(recent)
        return max(float(np.mean(np.abs(off))), 1e-9)


def _level(values: Floats, origins: Hours) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found: Floats = (sums[origins] - sums[origins - 24]) / 24
    return found
