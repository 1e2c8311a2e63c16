"""How long will the jobs that run now run on, and what will come after them? For demand whose jobs are known.

    path[h] = Σ GPUs of running jobs · S(age + h) / S(age)  +  what jobs that come after the origin want in that hour

The first by survival analysis: a period life table of the last four weeks. For each age of a job, the rate at which
jobs of that age ended (ends, by the hours that jobs spent at it) is the hazard, and S = exp(-cumulated hazard). So jobs
that still run, and those that began before the four weeks, count for as much as is known of them. Jobs of one GPU, of
few, of up to a node and of more are apart, each drawn to the table of all where it has seen little.

The second by what such jobs had, so many hours on, at the same hours of the last four weeks' days.

A mean hides what this sees: that ten jobs which began within the hour mostly are over within the next, and one that has
run for a week goes on.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scalar.forecasts.history import WEEK, History
from scalar.forecasts.model import Floats, Lifetimes

_WINDOW = 4 * WEEK
_EDGES = np.concatenate([[0.0], np.geomspace(0.05, 8 * WEEK, 48)])
"""Ages in hours: finer, the younger."""
_SIZES = (1.5, 4.5, 8.5)
_BELIEVED = 5.0
"""A size's own ends in an age's bin that count as much as the table of all."""


class Survival:
    name = "survival"
    needs = WEEK

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        jobs = history.lifetimes
        if jobs is None:
            raise ValueError("the jobs of this series aren't known")
        later = _Later(jobs, horizon)
        found = np.full((len(origins), horizon), np.nan)
        # Where the jobs are known of late only, it has nothing to say of the time before.
        first = float(jobs.starts.min(initial=np.inf))
        for row, origin in enumerate(origins):
            if origin - first >= self.needs:
                found[row] = _survivors(jobs, origin, horizon) + later.wanted(origin)
        return found


def _survivors(jobs: Lifetimes, origin: int, horizon: int) -> Floats:
    """What jobs that run at the origin will want, by hour."""
    seen = (jobs.starts < origin) & (jobs.ends > origin - _WINDOW)
    starts, ends, gpus = jobs.starts[seen], jobs.ends[seen], jobs.gpus[seen]
    young, old = np.maximum(origin - _WINDOW - starts, 0.0), np.minimum(ends, origin) - starts
    ended, sizes = ends <= origin, np.digitize(gpus, _SIZES)
    of_all = _hazard(young, old, ended)
    found = np.zeros(horizon)
    for size in range(len(_SIZES) + 1):
        own = sizes == size
        runs = own & ~ended
        if runs.any():
            hazard = _hazard(young[own], old[own], ended[own], like=of_all)
            found += gpus[runs] @ _go_on(hazard, old[runs], horizon)
    return found


def _hazard(young: Floats, old: Floats, ended: NDArray[np.bool_], like: Floats | None = None) -> Floats:
    """Ends per hour at each age, of jobs that were looked at from one age to another."""
    spent = np.diff(_passed(old) - _passed(young))
    ends = np.histogram(old[ended], _EDGES)[0].astype(np.float64)
    if like is None:
        # An age that nobody reached is like the one before it.
        known = np.maximum.accumulate(np.where(spent > 0, np.arange(len(spent)), 0))
        return np.asarray(ends[known] / np.maximum(spent[known], 1e-9))
    return np.asarray((ends + _BELIEVED) / (spent + _BELIEVED / np.maximum(like, 1e-9)))


def _passed(ages: Floats) -> Floats:
    """Hours that jobs of these ages spent below each edge, in all."""
    ordered = np.sort(ages)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    below = np.searchsorted(ordered, _EDGES)
    return np.asarray(sums[below] + _EDGES * (len(ages) - below))


def _go_on(hazard: Floats, ages: Floats, horizon: int) -> Floats:
    """The chance that a job of some age is there in the middle of each hour ahead: a row a job."""
    edges = np.append(_EDGES, _EDGES[-1] + horizon)
    total = np.concatenate([[0.0], np.cumsum(np.append(hazard, hazard[-1]) * np.diff(edges))])
    now = np.minimum(ages, _EDGES[-1])
    ahead = now[:, None] + np.arange(horizon) + 0.5
    return np.asarray(np.exp(np.interp(now, edges, total)[:, None] - np.interp(ahead, edges, total)))


class _Later:
    """What jobs want that come after some moment: the same of earlier days' moments, as far as their hours are over."""

    def __init__(self, jobs: Lifetimes, horizon: int) -> None:
        order = np.argsort(jobs.starts, kind="stable")
        self._starts, self._ends, self._gpus = jobs.starts[order], jobs.ends[order], jobs.gpus[order]
        self._horizon = horizon
        self._had: dict[int, Floats] = {}

    def wanted(self, origin: int) -> Floats:
        total, days = np.zeros(self._horizon), np.zeros(self._horizon)
        for moment in range(origin - 24, max(origin - _WINDOW, 0) - 1, -24):
            over = min(self._horizon, origin - moment)
            total[:over] += self._of(moment)[:over]
            days[:over] += 1
        return np.asarray(total / np.maximum(days, 1))

    def _of(self, moment: int) -> Floats:
        """GPUs that jobs had in each hour from then on, of those that came from then on."""
        if moment not in self._had:
            first, last = np.searchsorted(self._starts, [moment, moment + self._horizon])
            come, gone, gpus = (each[first:last] for each in (self._starts, self._ends, self._gpus))
            self._had[moment] = self._since(come - moment, gpus) - self._since(gone - moment, gpus)
        return self._had[moment]

    def _since(self, hours: Floats, gpus: Floats) -> Floats:
        """GPUs, in the mean of each hour, of who is there from some hour on."""
        within = hours < self._horizon
        hour, gpus = hours[within].astype(np.int64), gpus[within]
        left = gpus * (hour + 1 - hours[within])
        whole = np.bincount(hour, gpus, self._horizon).cumsum()
        return np.asarray(np.bincount(hour, left - gpus, self._horizon) + whole)
