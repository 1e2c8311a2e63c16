"""What happens to an order: each function is one deed, inside the caller's transaction.

place ─► (proposed ─► approve) ─► lease_unsent ─► sent ─► tell … ─► filled | cancelled | rejected
           call_off: at any time
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.accounts import trail
from scalar.accounts.store import audit
from scalar.capacity import fleet
from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.database import Channel, Lock, Transaction, lock, notify
from scalar.errors import Conflict, InvalidRequest, NotFound, SpendRefused
from scalar.market import reconciliations, seats, store
from scalar.market.answers import MarketFill, MarketOrder, OrderStatus
from scalar.market.errors import MarketAnswerMalformed
from scalar.market.guards import Answer, Caps, Spent, judge, stopped
from scalar.market.model import MINUTE, Fill, Order, OrderRequest, OrderState, Side, minute_of
from scalar.market.settling import fills_that_count, most_at_once, new_fills, same_schedule

GOOD_FOR = timedelta(minutes=10)
"""An order that could not be sent for so long is withdrawn: the book that it was meant for has moved on."""
APPROVAL_FOR = timedelta(hours=1)
_WEEK = timedelta(days=7)
_TO_SEND = timedelta(seconds=15)
"""Until the sensor that sends it has come round."""
_SETTLED = timedelta(minutes=2)
"""So long after an attempt whose answer was lost, what the market does not have it never gets."""
_MICRO_DOLLAR = Decimal("0.000001")


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

    A start that has passed meanwhile becomes the next minute: the market sells nothing of the past.
    Raises: `NotFound`, `IllegalMove`, `SpendRefused`; `Conflict` where hardly anything of its time is left.
    """
    lock(tx, Lock.MARKET_ORDERS)
    order = existing(store.order(tx, order_id, for_update=True))
    if order.state is OrderState.INTENDED:
        return order
    begin = max(order.request.window.start, minute_of(now + _TO_SEND, up=True))
    if order.state is OrderState.PROPOSED:
        if order.request.window.end - begin < SHORTEST_USEFUL:
            raise Conflict(f"Its time ends at {order.request.window.end:%H:%M} UTC: place another order.")
        _judge_again(tx, order, caps, now)
    store.let_out(tx, order_id, approved_by=actor, start=begin, now=now)
    audit(tx, actor, "order.approve", order_id, start=begin.isoformat())
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
    stale = store.stale_intents(tx, intended_before=now - GOOD_FOR, proposed_before=now - APPROVAL_FOR)
    for order in stale:
        what = "sent" if order.state is OrderState.INTENDED else "approved"
        end(tx, order, OrderState.WITHDRAWN, now, message=f"It was not {what} in time.")
    return len(stale)


def held_back(tx: Transaction, order: Order, now: datetime) -> str | None:
    """Why an intent must not be sent just now, if so: much may have come after it was written."""
    if order.cancel_asked_at is not None:
        return "It was called off."
    if _too_late(order, now):
        return "It was not sent in time."
    if order.request.side is Side.BUY:
        return stopped(store.controls(tx), reconciliations.disagreement(tx))
    return None


def clear_to_send(tx: Transaction, order: Order, now: datetime) -> bool:
    """Asked last before it is sent; what must not go out any more is put off or withdrawn.

    `order`: as it was leased. Where it may have been sent before, the market was asked since and doesn't have it.
    """
    latest = existing(store.order(tx, order.id, for_update=True))
    if latest.state is not OrderState.INTENDED or latest.send_leases != order.send_leases:
        return False
    why = held_back(tx, latest, now)
    if why is None:
        store.sending(tx, order.id, now)
        return True
    if latest.last_sent_at is not None and now - latest.last_sent_at < _SETTLED:
        store.release_send(tx, order, f"{why} First it must be sure that the market does not have it.")
    elif latest.cancel_asked_at is not None or _too_late(latest, now):
        end(tx, latest, OrderState.WITHDRAWN, now, message=why)
    else:
        store.unsend(tx, order, why)
    return False


def sent(tx: Transaction, order_id: str, answer: MarketOrder, now: datetime) -> None:
    """The market has it: its id is kept, whatever else its answer says. A second telling changes nothing.

    What we had given up meanwhile is ours all the same, and is called off at the market.
    """
    order = existing(store.order(tx, order_id, for_update=True))
    if order.market_id is not None or order.state is OrderState.PROPOSED:
        return
    store.move_order(tx, order_id, OrderState.PENDING, now, market_id=answer.id)
    if order.state is not OrderState.INTENDED:
        store.ask_cancel(tx, order_id, now)
    audit(tx, "market", "order.pending", order_id, market_id=answer.id)


def refused(tx: Transaction, order_id: str, message: str, now: datetime) -> None:
    """The market would not have it at all."""
    order = existing(store.order(tx, order_id, for_update=True))
    if order.state is OrderState.INTENDED:
        end(tx, order, OrderState.REJECTED, now, message=message)


def tell(tx: Transaction, order_id: str, answer: MarketOrder, now: datetime) -> None:
    """What the market says of an order: its new fills become blocks or sales, and it moves on.

    Raises: `MarketAnswerMalformed` where it speaks of another order, of more than was asked, of a worse price, or its
    fills don't add up: nothing is changed.
    """
    if answer.side == Side.SELL:
        # Before any row: what is sold must not get a machine meanwhile.
        lock(tx, Lock.MARKET_SEATS)
    order = existing(store.order(tx, order_id, for_update=True))
    _refuse_another(order, answer)
    _refuse_more(order, answer)
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
        if seats.still_ours(tx, node_id, now) and trail.last_actor(tx, "node.drain", node_id) == order.requested_by:
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


def _too_late(order: Order, now: datetime) -> bool:
    """The book that it was meant for has moved on, or its first minute is over."""
    return now - (order.intended_at or order.created_at) > GOOD_FOR or now >= order.request.window.start + MINUTE


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


def _refuse_more(order: Order, answer: MarketOrder) -> None:
    """No answer makes us owe more than we said, nor have less than is filled."""
    window, limit = order.request.window, order.request.limit_price
    for part in answer.filled_schedule:
        if part.start < window.start or part.end > window.end:
            raise MarketAnswerMalformed(f"the market filled {order.id} beyond its window")
    if most_at_once(answer.filled_schedule) > window.nodes:
        raise MarketAnswerMalformed(f"the market filled more nodes than {order.id} is for")
    worse = any(fill.price > limit if order.request.side is Side.BUY else fill.price < limit for fill in answer.fills)
    if worse:
        raise MarketAnswerMalformed(f"the market filled {order.id} at a worse price than its limit")
    if answer.status is OrderStatus.FILLED and not same_schedule(answer.filled_schedule, [window]):
        raise MarketAnswerMalformed(f"the market calls {order.id} filled, and its schedule is not")


def _fill(told: MarketFill) -> Fill:
    # As it is kept: the market's tick has no more places, and a fill must be known again.
    price = told.price.quantize(_MICRO_DOLLAR)
    return Fill(contract=told.contract, filled_at=told.filled_at, price=price, parts=tuple(told.schedule))


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
