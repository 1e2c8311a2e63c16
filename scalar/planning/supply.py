"""What there is, and what is on its way: pure.

An open purchase counts as if it had filled, and an open seat as if its machine were there: a machine whose time is up
moves on to what was bought for it, exactly as `scalar.market.seating` will have it; the rest are machines to come. So
what has been ordered is not ordered again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scalar.market.model import Seat, Side
from scalar.market.seating import MoveOn, Sitter, seat
from scalar.planning.model import FleetNode, Situation
from scalar.planning.packing import Room, empty_room


@dataclass(frozen=True, kw_only=True)
class Supply:
    standing: dict[str, Room]
    """Nodes that take work, by id."""
    coming: dict[str, Room]
    """Machines on their way, empty."""
    until: Mapping[str, datetime]
    """Node id → the end of all the time that was bought, or ordered, for its machine."""
    sku: Mapping[str, str]
    """Node id → the kind of machine that it was bought as."""
    machines: int
    """Live, to be started, and ordered."""


def supply(situation: Situation) -> Supply:
    ends, starting = _moved_on(situation)
    kinds = {kind.sku.id: kind for kind in situation.kinds}
    nodes = {node.id for node in situation.nodes}
    coming = [
        replace(empty_room(each.id, kinds[each.sku], ends[each.id]), order_id=each.order_id)
        for each in situation.machines
        if each.node_id not in nodes and each.sku in kinds
    ]
    coming += [
        replace(
            empty_room(f"{each.block_id}/{each.number}", kinds[each.sku], each.end),
            order_id=situation.orders_of.get(each.block_id, each.block_id),
        )
        for each in starting
        if each.sku in kinds
    ]
    until = {each.node_id: ends[each.id] for each in situation.machines if each.node_id is not None}
    standing = [_room(node, until.get(node.id, node.until)) for node in situation.nodes if node.takes_work]
    return Supply(
        standing={room.id: room for room in standing},
        coming={room.id: room for room in coming},
        until=until,
        sku={each.node_id: each.sku for each in situation.machines if each.node_id is not None},
        machines=len(situation.machines) + len(starting),
    )


def _moved_on(situation: Situation) -> tuple[dict[str, datetime], list[Seat]]:
    """When each machine's time is up, and the seats that get a new machine."""
    seats = [*situation.seats, *_ordered(situation)]
    busy = {node.id for node in situation.nodes if node.free_gpus < node.gpus}
    sitters = [
        Sitter(instance_id=each.id, sku=each.sku, until=each.until, busy=each.node_id in busy)
        for each in situation.machines
    ]
    ends = {each.id: each.until for each in situation.machines}
    starting = []
    for decision in seat(seats, sitters, situation.now):
        if isinstance(decision, MoveOn):
            ends[decision.instance_id] = decision.seat.end
        else:
            starting.append(decision.seat)
    return ends, starting


def _ordered(situation: Situation) -> list[Seat]:
    return [
        # Until it has filled, the order stands for its block.
        Seat(block_id=each.id, number=number, sku=each.sku, start=each.window.start, end=each.window.end)
        for each in situation.open_orders
        if each.side is Side.BUY
        for number in range(each.window.nodes)
    ]


def _room(node: FleetNode, until: datetime | None) -> Room:
    return Room(
        id=node.id,
        gpu_type=node.gpu_type,
        gpus=node.gpus,
        free_gpus=node.free_gpus,
        cpus=node.cpus,
        free_cpus=node.free_cpus,
        memory=node.memory_bytes,
        free_memory=node.free_memory,
        until=until,
    )
