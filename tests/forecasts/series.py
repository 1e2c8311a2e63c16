"""Made-up series."""

from datetime import UTC, datetime

import numpy as np

from scalar.forecasts.model import Floats, Lifetimes, Series

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY, WEEK = 24, 168


def a_series(values: Floats | list[float], start: datetime = MONDAY) -> Series:
    return Series(start=start, values=np.array(values, dtype=np.float64))


def of_weeks(weeks: int, *, seed: int = 0, noise: float = 5.0) -> Floats:
    """Working days are busy from 8 to 20, nights and weekends are not."""
    rng = np.random.default_rng(seed)
    hour = np.arange(weeks * WEEK)
    busy = (hour % DAY >= 8) & (hour % DAY < 20) & (hour // DAY % 7 < 5)
    return 100.0 + 60.0 * busy + noise * rng.standard_normal(len(hour))


def a_walk(hours: int, *, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return 50.0 + np.cumsum(rng.standard_normal(hours) * 0.3)


def of_jobs(lifetimes: Lifetimes, weeks: int) -> Series:
    """What these jobs had, hour by hour, until then."""
    hours = np.arange(weeks * WEEK)
    values = np.zeros(len(hours))
    for start, end, gpus in zip(lifetimes.starts, lifetimes.ends, lifetimes.gpus, strict=True):
        values += gpus * np.clip(np.minimum(end, hours + 1) - np.maximum(start, hours), 0.0, 1.0)
    series = Series(start=MONDAY, values=values, lifetimes=lifetimes)
    return series.until(series.end)


def short_and_long_jobs(weeks: int, *, seed: int = 0) -> Lifetimes:
    """One of ten runs for some five days, the others for half an hour; of one GPU or eight."""
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.uniform(0, weeks * WEEK, 300 * weeks))
    long = rng.random(len(starts)) < 0.1
    lasts = np.where(long, rng.exponential(120, len(starts)), rng.exponential(0.5, len(starts)))
    gpus = np.where(rng.random(len(starts)) < 0.5, 1.0, 8.0)
    return Lifetimes(starts=starts, ends=starts + lasts, gpus=gpus)
