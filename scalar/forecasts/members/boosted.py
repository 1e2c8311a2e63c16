"""Boosted trees on lags: one model for all hours ahead, which knows how far ahead it looks, the calendar, and lags.

What is learned is how far an hour will be from its hour of the week's usual, by the size of the series of late: trees
can't go beyond what they saw, and so they see no levels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from scalar.forecasts.history import WEEK, History
from scalar.forecasts.members.member import refits
from scalar.forecasts.model import Floats

Hours = NDArray[np.int64]
_REFIT = 28 * 24
_ROWS = 40_000
_ROWS_AN_HOUR = 4
_CUT = 8.0
_TREES, _LEAVES = 120, 16
_FEW = 26 * WEEK
"""Of fewer hours, half as many trees are grown, with half as many leaves: there is less to be learned."""


class Boosted:
    name = "boosted"
    needs = 6 * WEEK

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        found = np.empty((len(origins), horizon))
        row = 0
        for group in refits(origins, _REFIT):
            scale = _scale(history, group[0])
            model = self._fitted(history, group[0], scale, horizon)
            at = np.repeat(np.array(group), horizon)
            target = at + np.tile(np.arange(horizon), len(group))
            off = model.predict(_seen(history, at, target, scale)) * scale + history.usual[target]
            found[row : row + len(group)] = off.reshape(len(group), horizon)
            row += len(group)
        return found

    def _fitted(self, history: History, until: int, scale: float, horizon: int) -> HistGradientBoostingRegressor:
        rng = np.random.default_rng(self.seed)
        rows = min(_ROWS, _ROWS_AN_HOUR * until)
        near = rng.random(rows) < 0.5
        ahead = np.where(near, rng.integers(0, min(24, horizon), rows), rng.integers(0, horizon, rows))
        target = rng.integers(2 * WEEK + horizon, until, rows)
        off = np.clip((history.values[target] - history.usual[target]) / scale, -_CUT, _CUT)
        trees, leaves = (_TREES // 2, _LEAVES // 2) if until < _FEW else (_TREES, _LEAVES)
        model = HistGradientBoostingRegressor(
            max_iter=trees,
            learning_rate=10 / trees,
            max_leaf_nodes=leaves,
            min_samples_leaf=40,
            l2_regularization=5.0,
            max_features=0.5,
            early_stopping=False,
            random_state=self.seed,
        )
        return model.fit(_seen(history, target - ahead, target, scale), off)


def _scale(history: History, until: int) -> float:
    first = max(WEEK, until - 8 * WEEK)
    off = np.abs(history.values[first:until] - history.usual[first:until])
    return max(float(np.mean(off)), 1e-9)


def _seen(history: History, origin: Hours, target: Hours, scale: float) -> Floats:
    """What is known at `origin` of the hour `target`."""
    values, usual = history.values, history.usual
    off = (values - usual[: len(values)]) / scale
    off = np.nan_to_num(off)
    sums = np.concatenate([[0.0], np.cumsum(off)])
    ahead = target - origin
    day_before = target - 24 * (ahead // 24 + 1)
    week_before = target - WEEK
    size = np.maximum(np.abs(usual[target]), 1e-9)
    hour = history.hours_of_week[target]
    return np.stack(
        [
            ahead,
            hour % 24,
            hour // 24,
            history.holidays[target],
            history.holidays[day_before],
            history.holidays[week_before],
            history.holidays[np.minimum(target + 24, len(history.holidays) - 1)],
            history.holidays[target - 24],
            off[origin - 1],
            off[origin - 1] - off[origin - 2],
            off[origin - 1] - off[origin - 4],
            off[origin - 24],
            off[day_before],
            off[day_before - 24],
            off[week_before],
            *((sums[origin] - sums[origin - each]) / each for each in (3, 6, 12, 24, 72, WEEK)),
            (values[day_before] - usual[target]) / scale,
            (values[week_before] - usual[target]) / scale,
            usual[target] / scale,
            size / scale,
        ],
        axis=1,
    )
