"""When to try again, when to give up, and when an endpoint is taken for dead. No I/O and no clock in here.

Waits double from 10 seconds to two hours, less up to a half at random: some thirty tries in a day.
"""

from datetime import datetime, timedelta

FIRST = timedelta(seconds=10)
MOST = timedelta(hours=2)
PATIENCE = timedelta(days=1)
"""From the first try of a delivery to its last."""
DEAD_AFTER = timedelta(days=3)
"""An endpoint that has taken nothing for so long is disabled."""


def wait(tries: int, chance: float) -> timedelta:
    """`tries`: failed so far, at least 1. `chance`: from 0 until before 1."""
    ceiling = min(MOST, FIRST * 2.0 ** min(tries - 1, 30))
    return ceiling * (0.5 + 0.5 * chance)


def next_try(tries: int, *, first: datetime, now: datetime, chance: float) -> datetime | None:
    """After a failure. None: that was the last one. The last one is when its day is over, not before."""
    end = first + PATIENCE
    return min(now + wait(tries, chance), end) if now < end else None


def is_dead(failing_since: datetime, now: datetime) -> bool:
    """Asked when a delivery was given up: an endpoint that little is sent to isn't dead for one failure in a week."""
    return now - failing_since >= DEAD_AFTER
