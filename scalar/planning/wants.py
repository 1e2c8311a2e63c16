"""What is wanted, whatever it costs, and what is not: pure.

1. Queued jobs for which there is no room, now or on its way.
2. A buffer of idle GPUs of some types, that last a while.
3. More time for nodes that work, or that the buffer needs, and whose time is nearly up.
4. Nodes that have been idle for long are spare: not needed by the queue, the buffer, a reservation, or a sale that is
   open already.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scalar.jobs.model import Tier
from scalar.market.model import Rectangle, Side
from scalar.market.selling import fewest_at_once
from scalar.planning.model import FleetNode, Policy, Situation, WaitingJob, Wish
from scalar.planning.packing import Room, pack
from scalar.planning.supply import Supply, supply


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A node that is to go on beyond `end`, and for whom."""

    node_id: str
    sku: str
    end: datetime
    wishes: tuple[Wish, ...]


@dataclass(frozen=True, kw_only=True)
class Spare:
    node_id: str
    sku: str
    until: datetime
    idle_since: datetime


@dataclass(frozen=True, kw_only=True)
class Wants:
    jobs: tuple[WaitingJob, ...]
    endings: tuple[Ending, ...]
    short_gpus: Mapping[str, int]
    """By type: what the buffer lacks, beyond `endings`."""
    spare: tuple[Spare, ...]
    machines: int
    nearly_up: Mapping[tuple[str, datetime], int] = field(default_factory=dict)
    """Nodes whose time is nearly up, needed or not: by kind of machine, and end."""


FOR_THE_BUFFER = Wish(tier=Tier.FAST)


def wanted(situation: Situation, policy: Policy) -> Wants:
    there = supply(situation)
    standing, coming = dict(there.standing), dict(there.coming)
    jobs = _without_room(situation, standing, coming)
    rooms = {**standing, **coming}
    busy = _busy_endings(situation, policy, there)
    lasting = _lasting(rooms.values(), {each.node_id for each in busy}, situation.now + policy.extend_before)
    short = {name: gpus - _idle(lasting, name) for name, gpus in policy.fast_buffer_gpus.items()}
    kept, short = _kept_on(situation, policy, there, short)
    return Wants(
        jobs=tuple(jobs),
        endings=(*busy, *kept),
        short_gpus={name: gpus for name, gpus in sorted(short.items()) if gpus > 0},
        spare=tuple(_spare(situation, policy, there, rooms)),
        machines=there.machines,
        nearly_up=Counter(
            (there.sku[node.id], end)
            for node in situation.nodes
            if (end := _nearly_up(node, situation.now, policy, there)) is not None
        ),
    )


def needs(wants: Wants) -> tuple[str, ...]:
    """In words; empty: nothing is to be bought."""
    said = []
    if wants.jobs:
        said.append(f"{len(wants.jobs)} queued job(s) have no room")
    said += [f"the buffer lacks {gpus} {name} GPU(s)" for name, gpus in wants.short_gpus.items()]
    if wants.endings:
        said.append(f"the time of {len(wants.endings)} node(s) that are needed is nearly up")
    return tuple(said)


def _without_room(situation: Situation, standing: dict[str, Room], coming: dict[str, Room]) -> list[WaitingJob]:
    """What is on its way is first of all for the jobs that it was bought for, whoever stands before them in the queue.

    Otherwise each job ahead that nobody would buy for would have one more node bought for the others.
    """
    claimed, lacking = _claimed(situation, coming)
    left = pack((job for job in situation.queue if job.id not in claimed), standing, situation.now)
    wanting = {job.id for job in [*left, *lacking]}
    return pack((job for job in situation.queue if job.id in wanting), coming, situation.now)


def _claimed(situation: Situation, coming: dict[str, Room]) -> tuple[set[str], list[WaitingJob]]:
    """The jobs that something on its way was bought for, put there; and those of them for whom too little came."""
    claimed: set[str] = set()
    lacking: list[WaitingJob] = []
    for claim in situation.claims:
        own = {room.id: room for room in coming.values() if room.order_id == claim.order_id}
        jobs = [job for job in situation.queue if own and job.id in claim.jobs and job.id not in claimed]
        left = pack(jobs, own, situation.now)
        coming.update(own)
        claimed.update(job.id for job in jobs)
        lacking += left if len(own) < claim.nodes else []
    return claimed, lacking


