"""How good forecasts were: pure.

MASE: absolute error of the median over that of the naive copy of yesterday, in the 56 days before the forecast (Hyndman
and Koehler, 2006); below 1 is better than the copy. Pinball: the loss that a quantile minimises, mean over all levels,
in units of the same scale. Coverage: share of hours within the 90 % band.
"""

from dataclasses import dataclass

import numpy as np

from scalar.forecasts.model import MEDIAN, QUANTILES, Floats

SCALE_DAYS = 56


@dataclass(frozen=True, kw_only=True)
class Skill:
    """Of one series' forecasts over some hours. `naive`: the MASE of the best naive copy over the same hours."""

    hours: int
    mase: float
    pinball: float
    coverage: float
    naive: float

    @property
    def gain(self) -> float:
        """By how much the error was below the naive one: 0.2 is a fifth; below zero: worse."""
        return 1 - self.mase / self.naive if self.naive > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Score:
    """One hour of one forecast, once its truth is known. In the series' own unit; `scale`: of the MASE."""

    error: float
    naive_error: float
    pinball: float
    inside: bool
    scale: float


def scale(before: Floats) -> float:
    """Mean absolute change from one day to the next over the last 56 days; nan where nothing is known."""
    recent = before[-24 * SCALE_DAYS :]
    changes = np.abs(recent[24:] - recent[:-24])
    changes = changes[~np.isnan(changes)]
    return float(np.mean(changes)) if len(changes) else float("nan")


def mase(truth: Floats, forecast: Floats, measure: float) -> float:
    """nan hours don't count; nan where none is left. A scale of zero: 0 where it was right, else infinite."""
    errors = np.abs(truth - forecast)
    errors = errors[~np.isnan(errors)]
    if len(errors) == 0:
        return float("nan")
    error = float(np.mean(errors))
    if measure > 0:
        return error / measure
    return 0.0 if error == 0 else float("inf")


def pinball(truth: Floats, quantiles: Floats) -> Floats:
    """Of each hour, mean over the levels."""
    levels = np.array(QUANTILES)
    off = truth[:, None] - quantiles
    found: Floats = np.mean(np.maximum(levels * off, (levels - 1) * off), axis=1)
    return found


def inside(truth: Floats, quantiles: Floats) -> np.ndarray:
    """Of each hour, whether it was within the 90 % band, its ends included."""
    found: np.ndarray = (truth >= quantiles[:, 0]) & (truth <= quantiles[:, -1])
    return found


def scores(truth: Floats, quantiles: Floats, naive: Floats, measure: float) -> list[Score | None]:
    """A score an hour; None where the truth isn't known."""
    losses, within = pinball(truth, quantiles), inside(truth, quantiles)
    return [
        None
        if np.isnan(truth[hour])
        else Score(
            error=abs(float(truth[hour] - quantiles[hour, MEDIAN])),
            naive_error=abs(float(truth[hour] - naive[hour])),
            pinball=float(losses[hour]),
            inside=bool(within[hour]),
            scale=measure,
        )
        for hour in range(len(truth))
    ]


def summed(found: list[Score]) -> Skill | None:
    """None where nothing was scored. Errors and scales are summed before they are divided: quiet days weigh little."""
    total = sum(each.scale for each in found)
    if not found:
        return None
    if total <= 0:
        wrong = any(each.error > 0 for each in found)
        figure = float("inf") if wrong else 0.0
        worse = float("inf") if any(each.naive_error > 0 for each in found) else 0.0
        return Skill(hours=len(found), mase=figure, pinball=figure, coverage=_covered(found), naive=worse)
    return Skill(
        hours=len(found),
        mase=sum(each.error for each in found) / total,
        pinball=sum(each.pinball for each in found) / total,
        coverage=_covered(found),
        naive=sum(each.naive_error for each in found) / total,
    )


def _covered(found: list[Score]) -> float:
    return sum(each.inside for each in found) / len(found)
