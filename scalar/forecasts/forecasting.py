"""A series in, its forecast out: pure, and the same for the same seed.

history ─► each member's back-test ─► weights ─► the mean ─► calibrated bands
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scalar.forecasts.calibration import calibrate
from scalar.forecasts.combining import Backtest, called, combined, rolled, weights
from scalar.forecasts.history import CAP, History
from scalar.forecasts.members.boosted import Boosted
from scalar.forecasts.members.damped import Damped
from scalar.forecasts.members.decomposed import Decomposed
from scalar.forecasts.members.last_week import LastWeek
from scalar.forecasts.members.member import Member
from scalar.forecasts.members.persistence import Persistence
from scalar.forecasts.members.prophet import Prophet
from scalar.forecasts.members.regressed import Regressed
from scalar.forecasts.members.smoothed import Smoothed
from scalar.forecasts.members.survival import Survival
from scalar.forecasts.members.yesterday import Yesterday
from scalar.forecasts.model import HORIZON, QUANTILES, Floats, Forecast, Series
from scalar.forecasts.oddities import Oddities, levelled, look

BACKTEST_DAYS = 56
_COPIES = 3
"""The first members are naive copies."""


def members(history: History, seed: int = 0, *, prophet: bool = False) -> tuple[Member, ...]:
    """Who may have something to say of it. Persistence is the first: the others are measured by it."""
    usual: tuple[Member, ...] = (
        Persistence(),
        Yesterday(),
        LastWeek(),
        Smoothed(),
        Damped(),
        Decomposed(),
        Regressed(),
        Regressed(weekly=False),
        Boosted(seed),
    )
    return (*usual, *([] if history.lifetimes is None else [Survival()]), *([Prophet()] if prophet else []))


def forecast(
    series: Series, horizon: int = HORIZON, *, floor: float = 0.0, seed: int = 0, prophet: bool = False
) -> Forecast:
    """What the hours after the series' end will be, at most `HORIZON` of them.

    `floor`: nothing is below it. `prophet`: try it too, for a second or two more.
    """
    recent = series.last(CAP)
    odd = look(recent)
    if odd.empty:
        nothing = np.full((horizon, len(QUANTILES)), max(floor, 0.0))
        return Forecast(start=series.end, quantiles=nothing, member="nothing", notes=odd.notes)
    history = History.of(levelled(recent, odd))
    asked: tuple[Member, ...] = (Persistence(),)
    if odd.constant is None:
        asked = members(history, seed, prophet=prophet)
    made = _made(history, asked, horizon, floor)
    return replace(made, start=series.end, notes=(*odd.notes, *_calendar(history, odd)))


def backtest(
    history: History, asked: Sequence[Member], horizon: int, days: int = BACKTEST_DAYS
) -> tuple[Backtest, Floats]:
    """Of the last days, an origin each; and what each member says now, a row a member (nan: it can't)."""
    length = len(history)
    origins = [length - 24 * day for day in range(days, 0, -1) if length - 24 * day >= 1]
    paths = np.full((len(asked), len(origins) + 1, horizon), np.nan)
    for row, member in enumerate(asked):
        able = [each for each, origin in enumerate([*origins, length]) if origin >= member.needs]
        if able:
            paths[row, able] = member.paths(history, [[*origins, length][each] for each in able], horizon)
    known = np.concatenate([history.known, np.full(horizon, np.nan)])
    truth = known[np.array(origins, dtype=np.int64)[:, None] + np.arange(horizon)]
    names = tuple(member.name for member in asked)
    when = np.array(origins, dtype=np.float64) / 24
    return Backtest(names=names, days=when, paths=paths[:, :-1], truth=truth), paths[:, -1]


def _made(history: History, asked: Sequence[Member], horizon: int, floor: float) -> Forecast:
    tested, now = backtest(history, asked, horizon)
    able = np.array(~np.isnan(now).any(axis=1))
    given = weights(tested, len(history) / 24, able.tolist())
    path = combined(now, given)
    errors = tested.truth - rolled(tested)
    return Forecast(
        start=history.start,
        quantiles=bands(path, calibrate(errors).offsets, floor),
        member=called(tested.names, given),
        errors=errors,
        naive=_naive(tested, now),
        weights={name: float(share) for name, share in zip(tested.names, given[0], strict=True) if share > 0},
    )


def _naive(tested: Backtest, now: Floats) -> Floats:
    best = int(np.argmin(tested.losses[0].mean[: _able(now[:_COPIES])]))
    path: Floats = now[best]
    return path


def _able(now: Floats) -> int:
    """The copies need more and more history: those that can are the first."""
    return max(1, int((~np.isnan(now).any(axis=1)).sum()))


def bands(path: Floats, offsets: Floats, floor: float) -> Floats:
    found: Floats = np.maximum.accumulate(np.maximum(path[:, None] + offsets, floor), axis=1)
    return found


def _calendar(history: History, odd: Oddities) -> tuple[str, ...]:
    kept = history.country if odd.constant is None else None
    return (f"It keeps the holidays of {kept}.",) if kept else ()
