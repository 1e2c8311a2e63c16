"""What must stay free for reservations: pure.

    holds(outlook) ─► holds ─► Promises: may this job run there, and what is left once it does

1. A reservation R needs its GPUs at each moment of its time, and keeps what it takes through its end. So what counts
   for it at a moment is the GPUs of its type that are owned from then through R's end, and that no run may still use
   then. A run may use its GPUs until its longest runtime is over, or until its node ends if it named none.
2. **The rule**: at R's start (or now, once it has begun), and whenever another reservation begins in R's time, those
   GPUs are at least as many as all the reservations of that moment still wait for. An organisation that uses GPUs
   that count for R waits for that many fewer: each end of such a run gives back what it covered.
3. A reservation is accepted only if the rule holds with it; a job is placed only if the rule holds after it. Between
   these, time passes, runs end and machines come, and none of that breaks it. Only a machine that is lost, drained or
   sold does: then the reservations share what is left, and others take nothing of it.

Why it suffices: at R's start at most as many GPUs are taken by other reservations as they asked for. Whichever these
took, R finds its own among the rest, and they last. That counts every reservation as if it took the GPUs that last
longest, so it may refuse one that a puzzle over all of them would fit in; it never breaks one that was accepted.

It counts GPUs of a type, not whole nodes, CPUs or memory.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from scalar.capacity.model import FreeNode, Hold, Reservation
from scalar.jobs.model import Job

FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Supply:
    """The GPUs of one machine for as long as it is ours: a node, or one that was bought and hasn't joined yet."""

    gpu_type: str
    gpus: int
    start: datetime
    end: datetime = FOREVER
    sku: str | None = None
    """The market's kind of machine; None for one of our own."""
    node_id: str | None = None
    usable: bool = True
    """False: it drains, is silent, or isn't what was bought. What it runs goes on."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """GPUs of a node that a run has, and when it is over at the latest."""

    node_id: str
    organisation_id: str
    gpus: int
    until: datetime = FOREVER


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is known at `now` of the time from then on."""

    now: datetime
    supplies: Sequence[Supply]
    uses: Sequence[Use]
    """Of nodes among the supplies."""
    reservations: Sequence[Reservation]


def joined_up(supplies: Iterable[Supply]) -> list[Supply]:
    """One supply for a machine and all the seats that it will go on with.

    An order may be filled in stretches, by one seller until noon and by another from then on. A machine of the first
    moves on to the second (`scalar.market.seating`), so to a reservation across noon they are one. Of several machines
    that could go on it is taken to be the one that comes last: if it is another, that only lasts longer.
    """
    found: list[Supply] = []
    by_end: dict[tuple[str, datetime], list[int]] = {}
    for each in sorted(supplies, key=lambda each: (each.start, each.end)):
        before = by_end.get((each.sku, each.start)) if each.sku is not None and each.node_id is None else None
        if before:
            index = before.pop()
            found[index] = replace(found[index], end=each.end)
        else:
            index = len(found)
            found.append(each)
        if each.sku is not None and found[index].usable:
            by_end.setdefault((each.sku, each.end), []).append(index)
    return found


def holds(outlook: Outlook) -> tuple[Hold, ...]:
    """Every moment at which the rule might break, for each reservation; those that wait for nothing are left out."""
    standing = [each for each in outlook.reservations if each.released_at is None and each.end > outlook.now]
    found: list[Hold] = []
    for gpu_type in sorted({each.gpu_type for each in standing}):
        of_type = [each for each in standing if each.gpu_type == gpu_type]
        stock = _Stock.of(outlook, gpu_type)
        found += [_hold(stock, of_type, at, through) for at, through in _moments(of_type, outlook.now)]
    return tuple(hold for hold in found if hold.unmet)


def _moments(reservations: Sequence[Reservation], now: datetime) -> list[tuple[datetime, datetime]]:
    """(a reservation's start, or another's within it; the reservation's end)."""
    starts = sorted({max(each.start, now) for each in reservations})
    return sorted({(at, each.end) for each in reservations for at in starts if max(each.start, now) <= at < each.end})


