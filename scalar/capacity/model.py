"""Nodes, reservations, and what a scheduling pass decides: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scalar.protocol import RuntimeKind

SILENT_AFTER = timedelta(seconds=90)
"""A node calls at least every 25 s; three calls missed, and nothing new is placed on it."""


class NodeState(StrEnum):
    """checking ──► ready ──► draining ──► ready
    └──────────┴──────────┴──► gone
    """

    CHECKING = "checking"
    """It was bought and has joined; it takes work once it has shown that it is what was bought, and listens."""
    READY = "ready"
    DRAINING = "draining"
    """Finishes what it runs; gets nothing new."""
    GONE = "gone"
    """It will not come back under this id: what it ran has been ended, and its credential revoked."""


@dataclass(frozen=True, kw_only=True)
class Node:
    id: str
    name: str
    state: NodeState
    gpus: int
    gpu_type: str
    gpu_memory_bytes: int | None
    cpus: float
    memory_bytes: int
    runtime: RuntimeKind
    agent_version: str
    address: str | None
    joined_at: datetime
    last_seen_at: datetime
    available_until: datetime | None
    """The end of the block that it was bought with."""

    def silent(self, now: datetime) -> bool:
        return now - self.last_seen_at > SILENT_AFTER


@dataclass(frozen=True, kw_only=True)
class FreeNode:
    """What a node has to give at the moment of a pass."""

    id: str
    gpu_type: str
    gpus_total: int
    free_gpus: tuple[int, ...]
    """Indices, ascending."""
    cpus_total: float
    free_cpus: float
    memory_total: int
    free_memory: int
    available_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """One node's part of a placement."""

    node_id: str
    gpus: tuple[int, ...]
    cpus: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Placement:
    job_id: str
    shares: tuple[Share, ...]
    """By rank: one a node."""


class Obstacle(StrEnum):
    """Why a pass left a job in the queue."""

    NO_NODES = "no_nodes"
    """No node takes work at all."""
    NO_SUCH_NODE = "no_such_node"
    """No node of the fleet is large enough, or of that GPU type, even when idle."""
    BUSY = "busy"
    """Nodes that could run it are taken."""
    QUOTA = "quota"
    """Its organisation uses all the GPUs that it may."""
    BLOCK_ENDS = "block_ends"
    """It might outlast every node that is free."""
    RESERVED = "reserved"
    """What is free is kept for a reservation that begins, or goes on, while it may run."""
    CREDIT = "credit"
    """A flex job of an organisation that has nothing left: it is not even looked at."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    job_id: str
    obstacle: Obstacle
    ahead: int = 0
    """Jobs before it in the queue that wait too."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    placements: tuple[Placement, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """GPUs of one type that are kept for an organisation from `start` until before `end`."""

    id: str
    organisation_id: str
    gpu_type: str
    gpus: int
    start: datetime
    end: datetime
    created_at: datetime
    released_at: datetime | None

    def holds_at(self, moment: datetime) -> bool:
        return self.released_at is None and self.start <= moment < self.end


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What reservations need at one moment, of the GPUs of a type that last until another: see `holds`."""

    gpu_type: str
    at: datetime
    through: datetime
    idle: int
    """GPUs that are owned from `at` through `through`, and that nobody uses any more at `at`."""
    unmet: Mapping[str, int]
    """By organisation: GPUs that it has reserved at `at` and doesn't use there already."""

    @property
    def spare(self) -> int:
        """What others may take; negative where less is there than was promised."""
        return self.idle - sum(self.unmet.values())
