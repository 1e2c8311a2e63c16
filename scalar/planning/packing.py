"""Which waiting jobs fit into which room: pure, and by the rules of the scheduling pass.

Best fit by GPUs, each node of a gang in a room of its own, and nothing where the room's time is up before the job's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.planning.model import Kind, WaitingJob


@dataclass(frozen=True, kw_only=True)
class Room:
    """A node, or one that is on its way, and what it has to give. `until`: None, it stays."""

    id: str
    gpu_type: str
    gpus: int
    free_gpus: int
    cpus: float
    free_cpus: float
    memory: int
    free_memory: int
    until: datetime | None
    order_id: str | None = None
    """Of one that is on its way: what bought it."""


_PLENTY = 10**15
"""Of what nobody has seen yet."""


def empty_room(id: str, kind: Kind, until: datetime | None) -> Room:
    """A machine of this kind with nothing on it."""
    cpus, memory = kind.cpus or float(_PLENTY), kind.memory_bytes or _PLENTY
    return Room(
        id=id,
        gpu_type=kind.sku.gpu_type,
        gpus=kind.gpus,
        free_gpus=kind.gpus,
        cpus=cpus,
        free_cpus=cpus,
        memory=memory,
        free_memory=memory,
        until=until,
    )


def suits(job: WaitingJob, kind: Kind) -> bool:
    """Could a machine of this kind run one share of it, if it had nothing else to do?"""
    return _fits(job, empty_room("", kind, None))


def fitting(job: WaitingJob, rooms: Iterable[Room], now: datetime) -> list[Room]:
    """Rooms that could take one share now, fullest first: at most as many as the job has nodes."""
    lasting = [room for room in rooms if _fits(job, room) and _lasts(job, room, now)]
    return sorted(lasting, key=lambda room: (room.free_gpus, room.free_cpus, room.id))[: job.nodes]


def put(job: WaitingJob, room: Room) -> Room:
    """What the room has left with one share in it."""
    cpus, memory = _share(job, room)
    return replace(
        room,
        free_gpus=room.free_gpus - job.gpus,
        free_cpus=room.free_cpus - cpus,
        free_memory=room.free_memory - memory,
    )


def pack(jobs: Iterable[WaitingJob], rooms: dict[str, Room], now: datetime) -> list[WaitingJob]:
    """Put each job where it fits, in their order; those that don't. `rooms` is what is left then."""
    left = []
    for job in jobs:
        found = fitting(job, rooms.values(), now)
        if len(found) < job.nodes:
            left.append(job)
            continue
        for room in found:
            rooms[room.id] = put(job, room)
    return left


def _fits(job: WaitingJob, room: Room) -> bool:
    if job.gpu_type not in (None, room.gpu_type) or job.gpus > room.free_gpus:
        return False
    cpus, memory = _share(job, room)
    # The shares of a full node add up to the whole only within rounding.
    return cpus <= room.free_cpus + 1e-6 and memory <= room.free_memory + room.gpus


def _lasts(job: WaitingJob, room: Room, now: datetime) -> bool:
    return room.until is None or now + max(job.runtime, SHORTEST_USEFUL) <= room.until


def _share(job: WaitingJob, room: Room) -> tuple[float, int]:
    """CPUs and memory: as asked, or in proportion to the GPUs."""
    part = job.gpus / room.gpus if room.gpus else 1.0
    return job.cpus or room.cpus * part, job.memory_bytes or int(room.memory * part)
