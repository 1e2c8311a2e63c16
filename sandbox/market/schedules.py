"""How many nodes, over time: step functions that are immutable and always in one form, so that `==` means the same.

Adding and taking away touch only the steps in the other's window, so a long schedule costs little more than a short
one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class Schedule:
    """`counts[i]` nodes from `times[i]` to `times[i + 1]`; the last count is 0, none is negative, neighbours differ.

    >>> night = Schedule.rectangle(0, 120, 4)
    >>> list(night.minus(Schedule.rectangle(60, 120, 1)).steps())
    [(0, 60, 4), (60, 120, 3)]
    """

    times: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    @staticmethod
    def rectangle(start: int, end: int, nodes: int) -> "Schedule":
        return Schedule((start, end), (nodes, 0)) if nodes and start < end else EMPTY

    @staticmethod
    def of(steps: Iterable[tuple[int, int, int]]) -> "Schedule":
        """The sum of rectangles (start, end, nodes), in any order; they may overlap."""
        total = EMPTY
        for start, end, nodes in steps:
            total = total.plus(Schedule.rectangle(start, end, nodes))
        return total

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, nodes), in order, gaps left out."""
        for i, nodes in enumerate(self.counts):
            if nodes:
                yield self.times[i], self.times[i + 1], nodes

    def __bool__(self) -> bool:
        return bool(self.times)

    @property
    def start(self) -> int:
        """The first moment with a node; of an empty schedule there is none (IndexError)."""
        return self.times[0]

    @property
    def end(self) -> int:
        return self.times[-1]

    @property
    def node_minutes(self) -> int:
        times, counts = self.times, self.counts
        if len(times) == 2:
            return (times[1] - times[0]) * counts[0] // 60
        return sum((end - start) * nodes for start, end, nodes in self.steps()) // 60

    def at(self, moment: int) -> int:
        i = bisect_right(self.times, moment) - 1
        return self.counts[i] if i >= 0 else 0

    def lowest(self, start: int, end: int) -> int:
        """The fewest nodes at any moment of [start, end)."""
        first = bisect_right(self.times, start) - 1
        if first < 0:
            return 0
        return min(self.counts[first : bisect_left(self.times, end)])

    def covers(self, other: "Schedule") -> bool:
        """Whether there are at least the other's nodes at every moment."""
        return all(self.lowest(start, end) >= nodes for start, end, nodes in other.steps())

    def clip(self, start: int, end: int = FOREVER) -> "Schedule":
        """What lies in [start, end)."""
        if not self.times or (start <= self.times[0] and self.times[-1] <= end):
            return self
        inner = slice(bisect_right(self.times, start), bisect_left(self.times, end))
        times = (start, *self.times[inner], end)
        counts = (self.at(start), *self.counts[inner], 0)
        return _tidy(times, counts) if start < end else EMPTY

    def plus(self, other: "Schedule") -> "Schedule":
        return _combined(self, other, 1) if self.times else other

    def minus(self, other: "Schedule") -> "Schedule":
        """Raises ValueError where the other has more nodes than this."""
        return EMPTY if self.times == other.times and self.counts == other.counts else _combined(self, other, -1)

    def meet(self, other: "Schedule") -> "Schedule":
        """The fewer of both at every moment: what the two have in common."""
        if len(other.times) > len(self.times):
            return other.meet(self)
        times, counts = self.times, self.counts
        new_times: list[int] = []
        new_counts: list[int] = []
        for start, end, nodes in other.steps():
            first, last = bisect_right(times, start), bisect_left(times, end)
            if new_times and new_times[-1] == start:
                del new_times[-1], new_counts[-1]
            level = counts[first - 1] if first else 0
            new_times += (start, *times[first:last], end)
            new_counts += [min(nodes, count) for count in (level, *counts[first:last])]
            new_counts.append(0)
        return _tidy(new_times, new_counts)


EMPTY = Schedule()


def _combined(schedule: Schedule, other: Schedule, sign: int) -> Schedule:
    """The sum, or the difference: both walked side by side in the other's window, the rest copied.

    Most of the engine's time is spent here, so it is one plain loop.
    """
    if not other.times:
        return schedule
    times, counts = (*schedule.times, FOREVER), schedule.counts
    i = bisect_left(schedule.times, other.times[0])
    new_times, new_counts = list(times[:i]), list(counts[:i])
    level = last = counts[i - 1] if i else 0  # of this schedule, and of the new one
    shift = 0
    for theirs, nodes in zip(other.times, other.counts, strict=True):
        while (time := times[i]) <= theirs:
            level = counts[i]
            i += 1
            if time < theirs and (count := level + shift) != last:
                new_times.append(time)
                new_counts.append(count)
                last = count
        shift = sign * nodes
        if (count := level + shift) != last:
            new_times.append(theirs)
            new_counts.append(count)
            last = count
    if sign < 0 and min(new_counts, default=0) < 0:
        raise ValueError("there are too few nodes to take that many")
    return Schedule((*new_times, *schedule.times[i:]), (*new_counts, *counts[i:]))


def _tidy(times: Iterable[int], counts: Iterable[int]) -> Schedule:
    """The one form: no step that changes nothing."""
    before = 0
    kept_times: list[int] = []
    kept_counts: list[int] = []
    for time, count in zip(times, counts, strict=True):
        if count != before:
            kept_times.append(time)
            kept_counts.append(count)
            before = count
    return Schedule(tuple(kept_times), tuple(kept_counts))
