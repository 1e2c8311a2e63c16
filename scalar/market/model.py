"""Orders, blocks, seats and instances: frozen values. Prices are dollars per node-hour, exact decimals."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

MINUTE = timedelta(minutes=1)
TICK = Decimal("0.000060")
"""The market's smallest step of a price: a millionth of a dollar per node-minute."""
_MICRO_DOLLAR = Decimal("0.000001")


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """`nodes` nodes from `start` until before `end`."""

    start: datetime
    end: datetime
    nodes: int

    @property
    def node_minutes(self) -> int:
        """Windows at the market begin and end on whole minutes."""
        return self.nodes * ((self.end - self.start) // MINUTE)

    @property
    def node_hours(self) -> Decimal:
        return Decimal(self.node_minutes) / 60

    def cost_at(self, price: Decimal) -> Decimal:
        """Dollars at so much per node-hour: exact, since a price on the market's tick is whole per minute."""
        return (price * self.node_minutes / 60).quantize(_MICRO_DOLLAR, ROUND_HALF_EVEN)


class OrderState(StrEnum):
    """proposed ──► intended ──► pending ──► standing ──► partially_filled ──► filled
    │            │           ├────────────┴───────────────┴──► cancelled (what has filled stays)
    │            │           ├──► filled | partially_filled
    │            ├───────────┴────────────┴───────────────┴──► rejected
    └────────────┴──► withdrawn
    (withdrawn, rejected ──► pending: we had given it up, and then the market's answer came after all)
    """

    PROPOSED = "proposed"
    """Waits for an operator's approval."""
    INTENDED = "intended"
    """To be sent; it may have been."""
    PENDING = "pending"
    """The market has it."""
    STANDING = "standing"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    REJECTED = "rejected"
    """The market would not have it."""
    CANCELLED = "cancelled"
    """By us or by the market: nothing more of it fills."""
    WITHDRAWN = "withdrawn"
    """Never sent: not approved in time, called back, or too old by the time that it could be."""

    @property
    def ended(self) -> bool:
        return self in ENDED_ORDER_STATES

    @property
    def at_market(self) -> bool:
        return self in AT_MARKET


_O = OrderState
ENDED_ORDER_STATES = frozenset({_O.FILLED, _O.REJECTED, _O.CANCELLED, _O.WITHDRAWN})
AT_MARKET = frozenset({_O.PENDING, _O.STANDING, _O.PARTIALLY_FILLED})

ORDER_MOVES: frozenset[tuple[OrderState, OrderState]] = frozenset(
    {
        (_O.PROPOSED, _O.INTENDED),
        (_O.PROPOSED, _O.WITHDRAWN),
        (_O.INTENDED, _O.WITHDRAWN),
        (_O.INTENDED, _O.PENDING),
        (_O.INTENDED, _O.REJECTED),
        (_O.PENDING, _O.STANDING),
        (_O.STANDING, _O.PARTIALLY_FILLED),
        (_O.PENDING, _O.PARTIALLY_FILLED),
        (_O.WITHDRAWN, _O.PENDING),
        (_O.REJECTED, _O.PENDING),
    }
    | {(now, then) for now in AT_MARKET for then in (_O.FILLED, _O.CANCELLED, _O.REJECTED)}
)
"""Every legal move of an order; the table `order_moves` holds the same, and a trigger checks it."""


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """What somebody wants bought or sold. `sku`: the market's id of a kind of machine."""

    side: Side
    sku: str
    window: Rectangle
    limit_price: Decimal
    allow_standing: bool = False
    allow_partial: bool = False
    purpose: str
    """Why, in words."""

    @property
    def worst_case(self) -> Decimal:
        """Dollars that it costs, or brings, at its limit."""
        return self.window.cost_at(self.limit_price)


@dataclass(frozen=True, kw_only=True)
class Order:
    id: str
    request: OrderRequest
    state: OrderState
    requested_by: str
    plan_id: str | None
    created_at: datetime
    intended_at: datetime | None
    """When it was let out: at once, or once it was approved."""
    approved_by: str | None
    market_id: str | None
    sent_at: datetime | None
    """When it was first sent, or may have been."""
    last_sent_at: datetime | None
    send_leases: int
    """Which lease to send it is the newest: who holds an older one leaves it alone."""
    cancel_asked_at: datetime | None
    ended_at: datetime | None
    filled_at: datetime | None
    amount: Decimal
    """Dollars paid for, or brought by, what has filled."""
    message: str | None


@dataclass(frozen=True, kw_only=True)
class Fill:
    """One trade of an order: its part of the schedule, at one price."""

    contract: str | None
    filled_at: datetime
    price: Decimal
    parts: tuple[Rectangle, ...]

    @property
    def node_minutes(self) -> int:
        return sum(part.node_minutes for part in self.parts)

    @property
    def amount(self) -> Decimal:
        return sum((part.cost_at(self.price) for part in self.parts), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Block:
    """A rectangle that was bought at one price."""

    id: str
    order_id: str
    sku: str
    window: Rectangle
    price: Decimal

    @property
    def cost(self) -> Decimal:
        return self.window.cost_at(self.price)


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One node of a block, for as long as it is ours and nobody sits on it."""

    block_id: str
    number: int
    sku: str
    start: datetime
    end: datetime


class InstanceState(StrEnum):
    """wanted ──► booting ──► joined ──► ended;  wanted | booting ──► ended"""

    WANTED = "wanted"
    """To be created; it may have been."""
    BOOTING = "booting"
    """The market has it; no agent of it has called."""
    JOINED = "joined"
    """It is a node."""
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine of ours at the market. Its id is its name there, and the tag by which it is found again."""

    id: str
    sku: str
    state: InstanceState
    market_id: str | None
    node_id: str | None
    wanted_at: datetime
    asked_at: datetime | None
    asks: int
    """How often it was asked for: only what came of the last time is ours."""
    ask_leased_until: datetime | None
    created_at: datetime | None
    """When we knew that the market has it."""
    running_at: datetime | None
    joined_at: datetime | None
    ready_at: datetime | None
    ended_at: datetime | None
    until: datetime
    """The end of its last seat."""
    end_asked_at: datetime | None
    """From then on it takes no work and no seat: it is being ended."""
    end_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Sku:
    """A kind of machine that the market sells."""

    id: str
    alias: str
    gpu_type: str
    """The market's name for its GPUs, and its nodes' too."""
    gpus_per_node: int


def minute_of(moment: datetime, *, up: bool = False) -> datetime:
    """The whole minute at or before it; with `up`, at or after it."""
    floor = datetime.fromtimestamp(moment.timestamp() // 60 * 60, UTC)
    return floor + MINUTE if up and floor < moment else floor


def on_tick(price: Decimal) -> Decimal:
    """The highest price of the market's that is not above this one."""
    return price // TICK * TICK


def usd(dollars: Decimal) -> str:
    """For people: `$1,234.50`."""
    return f"{'-' if dollars < 0 else ''}${abs(dollars):,.2f}"
