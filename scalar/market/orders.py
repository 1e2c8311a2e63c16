"""What happens to an order: each function is one deed, inside the caller's transaction.

place ─► (proposed ─► approve) ─► lease_unsent ─► sent ─► tell … ─► filled | cancelled | rejected
           call_off: at any time
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.accounts.store import audit
from scalar.capacity import fleet
from scalar.database import Channel, Lock, Transaction, lock, notify
from scalar.errors import Conflict, InvalidRequest, NotFound, SpendRefused
from scalar.market import reconciliations, seats, store
from scalar.market.answers import MarketFill, MarketOrder, OrderStatus
from scalar.market.errors import MarketAnswerMalformed
from scalar.market.guards import Answer, Caps, Spent, judge, stopped
from scalar.market.model import Fill, Order, OrderRequest, OrderState, Side
from scalar.market.settling import fills_that_count, new_fills

GOOD_FOR = timedelta(minutes=10)
"""An order that could not be sent for so long is withdrawn: the book that it was meant for has moved on."""
APPROVAL_FOR = timedelta(hours=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class By:
    """Who wants an order, and out of which plan. `key`: the same key is the same order."""

    actor: str
    plan_id: str | None = None
    key: str | None = None


def place(
    tx: Transaction, request: OrderRequest, *, by: By, caps: Caps, now: datetime, keep_free: Sequence[str] = ()
) -> Order:
    """Write down what is to be sent, if the guards let it. Nothing is sent in here.

    `keep_free`: for a sale, the nodes that take no more work until it is decided.
    Raises: `InvalidRequest`, `SpendRefused`.
    """
    _refuse_nonsense(request, now)
    # One at a time: two orders that each fit under a cap might not fit together.
    lock(tx, Lock.MARKET_ORDERS)
    verdict = judge(
        request,
        caps=caps,
        spent=_spent(tx, now),
        usual_price=store.usual_price(tx, request.sku, now - _WEEK),
        controls=store.controls(tx),
        disagreement=reconciliations.disagreement(tx),
    )
    if verdict.answer is Answer.REFUSED:
        raise SpendRefused(verdict.reason)
    waits = verdict.answer is Answer.NEEDS_APPROVAL
    order = store.insert_order(
        tx,
        request,
        state=OrderState.PROPOSED if waits else OrderState.INTENDED,
        requested_by=by.actor,
        plan_id=by.plan_id,
        idempotency_key=by.key,
        message=verdict.reason if waits else None,
        now=now,
    )
    if order is None:
        return store.order_of_key(tx, str(by.key))
    for node_id in keep_free:
        fleet.drain(tx, node_id, by.actor)
    if keep_free:
        store.keep_free(tx, order.id, keep_free)
    audit(tx, by.actor, f"order.{order.state}", order.id, **_shown(request), purpose=request.purpose)
    notify(tx, Channel.MARKET, order.id)
    return order


def approve(tx: Transaction, order_id: str, *, actor: str, caps: Caps, now: datetime) -> Order:
    """An operator lets it go out; every other guard still holds. Repeats are no-ops.

    Raises: `NotFound`, `IllegalMove`, `SpendRefused`.
    """
    lock(tx, Lock.MARKET_ORDERS)
    order = existing(store.order(tx, order_id, for_update=True))
    if order.state is OrderState.INTENDED:
        return order
    if order.state is OrderState.PROPOSED:
        _judge_again(tx, order, caps, now)
    store.move_order(tx, order_id, OrderState.INTENDED, now, approved_by=actor)
    audit(tx, actor, "order.approve", order_id)
    notify(tx, Channel.MARKET, order_id)
    return existing(store.order(tx, order_id))


def call_off(tx: Transaction, order_id: str, *, actor: str, now: datetime) -> Order:
    """What was never sent is withdrawn; what the market may have is cancelled there. Repeats are no-ops.

    Raises: `NotFound`; `Conflict` where it has ended otherwise.
    """
    order = existing(store.order(tx, order_id, for_update=True))
    if order.state in {OrderState.CANCELLED, OrderState.WITHDRAWN}:
        return order
    if order.state.ended:
        raise Conflict(f"{order_id} has already ended ({order.state}): there is nothing to cancel.")
    audit(tx, actor, "order.cancel", order_id)
    if order.sent_at is None:
        end(tx, order, OrderState.WITHDRAWN, now, message=f"Called off by {actor}.")
    else:
        store.ask_cancel(tx, order_id, now)
    notify(tx, Channel.MARKET, order_id)
    return existing(store.order(tx, order_id))


def withdraw_stale(tx: Transaction, now: datetime) -> int:
    """Intents that could not be sent in time, and proposals that nobody approved."""
    stale = [
        order
        for order in store.stale_intents(tx, now - GOOD_FOR)
        if order.state is OrderState.INTENDED or order.created_at < now - APPROVAL_FOR
    ]
    for order in stale:
        what = "sent" if order.state is OrderState.INTENDED else "approved"
        end(tx, order, OrderState.WITHDRAWN, now, message=f"It was not {what} in time.")
    return len(stale)


def held_back(tx: Transaction, order: Order) -> str | None:
    """Why an intent must not be sent just now, if so: the stop may have come after it was written."""
    if order.request.side is Side.SELL:
        return None
    return stopped(store.controls(tx), reconciliations.disagreement(tx))


def sent(tx: Transaction, order_id: str, answer: MarketOrder, now: datetime) -> None:
    """The market has it. A second telling changes nothing."""
    order = existing(store.order(tx, order_id, for_update=True))
    if order.state is OrderState.INTENDED:
        store.move_order(tx, order_id, OrderState.PENDING, now, market_id=answer.id)
        audit(tx, "market", "order.pending", order_id, market_id=answer.id)
    tell(tx, order_id, answer, now)


def refused(tx: Transaction, order_id: str, message: str, now: datetime) -> None:
    """The market would not have it at all."""
    order = existing(store.order(tx, order_id, for_update=True))
    if order.state is OrderState.INTENDED:
        end(tx, order, OrderState.REJECTED, now, message=message)


def tell(tx: Transaction, order_id: str, answer: MarketOrder, now: datetime) -> None:
    """What the market says of an order: its new fills become blocks or sales, and it moves on.

    Raises: `MarketAnswerMalformed` where it speaks of another order or its fills don't add up: nothing is changed.
    """
    order = existing(store.order(tx, order_id, for_update=True))
    _refuse_another(order, answer)
    if order.state.ended and order.amount == 0 and not answer.fills:
        return
    told = fills_that_count((_fill(each) for each in answer.fills), answer.filled_schedule)
    recorded = store.fills(tx, order_id)
    for position, fill in enumerate(new_fills(told, recorded), start=len(recorded)):
        _record(tx, order, position, fill)
    state = _STATES.get(answer.status)
    if state is None or state is order.state or order.state.ended or state is OrderState.PENDING:
        return
    if state.ended:
        end(tx, order, state, now)
    elif not (order.state is OrderState.PARTIALLY_FILLED and state is OrderState.STANDING):
        store.move_order(tx, order_id, state, now)
        audit(tx, "market", f"order.{state}", order_id)


def end(tx: Transaction, order: Order, state: OrderState, now: datetime, *, message: str | None = None) -> None:
    """An order is over; what was kept free for it and not sold takes work again."""
    store.move_order(tx, order.id, state, now, message=message)
    for node_id in store.kept_free(tx, order.id):
        if seats.still_ours(tx, node_id, now):
            fleet.resume(tx, node_id, f"order:{order.id}")
    audit(
        tx, "market" if order.sent_at else "scalar", f"order.{state}", order.id, **({"why": message} if message else {})
    )
    notify(tx, Channel.MARKET, order.id)


def existing(order: Order | None) -> Order:
    if order is None:
        raise NotFound("There is no such order.")
    return order


_STATES = {
    OrderStatus.PENDING: OrderState.PENDING,
    OrderStatus.STANDING: OrderState.STANDING,
    OrderStatus.PARTIALLY_FILLED: OrderState.PARTIALLY_FILLED,
    OrderStatus.FILLED: OrderState.FILLED,
    OrderStatus.REJECTED: OrderState.REJECTED,
    OrderStatus.CANCELLED: OrderState.CANCELLED,
}


def _refuse_nonsense(request: OrderRequest, now: datetime) -> None:
    window = request.window
    if any(moment.timestamp() % 60 for moment in (window.start, window.end)):
        raise InvalidRequest("The market trades whole minutes: start and end on one.")
    if window.start >= window.end or window.end <= now:
        raise InvalidRequest("An order's window ends after it starts, and in the future.")
    if request.limit_price <= 0 or window.nodes < 1:
        raise InvalidRequest("An order is for at least one node, at a price above zero.")


def _spent(tx: Transaction, now: datetime) -> Spent:
    return Spent(
        last_hour=store.spent_since(tx, now - timedelta(hours=1)),
        last_day=store.spent_since(tx, now - timedelta(days=1)),
        ever=store.spent_since(tx, None),
    )


def _judge_again(tx: Transaction, order: Order, caps: Caps, now: datetime) -> None:
    """Without the order's own worst case, which counts as open already."""
    spent, own = _spent(tx, now), order.request.worst_case
    hour_ago, day_ago = now - timedelta(hours=1), now - timedelta(days=1)
    own_of = {since: own if order.created_at > since else Decimal(0) for since in (hour_ago, day_ago)}
    verdict = judge(
        order.request,
        caps=caps,
        spent=Spent(
            last_hour=spent.last_hour - own_of[hour_ago],
            last_day=spent.last_day - own_of[day_ago],
            ever=spent.ever - own,
        ),
        usual_price=store.usual_price(tx, order.request.sku, now - _WEEK),
        controls=store.controls(tx),
        disagreement=reconciliations.disagreement(tx),
    )
    if verdict.answer is Answer.REFUSED:
        raise SpendRefused(verdict.reason)


