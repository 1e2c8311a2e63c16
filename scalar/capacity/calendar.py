"""Capacity over time: pure. What is owned, used, kept and free of each GPU type, from now on.

    levels(outlook, gpu_type) ─► a Level from each moment at which something changes ─► calendar ─► hours

    free = owned - unavailable - used - reserved

- owned: GPUs of nodes until their block ends, and of what was bought and hasn't joined yet.
- unavailable: those of machines that drain or are silent, as far as nothing runs on them.
- used: those of runs that may still run then.
- reserved: what is kept for organisations beyond what they use themselves.

An hour is told by its worst moments: the least that is owned and free in it, the most that is used and reserved. So the
figures of an hour in which a run ends and a reservation begins need not add up; those of a moment do.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from scalar.capacity.holds import FOREVER, Outlook, Supply
from scalar.capacity.model import Reservation

HOUR = timedelta(hours=1)
_Changes = dict[datetime, Counter[tuple[str, str | None]]]


@dataclass(frozen=True, kw_only=True)
class Machines:
    """GPUs of one kind of machine. `sku`: the market's id of it; None for machines of our own."""

    sku: str | None
    nodes: int
    owned: int
    used: int
    unavailable: int


@dataclass(frozen=True, kw_only=True)
class Level:
    """GPUs of one type at a moment, or at the worst moments of an hour."""

    gpu_type: str
    nodes: int
    owned: int
    used: int
    unavailable: int
    reserved: int
    spare: int
    """What is free; negative where more is promised than there is."""
    machines: tuple[Machines, ...]

    @property
    def free(self) -> int:
        return max(self.spare, 0)

    @property
    def overcommitted(self) -> int:
        """GPUs that are promised and not there."""
        return max(-self.spare, 0)


@dataclass(frozen=True, kw_only=True)
class Hour:
    start: datetime
    end: datetime
    levels: tuple[Level, ...]
    """By GPU type."""


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A time in which a reservation can't be met, and how many GPUs it could have then."""

    start: datetime
    end: datetime
    free: int


def gpu_types(outlook: Outlook) -> list[str]:
    """All that there is something to say of."""
    return sorted({each.gpu_type for each in outlook.supplies} | {each.gpu_type for each in outlook.reservations})


def calendar(outlook: Outlook, hours: int, only: str | None = None) -> list[Hour]:
    """The hour that has begun, from now on, and those after it. `only`: this GPU type."""
    types = [only] if only else gpu_types(outlook)
    steps = [levels(outlook, gpu_type) for gpu_type in types]
    first = _hour_of(outlook.now)
    return [
        Hour(start=start, end=start + HOUR, levels=tuple(_worst(_within(each, start, start + HOUR)) for each in steps))
        for start in (first + number * HOUR for number in range(hours))
    ]


def present(outlook: Outlook, only: str | None = None) -> list[Level]:
    """Now, by GPU type."""
    return [levels(outlook, gpu_type)[0][1] for gpu_type in ([only] if only else gpu_types(outlook))]


def levels(outlook: Outlook, gpu_type: str) -> list[tuple[datetime, Level]]:
    """From when, and what holds from then until the next: the first from now on."""
    changes: _Changes = {outlook.now: Counter()}
    _count_machines(changes, outlook, gpu_type)
    for each in outlook.reservations:
        if each.gpu_type == gpu_type and each.released_at is None:
            _count(changes, outlook.now, "reserved", each.organisation_id, each.gpus, each.start, each.end)
    standing = Counter[tuple[str, str | None]]()
    found = []
    for at in sorted(changes):
        standing.update(changes[at])
        found.append((at, _level(gpu_type, standing)))
    return found


def lacks(outlook: Outlook, wanted: Reservation) -> list[Lack]:
    """When, were this reserved too, more would be promised than there is."""
    with_it = replace(outlook, reservations=[*outlook.reservations, wanted])
    found: list[Lack] = []
    for start, end, level in _within(levels(with_it, wanted.gpu_type), wanted.start, wanted.end):
        if not level.overcommitted:
            continue
        lack = Lack(start=start, end=end, free=max(wanted.gpus - level.overcommitted, 0))
        if found and (found[-1].end, found[-1].free) == (lack.start, lack.free):
            lack = replace(lack, start=found.pop().start)
        found.append(lack)
    return found


