"""What the agent is doing to containers right now: at most one operation a key, none waiting for another's.

A thread each, not a pool: a node has few tasks, and a pool full of image pulls would keep a stop waiting for minutes.
"""

from collections.abc import Callable
from threading import Event, Lock, Thread

from scalar.protocol import TaskKey

Operation = Callable[[Event], None]
"""Called with an event that tells it to give up where it can."""


class Operations:
    def __init__(self, *, when_one_ends: Callable[[], None]) -> None:
        self._when_one_ends = when_one_ends
        self._lock = Lock()
        self._under_way: dict[TaskKey, Event] = {}

    def busy(self) -> frozenset[TaskKey]:
        with self._lock:
            return frozenset(self._under_way)

    def begin(self, key: TaskKey, operation: Operation) -> bool:
        """Runs it beside the caller; False, and nothing happens, if one is under way for this key."""
        cancelled = Event()
        with self._lock:
            if key in self._under_way:
                return False
            self._under_way[key] = cancelled
        Thread(target=self._run, args=(key, operation, cancelled), name=f"operation-{key}", daemon=True).start()
        return True

    def cancel(self, key: TaskKey) -> None:
        with self._lock:
            if cancelled := self._under_way.get(key):
                cancelled.set()

    def _run(self, key: TaskKey, operation: Operation, cancelled: Event) -> None:
        try:
            operation(cancelled)
        finally:
            with self._lock:
                del self._under_way[key]
        # Not after an error nobody expected: the periodic pass tries again, without haste.
        self._when_one_ends()
