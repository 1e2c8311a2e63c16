"""How much of the hours to come will be at least so high? Several simple views of one series. Pure.

Each view gives values that demand may take in the `hours` from `at` on (that hour included, which is known), as an
array of any shape: each value is as likely as the others. A quantile of them is a level that is exceeded in so many of
the hours. Some say more: scenarios (n, hours), of which each hour can be asked. None: the series is too short for this
view.

What the forecasting package says is one view more: `as_forecast`.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from scalar.planning.highs import Floats

View = Callable[[Floats, int, int], Floats | None]
"""(series, at, hours) ─► values. It never looks beyond `at`."""

DAY, WEEK = 24, 168
_PATHS = 80
_DAYS = 7
_LATELY = 3.0


def recent(series: Floats, at: int, hours: int, *, past: int) -> Floats | None:  # noqa: ARG001 - one signature for all
    """As the last hours were."""
    first = max(0, at + 1 - past)
    return series[first : at + 1] if at + 1 - first >= DAY else None


def as_long_before(series: Floats, at: int, hours: int) -> Floats | None:
    """As the last hours were, as many as are asked about: a shorter past has no weekend, a longer one is old."""
    return recent(series, at, hours, past=max(DAY, hours))


def reverting(series: Floats, at: int, hours: int, *, half_life: float, past: int) -> Floats | None:
    """From where demand stands now back to what it was at other times, half of the way in `half_life` hours.

    At the same hour of other days, once a week of them is known: a busy hour is not followed by busy ones.
    """
    starts = np.arange(at - hours, max(0, at - past - hours) - 1, -1)
    if len(starts) < DAY:
        return None
    same_hour = starts[np.flatnonzero((at - starts) % DAY == 0)]
    starts = same_hour if len(same_hour) >= _DAYS else starts[:: max(1, len(starts) // _PATHS)]
    windows = series[starts[:, None] + np.arange(hours)]
    fading = 0.5 ** (np.arange(hours) / half_life)
    return np.asarray(np.maximum(windows + (series[at] - series[starts])[:, None] * fading, 0.0))


def seasonal(
    series: Floats, at: int, hours: int, *, season: int, copies: int, half_life: float = np.inf
) -> Floats | None:
    """Copies of the same hours of earlier seasons, moved by how much the last day differs from the day before them.

    The difference fades by half in `half_life` hours.
    """
    back = -(-hours // season) * season
    fading = 0.5 ** (np.arange(hours) / half_life)
    found = []
    for start in range(at - back, max(at - back - copies * season, DAY - 1), -season):
        moved = series[at + 1 - DAY : at + 1].mean() - series[start + 1 - DAY : start + 1].mean()
        found.append(series[start : start + hours] + moved * fading)
    return np.maximum(np.array(found), 0.0) if found else None


def as_forecast(issued: Mapping[int, Floats]) -> View:
    """What was last forecast: scenarios (n, hours), by the hour that they begin with; none is older than a day.

    What lies beyond the end of a forecast is as a week before.
    """
    begun = np.array(sorted(issued))

    def view(series: Floats, at: int, hours: int) -> Floats | None:  # noqa: ARG001
        last = int(np.searchsorted(begun, at, side="right")) - 1
        if last < 0 or at - begun[last] >= DAY:
            return None
        paths = issued[int(begun[last])]
        ahead = np.arange(at - int(begun[last]), at - int(begun[last]) + hours)
        weeks = np.maximum(0, -(-(ahead + 1 - paths.shape[1]) // WEEK))
        return paths[:, ahead - weeks * WEEK]

    return view


USUAL: Mapping[str, View] = {"last block": as_long_before}

_FROM_NOW = partial(reverting, half_life=24.0, past=5 * WEEK)
_OTHER_WEEKS = partial(seasonal, season=WEEK, copies=4, half_life=96.0)


def by_the_hour(block: int, forecast: View | None = None) -> Mapping[str, View]:
    """Those that say which hour is how: scenarios (n, hours), for who looks at every hour of some blocks by itself.

    What is wanted now says much of a block of a day, and little of one of a week. Without a forecast, other weeks have
    its place. None is fitted to anything: a block's own length, a week, and halves of the distance in one day or four.
    """
    beyond = {"same hours of other weeks": _OTHER_WEEKS} if forecast is None else {"forecast": forecast}
    return {"from now": _FROM_NOW, **beyond} if block <= 2 * DAY else beyond


def anchored(paths: Floats, now: float) -> Floats:
    """Scenarios (n, hours), moved to begin with what is known of the hour that runs; half of the way after three hours.

    What is wanted now can't be far off in an hour, and says little of the week: moved for longer, long blocks would be
    bought for every peak.
    """
    fading = 0.5 ** (np.arange(paths.shape[1]) / _LATELY)
    return np.asarray(np.maximum(paths + (now - paths[:, :1]) * fading, 0.0))


def foreseen(series: Floats, hours: int, count: int) -> Floats:
    """Scenarios (count, hours) of what comes, from what was: half from now back to the usual, half like other weeks.

    The hour that runs is known, whatever other weeks had then. A short series goes on as it is.
    """
    at = len(series) - 1
    views = [view(series, at, hours) for view in (_FROM_NOW, _OTHER_WEEKS)]
    known = [each for each in views if each is not None]
    if not known:
        return np.full((count, hours), series[-1])
    share = -(-count // len(known))
    rows = [each[np.linspace(0, len(each) - 1, share).round().astype(int)] for each in known]
    return anchored(np.concatenate(rows)[:count], float(series[at]))
