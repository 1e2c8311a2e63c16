"""From history to forecasts that are written down, and from forecasts to scores: reads, computes, writes.

No transaction is open while a forecast is made.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from scalar.database import Transaction
from scalar.forecasts import demand_store, store, trials
from scalar.forecasts.batch import forecasts
from scalar.forecasts.demand import Demand, Life, demand, wanted
from scalar.forecasts.history import CAP
from scalar.forecasts.model import HOUR, Floats, Forecast, Lifetimes, Series
from scalar.forecasts.skill import Score, scale, scores
from scalar.forecasts.store import Due, Kind, Subject
from scalar.metering.model import Window

Transact = Callable[[], AbstractContextManager[Transaction]]
_SCORED_BACK = timedelta(days=30)
_LIVES_BACK = timedelta(days=84)
"""Four weeks before the first day of a back-test of eight."""
_KEPT = timedelta(days=90)
"""Of a forecast that is older, the hours that were scored are left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    subject: Subject
    series: Series
    forecast: Forecast


def build_hour(tx: Transaction, window: Window, now: datetime) -> list[Demand]:
    """The hour's demand, whole: what stood there before is replaced."""
    found = demand(
        demand_store.uses_in(tx, window), demand_store.waits_in(tx, window), demand_store.prices_at(tx, window.start)
    )
    demand_store.clear_hour(tx, window.start, now)
    demand_store.insert(tx, window.start, found)
    return found


def demand_series(tx: Transaction) -> dict[Subject, Series]:
    """Of each GPU type and tier that anybody wanted, up to the last hour that was looked at."""
    last = store.last_demand_hour(tx)
    if last is None:
        return {}
    since = last - CAP * HOUR
    looked_at = store.demand_hours(tx, since)
    return {
        subject: _series(dict.fromkeys(looked_at, 0.0) | wanted, min(wanted), last)
        for subject, wanted in sorted(store.demand_since(tx, since).items(), key=lambda each: str(each[0]))
    }


def with_lifetimes(tx: Transaction, found: Mapping[Subject, Series]) -> dict[Subject, Series]:
    """Demand with the jobs that it is the sum of, as they were known when the series ended."""
    if not found:
        return {}
    end = next(iter(found.values())).end
    lives = wanted(demand_store.lives_since(tx, end - _LIVES_BACK), demand_store.prices_at(tx, end))
    return {
        subject: replace(series, lifetimes=_lifetimes(lives.get((subject.name, str(subject.tier)), ()), series))
        for subject, series in found.items()
    }


def price_series(tx: Transaction) -> dict[Subject, Series]:
    """Of each kind of machine that was traded, up to the last hour that was collected."""
    last = store.last_price_hour(tx)
    if last is None:
        return {}
    found = store.prices_since(tx, last - CAP * HOUR)
    return {
        subject: _series(prices, min(prices), last)
        for subject, prices in sorted(found.items(), key=lambda each: str(each[0]))
    }


def issue(transact: Transact, kind: Kind, now: datetime) -> list[Made]:
    """A forecast of every series of the kind, from the first hour that isn't known; old ones are pruned."""
    with transact() as tx:
        found = with_lifetimes(tx, demand_series(tx)) if kind is Kind.DEMAND else price_series(tx)
        verdicts = store.trials(tx, kind)
    tried = [subject for subject in found if trials.due(verdicts.get(subject), now)][: trials.A_RUN]
    prophet = [subject in tried or _worth(verdicts.get(subject)) for subject in found]
    made = [
        Made(subject=subject, series=series, forecast=each)
        for (subject, series), each in zip(found.items(), forecasts([*found.values()], prophet), strict=True)
    ]
    with transact() as tx:
        for each in made:
            _write(tx, each, now)
            if each.subject in tried:
                store.note_trial(tx, each.subject, trials.verdict(each.forecast, now))
        store.prune(tx, kind, now - _KEPT)
    return made


def score(tx: Transaction, now: datetime) -> int:
    """Every forecast of an hour whose truth has come since. How many there were."""
    found = store.due(tx, now - _SCORED_BACK)
    store.insert_scores(tx, ((each, _scored(each)) for each in found), now)
    return len(found)


def _series(values: Mapping[datetime, float], first: datetime, last: datetime) -> Series:
    hours = (last - first) // HOUR + 1
    known: Floats = np.array([values.get(first + hour * HOUR, np.nan) for hour in range(hours)], dtype=np.float64)
    return Series(start=first, values=known)


def _lifetimes(lives: Sequence[Life], series: Series) -> Lifetimes | None:
    if not lives:
        return None
    known = Lifetimes(
        starts=np.array([(each.start - series.start) / HOUR for each in lives]),
        ends=np.array([np.inf if each.end is None else (each.end - series.start) / HOUR for each in lives]),
        gpus=np.array([each.gpus for each in lives], dtype=np.float64),
    )
    return known.until(len(series.values))


def _worth(last: trials.Trial | None) -> bool:
    return last is not None and last.worth


def _write(tx: Transaction, made: Made, now: datetime) -> None:
    measure = scale(made.series.values)
    store.drop(tx, made.subject, made.forecast.start)
    forecast_id = store.insert(tx, made.subject, made.forecast, scale=None if np.isnan(measure) else measure, now=now)
    store.insert_hours(tx, forecast_id, made.forecast)


def _scored(due: Due) -> Score:
    (found,) = scores(np.array([due.truth]), np.array([due.quantiles]), np.array([due.naive]), 0.0)
    if found is None:
        raise ValueError(f"{due.forecast_id}, {due.hour}: a truth that isn't known has no score")
    return found
