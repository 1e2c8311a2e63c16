"""The server's time: the wall's with an offset, or stopped and moved by hand."""

import time
from collections.abc import Callable


class Clock:
    """`at` is the time in epoch seconds at which it starts; it never goes back."""

    def __init__(self, at: float, *, runs: bool, wall: Callable[[], float] = time.time) -> None:
        self._at = at
        self._wall = wall
        self._since = wall()
        self.runs = runs

    def now(self) -> float:
        passed = self._wall() - self._since if self.runs else 0.0
        # The wall's clock may be set back; this one stands still until it has caught up.
        return self._at + max(0.0, passed)

    def move_to(self, at: float) -> None:
        """Forward only; an earlier time is passed over."""
        self._at, self._since = max(at, self.now()), self._wall()
