"""Who sits where: pure. A seat is one node of a block; a machine sits on one at a time and moves on without a gap.

    open_seats(blocks, taken) ─► less_promised(seats, sales) ─► seat(seats, sitting, now) ─► moves on, and starts

1. A machine whose seat ends goes on with the seat of its kind that can be had just then and lasts longest: a longer
   block for the same machine costs no reboot, and its jobs run on. Machines that work choose before idle ones.
2. A seat that is to be had now, or within the time that a machine takes to boot, and that nobody sits on gets a new
   machine, unless so little of it is left that no job would get it; nor does so little keep another from the rest.
3. A seat that an open sale counts on as standing empty stays empty for that time: nobody moves on to it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.market.model import Block, Rectangle, Seat

BOOT_LEAD = timedelta(minutes=2)
"""A machine is asked for so long before its seat begins."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A part of a seat that is not to be had: somebody sits on it, or it was sold."""

    block_id: str
    number: int
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Sitter:
    """A live machine, and the end of its last seat."""

    instance_id: str
    sku: str
    until: datetime
    busy: bool = False
    """Something runs on it."""


@dataclass(frozen=True, kw_only=True)
class MoveOn:
    """This machine goes on with that part of a seat."""

    instance_id: str
    seat: Seat


@dataclass(frozen=True, kw_only=True)
class Start:
    """A new machine for this part of a seat."""

    seat: Seat


def open_seats(blocks: Iterable[Block], taken: Iterable[Taken]) -> list[Seat]:
    """What is left of each seat, in pieces, by time."""
    gone: dict[tuple[str, int], list[Taken]] = {}
    for each in taken:
        gone.setdefault((each.block_id, each.number), []).append(each)
    return sorted(
        (
            piece
            for block in blocks
            for number in range(block.window.nodes)
            for piece in _pieces(block, number, gone.get((block.id, number), []))
        ),
        key=lambda seat: (seat.start, seat.block_id, seat.number),
    )


def remaining(window: Rectangle, done: Iterable[Rectangle]) -> list[Rectangle]:
    """What is left of the window's nodes, stretch by stretch."""
    parts = list(done)
    moments = {window.start, window.end, *(moment for each in parts for moment in (each.start, each.end))}
    left = [
        Rectangle(
            start=start,
            end=end,
            nodes=window.nodes - sum(each.nodes for each in parts if each.start <= start < each.end),
        )
        for start, end in pairwise(sorted(each for each in moments if window.start <= each <= window.end))
    ]
    return [each for each in left if each.nodes > 0]


def less_promised(seats: Iterable[Seat], promised: Iterable[tuple[str, Rectangle]]) -> list[Seat]:
    """What may be sat on, once so many seats of a kind of machine stay empty in a window for whoever buys them."""
    left = list(seats)
    for sku, window in promised:
        for _ in range(window.nodes):
            _keep_empty(left, sku, window)
    return sorted(left, key=lambda each: (each.start, each.block_id, each.number))


def seat(open_seats: Sequence[Seat], sitters: Iterable[Sitter], now: datetime) -> list[MoveOn | Start]:
    """In the order in which they are to be done."""
    left = list(open_seats)
    decided: list[MoveOn | Start] = []
    waiting = sorted(sitters, key=_turn)
    while waiting:
        sitter = waiting.pop(0)
        following = [each for each in left if _goes_on(sitter, each, now)]
        if not following:
            continue
        chosen = max(following, key=lambda each: (each.end, each.start, each.block_id, -each.number))
        left.remove(chosen)
        decided.append(MoveOn(instance_id=sitter.instance_id, seat=replace(chosen, start=sitter.until)))
        waiting.append(replace(sitter, until=chosen.end))
        waiting.sort(key=_turn)
    return decided + [
        Start(seat=replace(each, start=max(each.start, now)))
        for each in left
        if each.start <= now + BOOT_LEAD and each.end - max(each.start, now) >= SHORTEST_USEFUL
    ]


def _keep_empty(left: list[Seat], sku: str, window: Rectangle) -> None:
    """One node of the window is taken out of what is left, wherever there is one: the longest stretch at a time."""
    moment = window.start
    while moment < window.end:
        there = [each for each in left if each.sku == sku and each.start <= moment < each.end]
        if not there:
            later = [each.start for each in left if each.sku == sku and moment < each.start]
            moment = min(later, default=window.end)
            continue
        chosen = max(there, key=lambda each: (min(each.end, window.end), each.start, each.block_id, each.number))
        until = min(chosen.end, window.end)
        left.remove(chosen)
        around = (replace(chosen, end=moment), replace(chosen, start=until))
        left += [each for each in around if each.start < each.end]
        moment = until


def _turn(sitter: Sitter) -> tuple[datetime, bool, str]:
    return sitter.until, not sitter.busy, sitter.instance_id


def _goes_on(sitter: Sitter, seat: Seat, now: datetime) -> bool:
    """A seat that could be used for a while before this machine comes is for another."""
    had_from = max(seat.start, now)
    return seat.sku == sitter.sku and had_from <= sitter.until < seat.end and sitter.until - had_from < SHORTEST_USEFUL


def _pieces(block: Block, number: int, taken: Iterable[Taken]) -> Iterable[Seat]:
    start = block.window.start
    for each in sorted(taken, key=lambda each: each.start):
        if each.start > start:
            yield _seat(block, number, start, each.start)
        start = max(start, each.end)
    if start < block.window.end:
        yield _seat(block, number, start, block.window.end)


def _seat(block: Block, number: int, start: datetime, end: datetime) -> Seat:
    return Seat(block_id=block.id, number=number, sku=block.sku, start=start, end=end)
