"""Joint paths of the hours ahead: margins as the forecast's quantiles, dependence as in past errors: pure.

The Schaake shuffle (Clark et al., 2004): for each hour, values are drawn evenly from its quantiles and put into the
order that past paths of errors had there. An hour that was worse than foreseen is followed by others, as in the past.
Where there are fewer past paths than scenarios, each is used again with noise between hours that keeps its ranks near;
where there are none, hours depend on each other as a slow random walk's.
"""

import numpy as np

from scalar.forecasts.model import QUANTILES, Floats, Forecast

_FEWEST = 8
_MEMORY = 0.97
"""Of the errors of one hour in those of the next, where nothing is known."""
_JITTER = 0.25


def scenarios(forecast: Forecast, count: int, seed: int = 0) -> Floats:
    """`count` paths, a row each. The same seed draws the same paths."""
    rng = np.random.default_rng(seed)
    ranks = _ranks(_templates(forecast, count, rng))
    # In the middle of `count` equal parts: the paths have the margins of the quantiles, whatever the seed.
    levels = (ranks + 0.5) / count
    horizon = len(forecast.quantiles)
    found = np.empty((count, horizon))
    for hour in range(horizon):
        found[:, hour] = at_levels(forecast.quantiles[hour], levels[:, hour])
    return found


def at_levels(quantiles: Floats, levels: Floats) -> Floats:
    """Between known levels linearly; beyond the outermost, on with half the slope that leads to them."""
    low = quantiles[0] - (quantiles[1] - quantiles[0]) / 2
    high = quantiles[-1] + (quantiles[-1] - quantiles[-2]) / 2
    floor = min(float(quantiles[0]), 0.0)
    found: Floats = np.interp(levels, [0.0, *QUANTILES, 1.0], [max(low, floor), *quantiles, high])
    return found


def _templates(forecast: Forecast, count: int, rng: np.random.Generator) -> Floats:
    horizon = len(forecast.quantiles)
    known = _whole(forecast.errors, horizon)
    if len(known) < _FEWEST:
        return _walks(count, horizon, rng)
    spread = np.maximum(known.std(axis=0), 1e-12)
    drawn: Floats = known[_evenly(len(known), count, rng)] / spread
    if count <= len(known):
        return drawn
    mixed: Floats = drawn + _JITTER * _walks(count, horizon, rng)
    return mixed


def _whole(errors: Floats | None, horizon: int) -> Floats:
    """Paths that are known to their end."""
    if errors is None or errors.shape[1] < horizon:
        return np.empty((0, horizon))
    return errors[~np.isnan(errors[:, :horizon]).any(axis=1), :horizon]


def _evenly(paths: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Each path as often as the others, but for one."""
    return rng.permutation(np.resize(rng.permutation(paths), count))


def _walks(count: int, horizon: int, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal((count, horizon))
    walk = np.empty_like(noise)
    walk[:, 0] = noise[:, 0]
    for hour in range(1, horizon):
        walk[:, hour] = _MEMORY * walk[:, hour - 1] + np.sqrt(1 - _MEMORY**2) * noise[:, hour]
    return walk


def _ranks(paths: Floats) -> Floats:
    found: Floats = np.argsort(np.argsort(paths, axis=0, kind="stable"), axis=0, kind="stable").astype(np.float64)
    return found
