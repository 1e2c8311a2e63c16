"""How an order by hand comes in: what was left out is filled in, and the same key twice is one order.

    Wish ─► window_of ─► (quote: what it left out) ─► request_of ─► enter

What the market is asked for lies before `enter`, so that no transaction waits for it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.database import Lock, Transaction, lock
from scalar.errors import Conflict, IdempotencyConflict, IllegalMove, InvalidRequest
from scalar.market import orders, store
from scalar.market.guards import Caps
from scalar.market.model import MINUTE, Order, OrderRequest, OrderState, Rectangle, Side, Sku
from scalar.market.orders import By
from scalar.market.quoting import Quote, next_minute, on_tick_for
from scalar.market.selling import set_aside

FARTHEST = timedelta(days=3 * 365)
"""The market trades no window that is longer or farther away."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """An order as it was asked for; what is None is for us to say. One of `sku` (id or alias) and `gpu_type`."""

    side: Side
    nodes: int
    sku: str | None = None
    gpu_type: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    minutes: int | None = None
    limit_price: Decimal | None = None
    allow_standing: bool = False
    allow_partial: bool = False
    purpose: str


@dataclass(frozen=True, kw_only=True)
class Entered:
    order: Order
    created: bool
    """False: this key had its order before."""


def window_of(wish: Wish, now: datetime) -> Rectangle:
    """From the next minute on, unless it says when. Raises: `InvalidRequest`."""
    start = wish.start or next_minute(now)
    if not now - MINUTE < start < now + FARTHEST:
        raise InvalidRequest("start: between now and three years from now.")
    if (wish.end is None) == (wish.minutes is None):
        raise InvalidRequest("Say one of end and duration_minutes.")
    end = wish.end or start + timedelta(minutes=wish.minutes or 0)
    if not start < end < now + FARTHEST:
        raise InvalidRequest("end: after the start, and at most three years from now.")
    # Compared first: a time at the edge of the calendar can't be moved to UTC.
    utc = now.tzinfo
    return Rectangle(start=start.astimezone(utc), end=end.astimezone(utc), nodes=wish.nodes)


def needs_quote(wish: Wish, skus: list[Sku]) -> bool:
    """Whether the market has to say what it leaves open: the price, or which of several kinds of machine."""
    return wish.limit_price is None or len(skus) > 1


def request_of(wish: Wish, window: Rectangle, skus: list[Sku], quote: Quote | None) -> OrderRequest:
    """Raises: `Conflict` where the market would have to say something and has nothing on offer."""
    sku = skus[0].id
    limit = wish.limit_price
    if quote is not None:
        if quote.price is None:
            raise Conflict(_nothing_there(wish, quote))
        sku = quote.skus[0].id
        limit = limit or quote.limit_price
    if limit is None:
        raise InvalidRequest("limit_price: say one, or ask the market for a quote.")
    return OrderRequest(
        side=wish.side,
        sku=sku,
        window=window,
        limit_price=on_tick_for(wish.side, limit),
        allow_standing=wish.allow_standing,
        allow_partial=wish.allow_partial,
        purpose=wish.purpose,
    )


def enter(tx: Transaction, wish: Wish, request: OrderRequest, *, by: By, caps: Caps, now: datetime) -> Entered:
    """Raises: `SpendRefused`; `Conflict` where a sale is of more than is idle; `IdempotencyConflict`."""
    if request.side is Side.SELL:
        # The pass before the orders, as everywhere.
        lock(tx, Lock.SCHEDULING_PASS)
    lock(tx, Lock.MARKET_ORDERS)
    before = entered(tx, wish, by)
    if before is not None:
        return Entered(order=before, created=False)
    keep_free = set_aside(tx, request, now) if request.side is Side.SELL else []
    return Entered(order=orders.place(tx, request, by=by, caps=caps, now=now, keep_free=keep_free), created=True)


def entered(tx: Transaction, wish: Wish, by: By) -> Order | None:
    """The order that this key has already. Raises: `IdempotencyConflict` where it was another wish."""
    if by.key is None:
        return None
    try:
        order = store.order_of_key(tx, by.key)
    except LookupError:
        return None
    if not _is_of(order.request, wish, store.skus(tx)):
        raise IdempotencyConflict(f"This key was used for {order.id}, which is another order: use a new key.")
    return order


def approve(tx: Transaction, order_id: str, *, actor: str, caps: Caps, now: datetime) -> Order:
    """As `orders.approve`; what was approved already stays as it is, on its way. Raises: as that."""
    lock(tx, Lock.MARKET_ORDERS)
    order = orders.existing(store.order(tx, order_id))
    if order.state is OrderState.PROPOSED:
        return orders.approve(tx, order_id, actor=actor, caps=caps, now=now)
    if order.approved_by is None or order.state.ended:
        raise IllegalMove(f"{order_id} does not wait for an approval: it is {order.state}.")
    return order


def _is_of(request: OrderRequest, wish: Wish, skus: list[Sku]) -> bool:
    """Whether this request came of that wish: what the wish left out may be anything."""
    window = request.window
    sku = next((each for each in skus if each.id == request.sku), None)
    told = [
        (wish.side, request.side),
        (wish.nodes, window.nodes),
        (wish.start, window.start),
        (wish.end, window.end),
        (wish.minutes, (window.end - window.start) // MINUTE),
        (wish.limit_price and on_tick_for(wish.side, wish.limit_price), request.limit_price),
        (wish.allow_standing, request.allow_standing),
        (wish.allow_partial, request.allow_partial),
        (wish.purpose, request.purpose),
        (wish.gpu_type and wish.gpu_type.lower(), sku and sku.gpu_type.lower()),
    ]
    same_kind = wish.sku is None or wish.sku == request.sku or (sku is not None and wish.sku == sku.alias)
    return same_kind and all(asked is None or asked == placed for asked, placed in told)


def _nothing_there(wish: Wish, quote: Quote) -> str:
    verb = "sells" if wish.side is Side.BUY else "buys"
    advice = (
        "Say which sku."
        if wish.limit_price is not None
        else "Say limit_price, and allow_standing to wait for somebody who does."
    )
    return f"Nobody {verb} that now ({quote.reason}). {advice}"
