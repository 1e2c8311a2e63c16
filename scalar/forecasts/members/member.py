"""What every member can do."""

from collections.abc import Sequence
from typing import Protocol

from scalar.forecasts.history import History
from scalar.forecasts.model import Floats


class Member(Protocol):
    """One way to forecast. Members that must be fitted do so every few days of a back-test, not at each origin."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> int:
        """Hours of history before an origin, at least."""
        ...

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        """Forecasts made at each of some origins, a row an origin, a column an hour ahead.

        `origins`: rising; each an index of `history`, or its length. Of a forecast made at `o`, the first hour is `o`,
        and only hours before `o` are known to it.
        """
        ...


def refits(origins: Sequence[int], every: int) -> list[list[int]]:
    """Origins that share one fit: what was fitted at the first of them serves all of them.

    The last origin stands alone: what is issued was fitted to all there is.
    """
    groups: list[list[int]] = []
    for origin in origins:
        if groups and origin - groups[-1][0] < every and origin != origins[-1]:
            groups[-1].append(origin)
        else:
            groups.append([origin])
    return groups
