"""The market's time: the wall's, faster, or stopped and moved by hand.

A clock only says what time it is. What is due in between is done by `World.advance_to`, in order, whenever somebody
looks at the market.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """At `wall` (epoch seconds of the machine) the market's time was `market`, and ran `speed` times as fast."""

    id: str = "clock"
    wall: float
    market: float
    speed: float

    def at(self, wall: float) -> float:
        return self.market + (wall - self.wall) * self.speed


class Clock:
    """Speed 0 is a stopped clock. It never goes back."""

    def __init__(self, anchor: Anchor, wall: Callable[[], float] = time.time) -> None:
        self._anchor = anchor
        self._wall = wall

    @property
    def anchor(self) -> Anchor:
        return self._anchor

    @property
    def stopped(self) -> bool:
        return self._anchor.speed == 0

    def now(self) -> float:
        # The wall's clock may be set back; the market's stands still until it has caught up.
        return max(self._anchor.at(self._wall()), self._anchor.market)

    def move(self, seconds: float) -> None:
        """Forward only. Raises: ValueError."""
        if seconds < 0:
            raise ValueError("time only goes forward")
        self._anchor = replace(self._anchor, wall=self._wall(), market=self.now() + seconds)