def _busy_endings(situation: Situation, policy: Policy, there: Supply) -> list[Ending]:
    found = []
    for node in situation.nodes:
        end = _nearly_up(node, situation.now, policy, there)
        going_on = [work for work in node.work if end and (work.over_by is None or work.over_by > end)]
        if end is not None and going_on:
            wishes = tuple(work.wish for work in going_on)
            found.append(Ending(node_id=node.id, sku=there.sku[node.id], end=end, wishes=wishes))
    return sorted(found, key=lambda each: (each.end, each.sku, each.node_id))


def _nearly_up(node: FleetNode, now: datetime, policy: Policy, there: Supply) -> datetime | None:
    end = there.until.get(node.id)
    # A machine that nobody hears may be dead: it gets no more time.
    return end if end is not None and node.heard and now < end <= now + policy.extend_before else None


def _lasting(rooms: Iterable[Room], to_be_extended: set[str], until: datetime) -> list[Room]:
    return [room for room in rooms if room.until is None or room.until > until or room.id in to_be_extended]


def _idle(rooms: Iterable[Room], gpu_type: str) -> int:
    return sum(room.free_gpus for room in rooms if room.gpu_type == gpu_type)


def _kept_on(
    situation: Situation, policy: Policy, there: Supply, short: Mapping[str, int]
) -> tuple[list[Ending], dict[str, int]]:
    """Idle nodes that the buffer can't do without go on, before others are bought for it."""
    left, kept = dict(short), []
    for node in situation.nodes:
        end = _nearly_up(node, situation.now, policy, there)
        if end is None or node.work or not node.takes_work or left.get(node.gpu_type, 0) <= 0:
            continue
        kept.append(Ending(node_id=node.id, sku=there.sku[node.id], end=end, wishes=(FOR_THE_BUFFER,)))
        left[node.gpu_type] -= node.free_gpus
    return kept, left


def _spare(situation: Situation, policy: Policy, there: Supply, rooms: Mapping[str, Room]) -> list[Spare]:
    """Those whose time is up first go first: what is kept is what lasts."""
    idle: dict[str, int] = {}
    for node in situation.nodes:
        if node.takes_work:
            idle[node.gpu_type] = idle.get(node.gpu_type, 0) + rooms[node.id].free_gpus
    found: list[Spare] = []
    for node in sorted(situation.nodes, key=lambda each: (there.until.get(each.id, situation.now), each.id)):
        each = _long_idle(node, situation.now, policy, there)
        if each is None or rooms[node.id].free_gpus < node.gpus:
            continue
        kept = policy.fast_buffer_gpus.get(node.gpu_type, 0) + _promised(situation, node.gpu_type, each.until)
        unsold = _unsold(situation, each) - sum(other.sku == each.sku for other in found)
        if idle[node.gpu_type] - node.gpus >= kept and unsold > 0:
            idle[node.gpu_type] -= node.gpus
            found.append(each)
    return found


def _long_idle(node: FleetNode, now: datetime, policy: Policy, there: Supply) -> Spare | None:
    until = node.until
    if until is None or node.id not in there.sku or node.idle_since is None or node.work or not node.takes_work:
        return None
    long = now - node.idle_since >= timedelta(minutes=policy.sell_after_idle_minutes)
    worth = until - now >= timedelta(minutes=policy.min_sell_remaining_minutes)
    if not (long and worth):
        return None
    return Spare(node_id=node.id, sku=there.sku[node.id], until=until, idle_since=node.idle_since)


def _promised(situation: Situation, gpu_type: str, until: datetime) -> int:
    """GPUs that are reserved at any time until then."""
    promises = [each for each in situation.promises if each.gpu_type == gpu_type]
    return sum(each.gpus for each in promises if each.start < until and each.end > situation.now)


def _unsold(situation: Situation, spare: Spare) -> int:
    """Nodes of its kind that are ours as long as it is, beyond those that open sales may take.

    The rule of `scalar.market.selling`: a sale of what stands empty keeps no node free, and counts all the same.
    """
    ours = [each for each in situation.owned if each.sku == spare.sku]
    for_sale = sum(
        each.window.nodes
        for each in situation.open_orders
        if each.side is Side.SELL and each.sku == spare.sku and each.window.start < spare.until
    )
    return fewest_at_once(ours, Rectangle(start=situation.now, end=spare.until, nodes=1)) - for_sale
