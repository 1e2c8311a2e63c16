"""What goes wrong on demand: a list of faults, each with what it hits and how often. They are not kept over a restart.

Requests:     rate_limited, server_error, server_error_after, delay, dropped_before, dropped, changed
Webhooks:     webhook_twice, webhook_late, webhook_reversed, webhook_lost, webhook_bad_signature,
              webhook_stale_signature
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

FaultKind = Literal[
    "rate_limited",
    "server_error",
    "server_error_after",
    "delay",
    "dropped_before",
    "dropped",
    "changed",
    "webhook_twice",
    "webhook_late",
    "webhook_reversed",
    "webhook_lost",
    "webhook_bad_signature",
    "webhook_stale_signature",
]

MEANINGS: dict[str, str] = {
    "rate_limited": "429 with Retry-After: `retry_after` seconds, before anything was done",
    "server_error": "500, or `status`, before anything was done",
    "server_error_after": "all is done, but the answer is a 500, or `status`; the idempotency key remembers that",
    "delay": "the answer comes `seconds` later (wall time); meanwhile its idempotency key is in use",
    "dropped_before": "the connection is cut before anything was done",
    "dropped": "all is done, then the connection is cut instead of an answer",
    "changed": "all is done, but the answer has these `fields` instead of its own",
    "webhook_twice": "an event is delivered twice",
    "webhook_late": "an event is first delivered `seconds` later (the server's time)",
    "webhook_reversed": "the events of one request are delivered in the wrong order",
    "webhook_lost": "an event is never delivered, only listed",
    "webhook_bad_signature": "the signature of a delivery is wrong",
    "webhook_stale_signature": "a delivery was signed `seconds` ago (wall time)",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    id: str
    kind: FaultKind
    method: str | None = None
    path: str = ".*"
    """A regular expression that some part of a request's path must match."""
    event: str = "*"
    """Event types, as `invoice.*`."""
    times: int | None = None
    seconds: float = 1.0
    retry_after: int = 1
    status: int = 500
    fields: Mapping[str, Any] = field(default_factory=dict)
    hits: int = 0

    @property
    def live(self) -> bool:
        return self.times is None or self.hits < self.times


class Faults:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._made = 0

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._made += 1
            self._faults.append(replace(fault, id=f"fault_{self._made}"))
            return self._faults[-1]

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def remove(self, id: str | None = None) -> int:
        """One, or all. How many there were."""
        with self._lock:
            kept = [fault for fault in self._faults if id is not None and fault.id != id]
            gone = len(self._faults) - len(kept)
            self._faults = kept
            return gone

    def request(self, method: str, path: str, *kinds: FaultKind) -> Fault | None:
        """The oldest of the kinds that hits this request; the hit is counted."""
        with self._lock:
            for i, fault in enumerate(self._faults):
                aims = fault.method in {None, method} and re.search(fault.path, path) is not None
                if fault.kind in kinds and fault.live and aims:
                    return self._hit(i)
            return None

    def webhook(self, type: str, kind: FaultKind) -> Fault | None:
        """As `request`, for an event."""
        with self._lock:
            for i, fault in enumerate(self._faults):
                if fault.kind == kind and fault.live and fnmatchcase(type, fault.event):
                    return self._hit(i)
            return None

    def _hit(self, i: int) -> Fault:
        self._faults[i] = replace(self._faults[i], hits=self._faults[i].hits + 1)
        return self._faults[i]
