"""What goes wrong on demand: a list of faults, each with what it hits, how often, and what it does.

Answers:      rate_limited, server_error, halted, expired_token, html, delay, dropped, empty_list, renamed_field,
              repeated_cursor, repeated_fill
Orders:       slow_fills, partial_fills
Instances:    never_boots, silent, dies

A fault is used up after `times` hits, over at `until` (market time), and hits with `probability`, drawn from the
market's seed. Faults are not kept over a restart.
"""

import re
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

FaultKind = Literal[
    "rate_limited",
    "server_error",
    "halted",
    "expired_token",
    "html",
    "delay",
    "dropped",
    "empty_list",
    "renamed_field",
    "repeated_cursor",
    "repeated_fill",
    "slow_fills",
    "partial_fills",
    "never_boots",
    "silent",
    "dies",
]

MEANINGS: dict[str, str] = {
    "rate_limited": "429 with Retry-After: `retry_after` seconds",
    "server_error": "500, or `status`, before anything was done",
    "halted": "503 service_unavailable on orders: trading is halted; with `until` alone, nobody trades until then",
    "expired_token": "401, whatever the token",
    "html": "200 with a page of HTML instead of JSON, before anything was done",
    "delay": "the answer comes `seconds` later (wall time)",
    "dropped": "all is done, then the connection is cut instead of an answer",
    "empty_list": "a list with nothing in it where there is something",
    "renamed_field": "the JSON field `field` is called `to`",
    "repeated_cursor": "a page that has_more, with the cursor it was asked with",
    "repeated_fill": "the last of an order's fills is listed twice",
    "slow_fills": "an order stays pending for `seconds` more (market time)",
    "partial_fills": "only `fraction` of an order with allow_partial can fill",
    "never_boots": "an instance stays awaiting_allocation though it has its node",
    "silent": "an instance runs, but nothing on it ever starts: no agent, no SSH",
    "dies": "the running instance `instance`, or the oldest, fails now",
}
# Where a fault hits unless it is told where.
_PATHS = {"halted": r"/orders|/pool_transfers"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    id: str
    kind: FaultKind
    method: str | None = None
    path: str = ".*"
    """A regular expression that some part of the path, query left out, must match."""
    times: int | None = None
    until: float | None = None
    probability: float = 1.0
    seconds: float = 1.0
    retry_after: int = 1
    status: int = 500
    field: str = "data"
    to: str = "items"
    fraction: float = 0.5
    instance: str | None = None
    hits: int = 0

    def aims_at(self, method: str, path: str) -> bool:
        return (self.method is None or self.method == method) and re.search(self.path, path) is not None

    def live(self, now: float) -> bool:
        return (self.times is None or self.hits < self.times) and (self.until is None or now < self.until)


class Faults:
    """Thread-safe."""

    def __init__(self, seed: str) -> None:
        self._lock = threading.Lock()
        self._chance = Random(f"faults:{seed}")  # noqa: S311 - chance that can be repeated
        self._faults: list[Fault] = []
        self._made = 0

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._made += 1
            path = _PATHS.get(fault.kind, fault.path) if fault.path == ".*" else fault.path
            added = replace(fault, id=f"fault_{self._made}", path=path)
            self._faults.append(added)
            return added

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def halt_trading(self, now: float) -> bool:
        """Whether nobody trades: a halt that lasts, not one that only some requests or times meet."""
        with self._lock:
            return any(
                fault.kind == "halted" and fault.live(now) and fault.times is None and fault.probability >= 1
                for fault in self._faults
            )

    def remove(self, id: str | None = None) -> int:
        """One, or all. How many there were."""
        with self._lock:
            kept = [fault for fault in self._faults if id is not None and fault.id != id]
            gone = len(self._faults) - len(kept)
            self._faults = kept
            return gone

    def hitting(self, kinds: Collection[str], now: float, *, method: str = "", path: str = "") -> list[Fault]:
        """Those that hit this time, oldest first; each is counted."""
        with self._lock:
            return [self._hit(i) for i, fault in enumerate(self._faults) if self._hits(fault, kinds, now, method, path)]

    def _hits(self, fault: Fault, kinds: Collection[str], now: float, method: str, path: str) -> bool:
        return (
            fault.kind in kinds
            and fault.live(now)
            and fault.aims_at(method, path)
            and (fault.probability >= 1 or self._chance.random() < fault.probability)
        )

    def _hit(self, i: int) -> Fault:
        self._faults[i] = replace(self._faults[i], hits=self._faults[i].hits + 1)
        return self._faults[i]
