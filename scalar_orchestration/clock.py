"""The time, where a door needs it; rules are given it.

It is the wall's. One process may live in another time, whole: a demo week is a week of the past, played fast (see
`scalar_orchestration.demo`). Nothing else turns this clock.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


def utc_now() -> datetime:
    return _clocks[-1]()


@contextmanager
def time_is(clock: Callable[[], datetime]) -> Iterator[None]:
    """In this process, as long as the block runs: aware, UTC."""
    _clocks.append(clock)
    try:
        yield
    finally:
        _clocks.remove(clock)


_clocks: list[Callable[[], datetime]] = [lambda: datetime.now(UTC)]
