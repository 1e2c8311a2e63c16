"""For how long a preview is worth anything: the market's papers name no quote, and no time after which one is void.

By the rule `preview_seconds`, the same question of the same customer has the same answer for so long, as that of a
market which answers from a copy of its book. An order meets the book as it is: the answer's price may not fill.
"""

from collections.abc import Callable, Hashable

from sandbox.market.values import Preview


class Previews:
    """What was answered, until it is out of date. Times are the market's."""

    def __init__(self) -> None:
        self._answered: dict[Hashable, tuple[float, Preview | None]] = {}

    def answer(
        self, question: Hashable, now: float, seconds: float, ask: Callable[[], Preview | None]
    ) -> Preview | None:
        if not seconds:
            return ask()
        self._answered = {key: kept for key, kept in self._answered.items() if now < kept[0] + seconds}
        if question not in self._answered:
            self._answered[question] = (now, ask())
        return self._answered[question][1]
