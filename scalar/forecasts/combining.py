"""Which members to listen to, by how well each did of late: pure.

A back-test has each member's forecasts at some origins, a day apart, and the truth. Candidates are the members, and the
mean of each two of them: errors of two ways to forecast often cancel (Bates and Granger, 1969), and where they do, it
is seen in the back-test of the mean. A candidate's **ratio** is its absolute error over persistence's on the same days,
the days of late counting more, drawn towards a prior. With few days to go by, the prior is believed; with many, whoever
was best.

    weight = share x exp(-sharpness x (ratio - least ratio) / least ratio), without those below a fiftieth of the most

`share`: half goes to single members, half to means of two, so that the many pairs don't outvote the one member that
stands out. `sharpness`: Hedge's learning rate (Freund and Schapire, 1997) for n days and K candidates, the square root
of 8 n ln K. So candidates that are as good as the best share equally, one that is a twentieth worse counts little, and
one that is a tenth worse not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scalar.forecasts.model import Floats

BUCKETS = (24, 72, 168)
"""Hours ahead up to which one set of weights goes: a day, three days, a week."""
_HALF_LIVES = (5.0, 21.0)
"""Days: what was best this week and what was best this month have the same say."""
_PRIOR_DAYS = 12.0
_PRIORS = {"persistence": 1.0, "smoothed": 1.1, "damped": 1.1}
_PRIOR = 1.3
"""Of all others. A mean of two has the mean of theirs: on average it is no worse."""
_DAYS = 56
"""Of a whole back-test."""
_LEAST = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """`paths[m, i, h]`: what member m, at origin i, said of hour h ahead; nan where it had too little to go by.

    The first member is persistence. `days[i]`: when origin i was, in days; rising. `truth[i, h]`: nan where it isn't
    known, or not yet.
    """

    names: tuple[str, ...]
    days: Floats
    paths: Floats
    truth: Floats

    @property
    def horizon(self) -> int:
        return int(self.truth.shape[1])

    @cached_property
    def losses(self) -> list["Losses"]:
        paths = np.concatenate([self.paths, *_means_of_two(self.paths)])
        return [_losses(paths[:, :, part], self.truth[:, part], part.stop) for part in buckets(self.horizon)]

    @cached_property
    def mixtures(self) -> Floats:
        """What is of whom: a row a candidate, as in `losses`, a column a member."""
        each = np.eye(len(self.names))
        return np.concatenate([each, *_means_of_two(each)])

    @cached_property
    def priors(self) -> Floats:
        found: Floats = self.mixtures @ np.array([_PRIORS.get(name, _PRIOR) for name in self.names])
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """Of some hours ahead: a row a candidate, a column an origin. `until`: the first hour ahead that is beyond them."""

    until: int
    sums: Floats
    reference: Floats
    """Persistence's errors, over the hours that the candidate has."""
    usual: Floats
    """Persistence's mean error of each origin; 0 where nothing is known."""
    known: Floats
    """The share of the hours that is known, of each origin."""

    @property
    def mean(self) -> Floats:
        """Each candidate's error by persistence's; 1 where nothing is known."""
        top, bottom = self.sums.sum(axis=1), self.reference.sum(axis=1)
        return np.where(bottom > 0, top / np.maximum(bottom, 1e-12), 1.0)


def buckets(horizon: int) -> list[slice]:
    ends = sorted({min(end, horizon) for end in BUCKETS})
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def weights(backtest: Backtest, now: float, able: Sequence[bool]) -> Floats:
    """A row a bucket of hours ahead, a column a member. `now`: in days. `able`: those that can forecast now.

    An origin counts once all hours of the bucket are over.
    """
    mixtures = backtest.mixtures
    fit = mixtures @ np.array(able, dtype=np.float64) > 1 - 1e-9
    shares = np.stack([_shares(backtest, losses, now, fit) for losses in backtest.losses])
    found: Floats = shares @ mixtures
    return found


def combined(paths: Floats, given: Floats) -> Floats:
    """The weighted mean. `paths[m, h]`; a member without weight may be nan."""
    horizon = paths.shape[1]
    found = np.empty(horizon)
    for row, part in zip(given, buckets(horizon), strict=True):
        used = row > 0
        found[part] = row[used] @ paths[used, part]
    return found


def rolled(backtest: Backtest) -> Floats:
    """What would have been forecast at each origin, from what was known then. A row an origin."""
    found = np.empty_like(backtest.truth)
    for origin, day in enumerate(backtest.days):
        able = np.array(~np.isnan(backtest.paths[:, origin]).any(axis=1))
        found[origin] = combined(backtest.paths[:, origin], weights(backtest, float(day), able.tolist()))
    return found


def called(names: Sequence[str], given: Floats) -> str:
    """Who made it, by the weights of the first day: "persistence", "mean of boosted, decomposed"."""
    order = np.argsort(-given[0], kind="stable")
    counting = [names[each] for each in order if given[0, each] >= 0.1] or [names[order[0]]]
    return counting[0] if len(counting) == 1 else f"mean of {', '.join(counting)}"


def _means_of_two(rows: Floats) -> list[Floats]:
    return [(rows[[one]] + rows[[other]]) / 2 for one, other in combinations(range(len(rows)), 2)]


def _losses(paths: Floats, truth: Floats, until: int) -> Losses:
    hours = truth.shape[1]
    errors = np.abs(paths - truth)
    there = ~np.isnan(errors)
    first = np.where(there[:1], errors[:1], 0.0)
    known = there[0].sum(axis=1)
    return Losses(
        until=until,
        sums=np.where(there & there[:1], errors, 0.0).sum(axis=2) / hours,
        reference=np.where(there, first, 0.0).sum(axis=2) / hours,
        usual=first[0].sum(axis=1) / np.maximum(known, 1),
        known=known / hours,
    )


def _shares(backtest: Backtest, losses: Losses, now: float, fit: NDArray[np.bool_]) -> Floats:
    """Of each candidate; those that are not `fit` get none."""
    over = (now - backtest.days) * 24 >= losses.until
    ratio = np.mean([_ratios(backtest, losses, now, over, each) for each in _HALF_LIVES], axis=0)
    least = float(ratio[fit].min())
    sharpness = float(np.sqrt(8 * _DAYS * np.log(fit.sum())))
    raw = np.where(fit, _fair(backtest, fit) * np.exp(-sharpness * np.maximum(ratio / max(least, 1e-3) - 1, 0.0)), 0.0)
    raw[raw < _LEAST * raw.max()] = 0.0
    found: Floats = raw / raw.sum()
    return found


def _fair(backtest: Backtest, fit: NDArray[np.bool_]) -> Floats:
    single = np.arange(len(fit)) < len(backtest.names)
    return np.where(single, 1 / max(int(fit[single].sum()), 1), 1 / max(int(fit[~single].sum()), 1))


def _ratios(backtest: Backtest, losses: Losses, now: float, over: NDArray[np.bool_], half_life: float) -> Floats:
    prior = backtest.priors
    age = np.where(over, 0.5 ** (np.where(over, now - backtest.days, 0.0) / half_life), 0.0)
    seen = float(age @ losses.known)
    if seen == 0:
        return prior
    # A prior of so many days is the same part of a short memory as of a long one.
    held = _PRIOR_DAYS * half_life / _HALF_LIVES[-1] * float(age @ (losses.usual * losses.known)) / seen
    top, bottom = losses.sums @ age + held * prior, losses.reference @ age + held
    return np.where(bottom > 1e-12, top / np.maximum(bottom, 1e-12), prior)