def _refuse_another(order: Order, answer: MarketOrder) -> None:
    window = order.request.window
    same = (
        answer.side == order.request.side
        and answer.sku == order.request.sku
        and answer.schedule == (window,)
        and order.market_id in (None, answer.id)
    )
    if not same:
        raise MarketAnswerMalformed(f"the market's {answer.id} is not what was asked for with {order.id}")


def _fill(told: MarketFill) -> Fill:
    return Fill(contract=told.contract, filled_at=told.filled_at, price=told.price, parts=tuple(told.schedule))


def _record(tx: Transaction, order: Order, position: int, fill: Fill) -> None:
    store.insert_fill(tx, order.id, position, fill)
    store.add_amount(tx, order.id, fill.amount)
    for part, window in enumerate(fill.parts):
        if order.request.side is Side.BUY:
            store.insert_block(tx, order.id, position, part, order.request.sku, window, fill.price)
        else:
            seats.give_up(tx, order, position, window, fill.price)
    audit(
        tx,
        "market",
        "order.fill",
        order.id,
        price=str(fill.price),
        dollars=str(fill.amount),
        parts=[[part.start.isoformat(), part.end.isoformat(), part.nodes] for part in fill.parts],
    )


def _shown(request: OrderRequest) -> dict[str, object]:
    return {
        "side": request.side,
        "sku": request.sku,
        "nodes": request.window.nodes,
        "start": request.window.start.isoformat(),
        "end": request.window.end.isoformat(),
        "limit_price": str(request.limit_price),
    }
