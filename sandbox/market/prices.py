"""Where the other traders take their idea of a fair price from, in dollars per GPU-hour.

Both sources are pure functions of time, so a market that was stopped and started again goes on as if it never was, and
two markets with one seed have one history. The numbers are floats: they are a signal, and become money only when a
trader rounds them to the market's tick.
"""

import csv
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Protocol

HOUR = 3600
_DAY = 24 * HOUR
_WEEK = 7 * _DAY
_MEMORY_HOURS = 240


class PriceSource(Protocol):
    def at(self, time: float) -> float:
        """Dollars per GPU-hour at epoch seconds."""


@dataclass(frozen=True, kw_only=True)
class PriceProcess:
    """A log price that returns to its level, with a daily and a weekly cycle, and jumps that wear off.

    An hour's shock is drawn from the seed and the hour's number alone; the price is the sum of the shocks of the last
    ten days, each worn off by its age: an autoregression without a state.
    """

    seed: str
    level: float
    persistence: float = 0.97
    volatility: float = 0.015
    daily: float = 0.04
    weekly: float = 0.03
    jumps_per_hour: float = 1 / 150
    jump: float = 0.12

    def at(self, time: float) -> float:
        hour = int(time // HOUR)
        away = sum(self.persistence**age * self._shock(hour - age) for age in range(_MEMORY_HOURS))
        return self.level * math.exp(away + self._season(hour * HOUR))

    def _season(self, time: float) -> float:
        # Cheapest in the night (UTC-8) and at the weekend.
        day = -math.cos(2 * math.pi * (time - 10 * HOUR) / _DAY)
        week = -math.cos(2 * math.pi * (time - 3 * _DAY) / _WEEK)
        return self.daily * day + self.weekly * week

    def _shock(self, hour: int) -> float:
        return _shock(self.seed, hour, self.volatility, self.jumps_per_hour, self.jump)


@lru_cache(maxsize=8192)
def _shock(seed: str, hour: int, volatility: float, jumps_per_hour: float, jump: float) -> float:
    chance = Random(f"{seed}:{hour}")  # noqa: S311 - a made-up market, not a secret
    shock = chance.gauss(0.0, volatility)
    if chance.random() < jumps_per_hour:
        shock += chance.choice((-1, 1)) * jump * (0.5 + chance.random())
    return shock


@dataclass(frozen=True, kw_only=True)
class RecordedPrices:
    """Real prices, repeated in whole weeks before and after what was recorded. Gaps carry the last price forward."""

    times: Sequence[float]
    prices: Sequence[float]

    def at(self, time: float) -> float:
        weeks = max(1, int((self.times[-1] - self.times[0]) // _WEEK))
        within = self.times[0] + (time - self.times[0]) % (weeks * _WEEK)
        return self.prices[bisect_right(self.times, within) - 1]


def recorded(path: Path) -> RecordedPrices:
    """A CSV with the columns `ts` (ISO 8601) and `mean` (dollars per GPU-hour).

    Raises: ValueError where there is no price in it, OSError.
    """
    with path.open(newline="") as file:
        rows = [(_epoch(row["ts"]), float(row["mean"])) for row in csv.DictReader(file) if row.get("mean")]
    if not rows:
        raise ValueError(f"{path} has no row with a price: expected the columns ts and mean")
    rows.sort()
    return RecordedPrices(times=tuple(row[0] for row in rows), prices=tuple(row[1] for row in rows))


def _epoch(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
