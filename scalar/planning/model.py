"""What a plan is decided from, and the plan: frozen values. A price that says no unit is dollars per node-hour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from scalar.jobs.model import Tier
from scalar.market.model import Rectangle, Seat, Side, Sku


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of machine that the market sells. None: not known (yet)."""

    sku: Sku
    usual_price: Decimal | None = None
    cpus: float | None = None
    """Of the machines of this kind that were seen so far."""
    memory_bytes: int | None = None

    @property
    def gpus(self) -> int:
        return self.sku.gpus_per_node


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a job is worth to whoever pays for it."""

    tier: Tier
    price_limit: Decimal | None = None
    """Dollars per GPU-hour; None: whatever the platform's own limits allow."""
    pressing: bool = False
    """Its deadline is near: it waits for no usual price any more."""


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job that the last scheduling pass left in the queue because there was no room. `gpus`: on each of `nodes`."""

    id: str
    gpus: int
    nodes: int = 1
    gpu_type: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    max_runtime_seconds: int | None = None
    wish: Wish
    start_by: datetime | None = None
    """Until then it may be left to wait for a cheaper hour; None: it may not."""

    @property
    def runtime(self) -> timedelta:
        return timedelta(seconds=self.max_runtime_seconds or 0)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run on a node. `over_by`: when it is over at the latest; None: it never said."""

    job_id: str
    wish: Wish
    over_by: datetime | None = None
    gpus: int = 0
    """That it has on this node."""


@dataclass(frozen=True, kw_only=True)
class FleetNode:
    """A node that has not gone."""

    id: str
    gpu_type: str
    gpus: int
    free_gpus: int
    cpus: float
    free_cpus: float
    memory_bytes: int
    free_memory: int
    takes_work: bool
    heard: bool = True
    """Its agent has called of late."""
    until: datetime | None = None
    """The end of what its machine has; None: it was not bought."""
    idle_since: datetime | None = None
    work: tuple[Work, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A live machine at the market. `node_id`: what it has become, once it has passed the gate.

    `order_id`: the purchase of the seat that it started on.
    """

    id: str
    sku: str
    until: datetime
    node_id: str | None = None
    order_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenOrder:
    """An order that may still fill. Its window has the nodes that are still to come (or to go)."""

    id: str
    side: Side
    sku: str
    window: Rectangle


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Jobs that an order of so many nodes was made for: while its machines are on their way, those are theirs."""

    order_id: str
    nodes: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """GPUs that are reserved."""

    gpu_type: str
    gpus: int
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class Question:
    """What would so many nodes cost, or bring, now?"""

    side: Side
    sku: str
    window: Rectangle


@dataclass(frozen=True, kw_only=True)
class Quote:
    """`price`: None where it would not fill."""

    question: Question
    price: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything that a plan looks at. `queue`: most urgent first.

    `owned`: all seats that are ours. `seats`: those of them that nobody sits on, and no open sale counts on.
    """

    now: datetime
    kinds: tuple[Kind, ...] = ()
    queue: tuple[WaitingJob, ...] = ()
    nodes: tuple[FleetNode, ...] = ()
    machines: tuple[Machine, ...] = ()
    owned: tuple[Seat, ...] = ()
    seats: tuple[Seat, ...] = ()
    orders_of: Mapping[str, str] = field(default_factory=dict)
    """Block id → the order that bought it."""
    open_orders: tuple[OpenOrder, ...] = ()
    claims: tuple[Claim, ...] = ()
    promises: tuple[Promise, ...] = ()
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """`SCALAR_PLAN_*`: see `settings`."""

    fast_buffer_gpus: Mapping[str, int] = field(default_factory=dict)
    block_minutes: int = 60
    order_seconds: int = 15
    boot_minutes: int = 15
    horizon_minutes: int = 10_080
    extend_before_minutes: int = 15
    sell_after_idle_minutes: int = 30
    min_sell_remaining_minutes: int = 30
    bid_up: Decimal = Decimal("1.03")
    sell_down: Decimal = Decimal("0.97")
    flex_price_ratio: Decimal = Decimal(1)
    flex_wait_minutes: int = 1440
    service_level: float = 0.8
    max_nodes: int = 16

    @property
    def block(self) -> timedelta:
        return timedelta(minutes=self.block_minutes)

    @property
    def to_send(self) -> timedelta:
        return timedelta(seconds=self.order_seconds)

    @property
    def boot(self) -> timedelta:
        return timedelta(minutes=self.boot_minutes)

    @property
    def flex_wait(self) -> timedelta:
        return timedelta(minutes=self.flex_wait_minutes)

    @property
    def extend_before(self) -> timedelta:
        return timedelta(minutes=self.extend_before_minutes)


class ActionKind(StrEnum):
    BUY = "buy"
    EXTEND = "extend"
    """Buy the time that follows, for machines that work."""
    SELL = "sell"
    LAPSE = "lapse"
    """Leave idle time to run out: nobody bids for it."""

    @property
    def side(self) -> Side | None:
        return {"buy": Side.BUY, "extend": Side.BUY, "sell": Side.SELL}.get(self.value)


@dataclass(frozen=True, kw_only=True)
class Action:
    kind: ActionKind
    sku: str
    window: Rectangle
    limit_price: Decimal | None
    """None: no order comes of it."""
    whole: bool = False
    """All of its nodes or none."""
    jobs: tuple[str, ...] = ()
    """Those of the queue that it is for."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    """What was wanted and is not done, and why."""


class PlanState(StrEnum):
    """proposed ──► executed | superseded | expired;  a dry run stays `shown`"""

    PROPOSED = "proposed"
    SHOWN = "shown"
    """A dry run: nothing ever comes of it."""
    EXECUTED = "executed"
    SUPERSEDED = "superseded"
    """Another was made since, or one was executed while this one looked."""
    EXPIRED = "expired"
    """Nobody executed it in time."""