def most_reserved(reservations: Iterable[Reservation], start: datetime, end: datetime) -> int:
    """The most GPUs that these keep at any moment of a time."""
    overlapping = [each for each in reservations if each.released_at is None and start < each.end and each.start < end]
    moments = [max(each.start, start) for each in overlapping]
    return max((sum(each.gpus for each in overlapping if each.holds_at(at)) for at in moments), default=0)


def _count_machines(changes: _Changes, outlook: Outlook, gpu_type: str) -> None:
    now, nodes = outlook.now, dict[str | None, Supply]()
    for supply in outlook.supplies:
        if supply.gpu_type != gpu_type:
            continue
        nodes[supply.node_id] = supply
        for what, much in (("nodes", 1), ("owned", supply.gpus), ("unavailable", 0 if supply.usable else supply.gpus)):
            _count(changes, now, what, supply.sku, much, supply.start, supply.end)
    for use in outlook.uses:
        node = nodes.get(use.node_id)
        if node is None:
            continue
        _count(changes, now, "used", node.sku, use.gpus, now, use.until)
        _count(changes, now, "used_by", use.organisation_id, use.gpus, now, use.until)
        if not node.usable:
            _count(changes, now, "unavailable", node.sku, -use.gpus, now, use.until)


def _count(
    changes: _Changes, now: datetime, what: str, whose: str | None, much: int, start: datetime, end: datetime
) -> None:
    if much == 0 or end <= now:
        return
    changes.setdefault(max(start, now), Counter())[what, whose] += much
    if end < FOREVER:
        changes.setdefault(end, Counter())[what, whose] -= much


def _level(gpu_type: str, standing: Counter[tuple[str, str | None]]) -> Level:
    def total(what: str) -> int:
        return sum(much for (kind, _), much in standing.items() if kind == what)

    reserved = sum(
        max(much - standing["used_by", organisation], 0)
        for (kind, organisation), much in standing.items()
        if kind == "reserved"
    )
    owned, used, unavailable = total("owned"), total("used"), total("unavailable")
    skus = sorted(
        {sku for (kind, sku), much in standing.items() if kind == "nodes" and much}, key=lambda sku: sku or ""
    )
    return Level(
        gpu_type=gpu_type,
        nodes=total("nodes"),
        owned=owned,
        used=used,
        unavailable=unavailable,
        reserved=reserved,
        spare=owned - used - unavailable - reserved,
        machines=tuple(
            Machines(
                sku=sku,
                nodes=standing["nodes", sku],
                owned=standing["owned", sku],
                used=standing["used", sku],
                unavailable=standing["unavailable", sku],
            )
            for sku in skus
        ),
    )


def _within(
    steps: Sequence[tuple[datetime, Level]], start: datetime, end: datetime
) -> list[tuple[datetime, datetime, Level]]:
    """The part of each step that lies in a time."""
    first = max(bisect_right(steps, start, key=lambda step: step[0]) - 1, 0)
    found = []
    for number in range(first, len(steps)):
        since, level = steps[number]
        until = steps[number + 1][0] if number + 1 < len(steps) else FOREVER
        if since >= end:
            break
        found.append((max(since, start), min(until, end), level))
    return found


def _worst(steps: Sequence[tuple[datetime, datetime, Level]]) -> Level:
    every = [level for _, _, level in steps]
    kinds: dict[str | None, list[Machines]] = {}
    for level in every:
        for each in level.machines:
            kinds.setdefault(each.sku, []).append(each)
    return Level(
        gpu_type=every[0].gpu_type,
        nodes=min(level.nodes for level in every),
        owned=min(level.owned for level in every),
        used=max(level.used for level in every),
        unavailable=max(level.unavailable for level in every),
        reserved=max(level.reserved for level in every),
        spare=min(level.spare for level in every),
        machines=tuple(_worst_of(each, whole=len(each) == len(every)) for each in kinds.values()),
    )


def _worst_of(machines: Sequence[Machines], *, whole: bool) -> Machines:
    """`whole`: there were some of this kind at every moment."""
    return Machines(
        sku=machines[0].sku,
        nodes=min(each.nodes for each in machines) if whole else 0,
        owned=min(each.owned for each in machines) if whole else 0,
        used=max(each.used for each in machines),
        unavailable=max(each.unavailable for each in machines),
    )


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
