"""What goes into the engine and what comes out. All of it is frozen: a snapshot never changes under its reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sandbox.market.schedules import Schedule


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def other(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderStatus(StrEnum):
    """Where an order is in its life.

    submit ─► standing ─► partially_filled ─► filled
       │          └────────────┴────────────► cancelled   (asked, or its time is over)
       └────► filled | cancelled              (at once: filled, or immediate-or-cancel without a match)

    `pending` and `rejected` are for those who take orders before the engine sees them.
    """

    PENDING = "pending"
    STANDING = "standing"
    PARTIALLY_FILLED = "partially_filled"  # some of it is filled, the rest still stands
    FILLED = "filled"
    CANCELLED = "cancelled"  # with fills, if it had any
    REJECTED = "rejected"

    @property
    def live(self) -> bool:
        """Whether it rests in the book."""
        return self in {OrderStatus.STANDING, OrderStatus.PARTIALLY_FILLED}


class TransactionKind(StrEnum):
    DEPOSIT = "deposit"
    REFUND = "refund"
    BUY_ORDER = "buy_order"
    SELL_ORDER = "sell_order"
    FEE = "fee"


@dataclass(frozen=True, kw_only=True)
class NewOrder:
    """An order as it is asked for: `nodes` nodes of `sku` in [start, end), epoch seconds on whole minutes.

    `limit` is in µ$ per node-minute. Without `allow_standing` it is immediate-or-cancel. `allow_partial` None: the
    market's default.
    """

    id: str
    account_id: str
    pool_id: str
    side: Side
    sku: str
    start: int
    end: int
    nodes: int
    limit: int
    allow_standing: bool = False
    allow_partial: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Trade:
    """One newcomer meets one resting order, at one price. `value` = price x node-minutes of `delta`."""

    seq: int
    at: int
    sku: str
    price: int
    delta: Schedule
    value: int
    fee: int
    buy_order_id: str
    sell_order_id: str
    taker: Side


@dataclass(frozen=True, kw_only=True)
class Fill:
    """A trade as one of its two orders sees it. `fee` is the seller's, 0 for the buyer."""

    seq: int  # the trade's
    at: int
    price: int
    delta: Schedule
    value: int
    fee: int


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order as it stands at one moment. `seq` counts accepted orders: the lower, the older.

    `spent` is the sum of the fills' values (what a buyer paid, what a seller was paid before fees); `unfilled` is what
    was not filled, whether it can still be or not. `allow_partial` is decided, never None.
    """

    id: str
    seq: int
    account_id: str
    pool_id: str
    side: Side
    sku: str
    start: int
    end: int
    nodes: int
    limit: int
    allow_standing: bool
    allow_partial: bool
    status: OrderStatus
    fills: tuple[Fill, ...]
    filled: Schedule
    unfilled: Schedule
    spent: int
    fee: int
    created_at: int
    filled_at: int | None  # when the last of it was filled
    cancelled_at: int | None

    @property
    def whole(self) -> Schedule:
        return Schedule.rectangle(self.start, self.end, self.nodes)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a submitted order, and whom it touched.

    `trades`: in the order they were made; the other side's orders stand in them. `cancelled`: ids of the account's own
    resting orders that gave way (`self_trade="cancel_resting"`).
    """

    order: Order
    trades: tuple[Trade, ...] = ()
    cancelled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Account:
    id: str
    originating: bool  # a provider: gets node time by `grant`, pays no fee, cannot buy
    cash: int
    reserved: int  # for standing buys; cash - reserved can be spent

    @property
    def available(self) -> int:
        return self.cash - self.reserved


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Node time by SKU: `owned` is the allocation, `offered` the part of it that standing sells hold."""

    id: str
    account_id: str
    owned: Mapping[str, Schedule]
    offered: Mapping[str, Schedule]


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """A move of an account's cash: `amount` is signed, `balance` is the cash after it. Rows are never changed."""

    seq: int
    account_id: str
    at: int
    kind: TransactionKind
    amount: int
    balance: int
    order_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class PriceLevel:
    """All that rests at one price on one side; `schedule` sums what is left of those orders."""

    sku: str
    price: int
    schedule: Schedule


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Best first: bids descending, asks ascending."""

    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]


@dataclass(frozen=True, kw_only=True)
class Quote:
    best_bid: PriceLevel | None
    best_ask: PriceLevel | None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """An order of `sku` limited at `price` would fill now, whole, for `value` in all."""

    sku: str
    price: int
    value: int


@dataclass(frozen=True, kw_only=True)
class OpenWindow:
    """A window in which something rests: how many orders, and the best of each side."""

    sku: str
    start: int
    end: int
    bid_count: int
    ask_count: int
    best_bid: PriceLevel | None
    best_ask: PriceLevel | None
