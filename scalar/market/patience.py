"""When to ask the market again, and when to stop asking for a while. No I/O and no clock in here."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from threading import Lock

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential, with full jitter: at random between nothing and `first` doubled by each failure, at most `most`."""

    first: float = 0.5
    most: float = 15.0
    patience: float = 30.0
    """The longest `Retry-After` that is waited out."""

    def wait(self, failures: int, chance: float, retry_after: float | None = None) -> float | None:
        """Seconds to wait after so many failures in a row; None: it asks for more than our patience.

        `chance`: from 0 until before 1.
        """
        if retry_after is not None and retry_after > self.patience:
            return None
        jitter = chance * min(self.most, self.first * 2.0 ** min(failures - 1, 30))
        return max(jitter, retry_after or 0.0)


class CircuitState(StrEnum):
    """closed ──► open ──► half_open ──► closed | open"""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """The next call goes through, to see whether the market is back; the others don't until it has answered."""


@dataclass(kw_only=True)
class CircuitBreaker:
    """After `failures` in a row nothing is sent for `seconds`; then one call at a time, until one succeeds.

    `now` is any monotonic count of seconds. A call that was let through to look and is never heard of again blocks the
    next for `seconds` only. Safe to use from any thread.
    """

    failures: int = 5
    seconds: float = 30.0
    _in_a_row: int = field(default=0, init=False)
    _quiet_until: float | None = field(default=None, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def admit(self, now: float) -> float:
        """0: send it, and tell how it ended. More: the seconds for which nothing should be sent."""
        with self._lock:
            if self._quiet_until is None:
                return 0.0
            if now < self._quiet_until:
                return self._quiet_until - now
            self._quiet_until = now + self.seconds
            return 0.0

    def succeeded(self) -> None:
        with self._lock:
            self._in_a_row = 0
            self._quiet_until = None

    def failed(self, now: float) -> None:
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self.failures:
                self._quiet_until = now + self.seconds

    def state(self, now: float) -> CircuitState:
        with self._lock:
            if self._quiet_until is None:
                return CircuitState.CLOSED
            return CircuitState.OPEN if now < self._quiet_until else CircuitState.HALF_OPEN


def retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds, of the headers `Retry-After` (seconds, or a date) and `Date`.

    A date is measured against the answer's own, since our clock may be wrong; without one it says nothing.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    then, now = _moment(value), _moment(date)
    return max(0.0, (then - now).total_seconds()) if then and now else None


def _moment(date: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
