"""From what the market says of an order to the fills that count: pure.

The market gives fills no id, and may tell of one twice. What it says has filled in all is the measure: the fills must
add up to it, if need be without their repeats. If they can't be made to, nothing is believed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice, product

from scalar.market.errors import MarketAnswerMalformed
from scalar.market.model import Fill, Rectangle

_MOST_CANDIDATES = 10_000


def fills_that_count(told: Iterable[Fill], filled: Iterable[Rectangle]) -> tuple[Fill, ...]:
    """Raises: `MarketAnswerMalformed` where the fills don't add up to `filled`, the order's whole filled schedule."""
    told = tuple(told)
    measure = _changes(filled)
    for candidate in islice(_without_repeats(told), _MOST_CANDIDATES):
        if _changes(part for fill in candidate for part in fill.parts) == measure:
            return candidate
    raise MarketAnswerMalformed("the fills of an order do not add up to its filled schedule")


def same_schedule(one: Iterable[Rectangle], other: Iterable[Rectangle]) -> bool:
    """However they are cut."""
    return _changes(one) == _changes(other)


def most_at_once(parts: Iterable[Rectangle]) -> int:
    nodes, most = 0, 0
    for _, change in sorted(_changes(parts).items()):
        nodes += change
        most = max(most, nodes)
    return most


def new_fills(counted: Iterable[Fill], recorded: Iterable[Fill]) -> list[Fill]:
    """Those that are not recorded yet. Raises: `MarketAnswerMalformed` where a recorded one is not told of any more."""
    left = Counter(recorded)
    fresh = []
    for fill in counted:
        if left[fill]:
            left[fill] -= 1
        else:
            fresh.append(fill)
    if +left:
        raise MarketAnswerMalformed("a fill that the market had told of is gone from its answer")
    return fresh


def _without_repeats(told: tuple[Fill, ...]) -> Iterator[tuple[Fill, ...]]:
    """All of them; then without any repeat; then each way to count some equal ones and not others."""
    yield told
    counts = Counter(told)
    yield tuple(counts)
    for times in product(*(range(1, count + 1) for count in counts.values())):
        yield tuple(fill for fill, count in zip(counts, times, strict=True) for _ in range(count))


def _changes(parts: Iterable[Rectangle]) -> dict[datetime, int]:
    """How the number of nodes changes, and when: the same for every way to cut a schedule into rectangles."""
    changes: Counter[datetime] = Counter()
    for part in parts:
        changes[part.start] += part.nodes
        changes[part.end] -= part.nodes
    return {moment: change for moment, change in changes.items() if change}