@dataclass(frozen=True)
class _Stock:
    """Equal machines and equal uses together: there are few kinds, however large the fleet."""

    gpu_type: str
    gpus: Counter[tuple[datetime, datetime]] = field(default_factory=Counter)
    """By the start and the end of their machines."""
    used: Counter[tuple[datetime, datetime, str]] = field(default_factory=Counter)
    """By the end of their machines, the end of the use, and the organisation."""

    @classmethod
    def of(cls, outlook: Outlook, gpu_type: str) -> "_Stock":
        stock = cls(gpu_type)
        usable = [each for each in outlook.supplies if each.usable and each.gpu_type == gpu_type]
        ends = {each.node_id: each.end for each in usable if each.node_id}
        for supply in usable:
            stock.gpus[supply.start, supply.end] += supply.gpus
        for use in outlook.uses:
            if use.node_id in ends:
                stock.used[ends[use.node_id], use.until, use.organisation_id] += use.gpus
        return stock


def _hold(stock: _Stock, reservations: Sequence[Reservation], at: datetime, through: datetime) -> Hold:
    owned = sum(gpus for (start, end), gpus in stock.gpus.items() if start <= at and end >= through)
    covered = Counter[str]()
    for (end, until, organisation), gpus in stock.used.items():
        if end >= through and until > at:
            covered[organisation] += gpus
    wanted = Counter[str]()
    for each in reservations:
        if each.holds_at(at):
            wanted[each.organisation_id] += each.gpus
    return Hold(
        gpu_type=stock.gpu_type, at=at, through=through, idle=owned - covered.total(), unmet=dict(wanted - covered)
    )


class Promises:
    """The holds, as jobs are placed one after the other."""

    def __init__(self, holds: Iterable[Hold], now: datetime) -> None:
        self._now = now
        self._tallies: dict[str, list[_Tally]] = {}
        for hold in holds:
            tally = _Tally(hold.at, hold.through, hold.spare, dict(hold.unmet))
            self._tallies.setdefault(hold.gpu_type, []).append(tally)

    def allow(self, job: Job, nodes: Sequence[FreeNode]) -> bool:
        """May it run on all of these, with its GPUs on each?"""
        return all(tally.allows(job.organisation_id, gpus) for tally, gpus in self._touched(job, nodes))

    def take(self, job: Job, nodes: Sequence[FreeNode]) -> None:
        for tally, gpus in self._touched(job, nodes):
            tally.take(job.organisation_id, gpus)

    def _touched(self, job: Job, nodes: Sequence[FreeNode]) -> Iterable[tuple["_Tally", int]]:
        """The holds that it takes GPUs from, and how many."""
        if not self._tallies:
            return
        longest = job.spec.max_runtime_seconds
        over = FOREVER if longest is None else self._now + timedelta(seconds=longest)
        ends: dict[str, list[datetime]] = {}
        for node in nodes:
            ends.setdefault(node.gpu_type, []).append(node.available_until or FOREVER)
        for gpu_type, each in ends.items():
            each.sort()
            for tally in self._tallies.get(gpu_type, ()):
                if tally.at < over and (lasting := len(each) - bisect_left(each, tally.through)):
                    yield tally, lasting * job.spec.requirements.gpus


@dataclass(slots=True)
class _Tally:
    at: datetime
    through: datetime
    spare: int
    unmet: dict[str, int]

    def allows(self, organisation: str, gpus: int) -> bool:
        beyond = gpus - self.unmet.get(organisation, 0)
        return beyond <= 0 or beyond <= self.spare

    def take(self, organisation: str, gpus: int) -> None:
        own = min(gpus, self.unmet.get(organisation, 0))
        if own:
            self.unmet[organisation] -= own
        self.spare -= gpus - own


def short_of(holds: Iterable[Hold], wanted: Reservation) -> int:
    """GPUs that are too few for a reservation that is among those that the holds were made for; 0: the rule holds."""
    concerned = (hold for hold in holds if hold.gpu_type == wanted.gpu_type and wanted.holds_at(hold.at))
    return max(0, *(-hold.spare for hold in concerned), 0)
