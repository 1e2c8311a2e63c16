"""What a plan buys for the queue and the buffer: lots of nodes of one kind for one window, and the jobs on them."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.market.model import Rectangle, Side, usd
from scalar.planning.model import Action, ActionKind, Kind, Policy, Situation, WaitingJob
from scalar.planning.packing import Room, empty_room, fitting, put, suits
from scalar.planning.prices import Quotes, acceptable, below, bid, soon

_SHOWN = 5
_LONG = 24
"""Beyond so many blocks, lengths are in multiples of so many: fewer questions."""


@dataclass(kw_only=True)
class Lot:
    """`most`: what the jobs on it will pay, at the least."""

    kind: Kind
    end: datetime
    nodes: int = 0
    most: Decimal | None = None
    whole: bool = False
    jobs: list[WaitingJob] = field(default_factory=list)
    idle_gpus: int = 0


_Offer = tuple[Decimal, str, Lot]
"""Dollars per GPU-hour, the alias (for ties), and the lot."""


def length_for(job: WaitingJob, policy: Policy) -> timedelta:
    """Time to boot, to run, and the rest of a block."""
    needed = policy.boot + max(job.runtime, SHORTEST_USEFUL)
    blocks = max(1, -(-needed // policy.block))
    return policy.block * (blocks if blocks <= _LONG else -(-blocks // _LONG) * _LONG)


def too_long(job: WaitingJob, policy: Policy) -> bool:
    return length_for(job, policy) > timedelta(minutes=policy.horizon_minutes)


class Basket:
    def __init__(self, situation: Situation, policy: Policy, machines: int) -> None:
        self._kinds = situation.kinds
        self._policy = policy
        self._quotes = Quotes(situation.quotes)
        self._start = soon(situation.now, policy)
        self._machines = machines
        self._lots: list[Lot] = []
        self._rooms: dict[str, Room] = {}
        self._lot_of: dict[str, Lot] = {}
        self._refused: dict[str, list[str]] = defaultdict(list)

    def add_job(self, job: WaitingJob) -> None:
        """Onto nodes that are in the basket already, or onto more of them."""
        if too_long(job, self._policy):
            hours = self._policy.horizon_minutes // 60
            self._refuse(job, f"may run longer than the {hours} h that nodes are bought for")
            return
        found = fitting(job, self._affordable(job), self._start + self._policy.boot)
        missing = job.nodes - len(found)
        if missing:
            lot = self._cheapest(job, missing)
            if lot is None:
                return
            found += [self._grow(lot) for _ in range(missing)]
        self._put(job, found)

    def add_idle(self, gpu_type: str, gpus: int) -> None:
        """Enough nodes for so many idle GPUs, beyond those that are in the basket already."""
        lacking = gpus - sum(room.free_gpus for room in self._rooms.values() if room.gpu_type == gpu_type)
        if lacking <= 0:
            return
        kinds = [kind for kind in self._kinds if kind.sku.gpu_type == gpu_type]
        end = self._start + self._policy.block
        offers = [
            (price / kind.gpus, kind.sku.alias, nodes, kind)
            for kind in kinds
            if (price := self._price(kind, end, nodes := -(-lacking // kind.gpus))) is not None
        ]
        if not offers:
            self._refused[f"the market has no {gpu_type} for the buffer"].append(f"{lacking} GPU(s)")
            return
        _, _, nodes, kind = min(offers, key=lambda offer: offer[:2])
        if self._over_max(nodes):
            self._refused[self._full()].append(f"the buffer's {lacking} {gpu_type} GPU(s)")
            return
        self._lots.append(Lot(kind=kind, end=end, nodes=nodes, idle_gpus=lacking))

    def actions(self) -> list[Action]:
        return [self._action(lot) for lot in self._lots if lot.nodes]

    def notes(self) -> list[str]:
        return [f"{_some(names)}: {why}." for why, names in self._refused.items()]

    def _affordable(self, job: WaitingJob) -> list[Room]:
        return [
            room
            for room in self._rooms.values()
            if below(self._quoted(lot := self._lot_of[room.id]), acceptable(job.wish, lot.kind, self._policy))
        ]

    def _cheapest(self, job: WaitingJob, missing: int) -> Lot | None:
        """The lot to grow by so many nodes."""
        suited = [kind for kind in self._kinds if suits(job, kind)]
        if not suited:
            self._refuse(job, "no kind of machine on the market could run it")
        elif self._over_max(missing):
            self._refuse(job, self._full())
        else:
            return self._offered(job, missing, suited)
        return None

    def _offered(self, job: WaitingJob, missing: int, suited: list[Kind]) -> Lot | None:
        end = self._start + length_for(job, self._policy)
        offers: list[_Offer] = []
        too_dear: list[_Offer] = []
        for kind in suited:
            price = self._price(kind, end, missing)
            if price is None:
                continue
            lot = self._lot(kind, end)
            most = acceptable(job.wish, kind, self._policy)
            fits = below(price, most) and below(price, lot.most)
            (offers if fits else too_dear).append((price / kind.gpus, kind.sku.alias, lot))
        if offers:
            return min(offers, key=lambda offer: offer[:2])[2]
        self._refuse(job, self._why_not(job, min(too_dear, key=lambda offer: offer[:2]) if too_dear else None))
        return None

    def _why_not(self, job: WaitingJob, nearest: _Offer | None) -> str:
        if nearest is None:
            return "the market has no such nodes for so long now"
        per_gpu, alias, lot = nearest
        most = acceptable(job.wish, lot.kind, self._policy)
        if most is None or below(per_gpu * lot.kind.gpus, most):
            return f"more nodes of {alias} would cost {usd(per_gpu)} per GPU-hour, above what others on them will pay"
        what = "its limit of" if job.wish.price_limit is not None else "the usual"
        return f"{alias} costs {usd(per_gpu)} per GPU-hour, above {what} {usd(most / lot.kind.gpus)}"

    def _lot(self, kind: Kind, end: datetime) -> Lot:
        """Of jobs, not of the buffer: it is not yet in the basket while it has no nodes."""
        for lot in self._lots:
            if lot.kind.sku.id == kind.sku.id and lot.end == end and not lot.idle_gpus:
                return lot
        return Lot(kind=kind, end=end)

    def _grow(self, lot: Lot) -> Room:
        if not lot.nodes:
            self._lots.append(lot)
        room = empty_room(f"{lot.kind.sku.id}/{lot.end.isoformat()}/{lot.nodes:04}", lot.kind, lot.end)
        lot.nodes += 1
        self._rooms[room.id], self._lot_of[room.id] = room, lot
        return room

    def _put(self, job: WaitingJob, rooms: list[Room]) -> None:
        for room in rooms:
            self._rooms[room.id] = put(job, room)
            lot = self._lot_of[room.id]
            most = acceptable(job.wish, lot.kind, self._policy)
            lot.most = min((each for each in (lot.most, most) if each is not None), default=None)
            lot.whole = lot.whole or job.nodes > 1
            if job not in lot.jobs:
                lot.jobs.append(job)

    def _price(self, kind: Kind, end: datetime, more: int) -> Decimal | None:
        """Of so many nodes on top of those that the basket has of this kind for this window."""
        there = sum(lot.nodes for lot in self._lots if lot.kind.sku.id == kind.sku.id and lot.end == end)
        window = Rectangle(start=self._start, end=end, nodes=there + more)
        return self._quotes.price(Side.BUY, kind.sku.id, window)

    def _quoted(self, lot: Lot) -> Decimal:
        price = self._price(lot.kind, lot.end, 0)
        assert price is not None  # noqa: S101 - it is in the basket because it had one
        return price

    def _over_max(self, more: int) -> bool:
        return self._machines + sum(lot.nodes for lot in self._lots) + more > self._policy.max_nodes

    def _full(self) -> str:
        return f"{self._policy.max_nodes} nodes at one time are the most that the policy allows"

    def _refuse(self, job: WaitingJob, why: str) -> None:
        self._refused[why].append(job.id)

    def _action(self, lot: Lot) -> Action:
        quoted = self._quoted(lot)
        hours = (lot.end - self._start) / timedelta(hours=1)
        usual = f", usually {usd(lot.kind.usual_price)}" if lot.kind.usual_price is not None else ""
        return Action(
            kind=ActionKind.BUY,
            sku=lot.kind.sku.id,
            window=Rectangle(start=self._start, end=lot.end, nodes=lot.nodes),
            limit_price=bid(quoted, lot.most, self._policy),
            whole=lot.whole,
            jobs=tuple(job.id for job in lot.jobs),
            reason=f"{_why(lot)}: {lot.nodes} node(s) of {lot.kind.sku.alias} for {hours:g} h"
            f" at {usd(quoted)} per node-hour{usual}.",
        )


def _why(lot: Lot) -> str:
    if lot.idle_gpus:
        return f"The buffer lacks {lot.idle_gpus} {lot.kind.sku.gpu_type} GPU(s)"
    gpus = sum(job.gpus * job.nodes for job in lot.jobs)
    return f"{len(lot.jobs)} queued job(s) want {gpus} GPU(s) ({_some([job.id for job in lot.jobs])})"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
