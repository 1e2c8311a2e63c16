"""Waiting longer after each failure, never in step with the other nodes."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(kw_only=True)
class Backoff:
    """Seconds to wait after each failure in a row: doubling from `first` to `most`, less up to a half at random."""

    first: float = 0.2
    most: float = 15.0
    failures: int = 0
    chance: Callable[[], float] = random.random

    def next(self) -> float:
        """Seconds to wait now; the next call gives about twice that."""
        ceiling = min(self.most, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return ceiling * (0.5 + 0.5 * self.chance())

    def reset(self) -> None:
        """Call after a success."""
        self.failures = 0
