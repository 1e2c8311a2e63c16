"""Forecasts of many series at once: in this very process where they are few, else in processes of their own.

What members are made of (trees, decompositions, calendars) takes a second or more to import, and everything that
Dagster runs imports this: so it is imported where a forecast is made, not where it is asked for.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from scalar.forecasts.model import Forecast, Series

FEW = 8
"""Starting processes takes longer than to make so many."""
PROCESSES = 2
_AT_ONCE = 4


def forecasts(
    series: Sequence[Series], prophet: Sequence[bool] | None = None, processes: int = PROCESSES
) -> list[Forecast]:
    """Of each, a week ahead. `prophet`: whether it is asked, too."""
    asked = prophet or [False] * len(series)
    if len(series) <= FEW:
        return [_one(*each) for each in zip(series, asked, strict=True)]
    # A fork would take along the locks of this process's threads as they were.
    fresh = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=fresh) as pool:
        return list(pool.map(_one, series, asked, chunksize=_AT_ONCE))


def _one(series: Series, prophet: bool) -> Forecast:
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - of the same kind

    from scalar.forecasts.forecasting import forecast  # noqa: PLC0415 - imports all that members are made of

    # Trees this small are grown no faster by many threads, which wait for each other at full speed: on a busy machine,
    # for minutes.
    with threadpool_limits(1):
        return forecast(series, prophet=prophet)
