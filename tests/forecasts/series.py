"""Made-up series."""

from datetime import UTC, datetime

import numpy as np

from scalar.forecasts.model import Floats, Series

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
