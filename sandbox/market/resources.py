"""What customers make, beside orders and node time: frozen values, each on a shelf of its own.

Times are epoch seconds of the market's clock. Ids have the market's prefixes.
"""

import secrets
import string
from dataclasses import dataclass, field
from typing import Literal

from sandbox.market.values import Order, Transaction

_ALPHABET = string.ascii_letters + string.digits
PRIORITIES = ("yield", "normal", "preferred", "critical")
Priority = Literal["yield", "normal", "preferred", "critical"]
InstanceState = Literal["awaiting_allocation", "running", "terminated", "failed"]

PUBLIC_OWNER = "sfcompute"
PUBLIC_WORKSPACE = "wksp_public"


def new_id(prefix: str) -> str:
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(20))


@dataclass(frozen=True, kw_only=True)
class Customer:
    """An organisation with money on the market."""

    id: str
    name: str
    created_at: int


@dataclass(frozen=True, kw_only=True)
class Token:
    """`id` is the SHA-256 of the secret, which is kept nowhere here."""

    id: str
    token_id: str
    customer: str
    name: str
    created_at: int
    expires_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Workspace:
    id: str
    customer: str
    name: str
    created_at: int


@dataclass(frozen=True, kw_only=True)
class PoolRecord:
    """Its node time is the engine's; `kind` is `market` for every customer's pool."""

    id: str
    customer: str
    workspace: str
    name: str
    created_at: int
    tags: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class OrderRecord:
    """An order as it was posted. The engine knows it from `submitted` on.

    `limit` is in µ$ per node-minute. `asked_nodes` and `asked_end` are what the customer asked for; the engine is
    given `nodes` and `end`, which are less where a fault makes the fill partial. `final` is what the engine last said
    of an order that it has since forgotten.
    """

    id: str
    seq: int
    customer: str
    pool: str
    side: Literal["buy", "sell"]
    sku: str
    start: int
    end: int
    nodes: int
    asked_end: int
    asked_nodes: int
    limit: int
    allow_standing: bool
    allow_partial: bool
    created_at: int
    created_by: str | None = None
    created_by_name: str | None = None
    procurement: str | None = None
    state: Literal["pending", "submitted", "rejected", "cancelled"] = "pending"
    due: float = 0.0
    cancel_due: float | None = None
    cancelled_at: int | None = None
    final: Order | None = None

    @property
    def cut(self) -> bool:
        return (self.asked_end, self.asked_nodes) != (self.end, self.nodes)


@dataclass(frozen=True, kw_only=True)
class Image:
    id: str
    workspace: str
    owner: str
    workspace_name: str
    name: str
    created_at: int
    public: bool = False
    status: Literal["started", "uploading", "completed", "failed", "revoked"] = "started"
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine. `allocated_at`: since when node time of its pool is its own; `boot_due`: when it will be running.

    `silent`: it runs, and its agent never says a word.
    """

    id: str
    customer: str
    pool: str
    workspace: str
    sku: str
    image: str
    name: str
    created_at: float
    updated_at: float
    status: InstanceState = "awaiting_allocation"
    priority: Priority = "normal"
    user_data: str | None = field(default=None, repr=False)
    tags: dict[str, str] | None = None
    allocated_at: float | None = None
    boot_due: float | None = None
    running_at: float | None = None
    silent: bool = False
    stuck: bool = False

    @property
    def live(self) -> bool:
        return self.status in {"awaiting_allocation", "running"}

    @property
    def holds_node(self) -> bool:
        return self.live and self.allocated_at is not None


@dataclass(frozen=True, kw_only=True)
class Procurement:
    """`target` is a node count, or None for as many as the pool has instances. Prices in µ$ per node-minute."""

    id: str
    customer: str
    pool: str
    workspace: str
    name: str
    sku: str
    target: int | None
    min_sell: int
    max_buy: int
    window_minutes: int
    enabled: bool
    created_at: int
    updated_at: int
    state: Literal["info", "warning", "error"] = "info"
    message: str = "waiting for the next pass"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    id: str
    customer: str
    from_pool: str
    to_pool: str
    sku: str
    steps: tuple[tuple[int, int, int], ...]
    status: Literal["pending", "executed", "rejected"]
    created_at: int
    rejected_reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a request with an Idempotency-Key made. `id` is customer, operation and key; `digest` that of its body."""

    id: str
    digest: str
    made: str
    at: int


@dataclass(frozen=True, kw_only=True)
class Quoting:
    """What the traders of one SKU do, and how far they are. `id` is the SKU's.

    `price_factor` moves their idea of a fair price; `supply` and `demand` multiply the nodes they offer and bid for.
    """

    id: str
    enabled: bool = True
    price_factor: float = 1.0
    supply: float = 1.0
    demand: float = 1.0
    quoted_hour: int = -1
    made: int = 0
    standing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Archived:
    """A customer's transaction that the engine has forgotten."""

    id: str
    row: Transaction
