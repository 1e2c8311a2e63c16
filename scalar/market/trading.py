"""Orders on their way: sent once, followed to their end. One call is one tick of a sensor.

    1. write    withdraw what is too old; lease one order that is to be sent
    2. ask      whether the market has it already, if it may have been sent
    3. write    that it is being sent: if nothing has come in between
    4. ask      send it, once, under its own id as idempotency key
    5. write    the market's id; what the market said of it. Then the next one
    6. ask      what became of the others; cancel what is to be cancelled
    7. write    fills become blocks, states move on

No transaction is open while the market is asked, so it can die between any two steps: the lease runs out, the next
tick finds the intent, and the key and the look-up see to it that nothing is bought twice. An order is rejected only by
a no to its one and only attempt, and withdrawn only where the market was asked, long enough after the last attempt,
and doesn't have it.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from scalar.errors import IllegalMove
from scalar.market import orders, store
from scalar.market.answers import MarketOrder
from scalar.market.desk import Desk
from scalar.market.errors import (
    MarketAnswerMalformed,
    MarketError,
    MarketNotAuthenticated,
    MarketNotFound,
    MarketRefused,
    MarketUnavailable,
)
from scalar.market.instances import market_ids_of_nodes, ranked
from scalar.market.model import Order, Side

log = structlog.get_logger(__name__)

_AT_ONCE = 20
_CLOCKS_DIFFER_BY = timedelta(minutes=5)


@dataclass
class Traded:
    """What a tick did."""

    sent: int = 0
    moved: int = 0
    held_back: int = 0
    problems: list[str] = field(default_factory=list)


def trade(desk: Desk) -> Traded:
    done = Traded()
    with desk.transact() as tx:
        done.moved += orders.withdraw_stale(tx, desk.clock())
    tried: list[str] = []
    while len(tried) < _AT_ONCE:
        with desk.transact() as tx:
            order = store.lease_unsent(tx, desk.clock(), besides=tried)
        if order is None:
            break
        tried.append(order.id)
        if not _send(desk, order, done):
            break
    with desk.transact() as tx:
        at_market = store.orders_at_market(tx)
    for order in at_market:
        _follow(desk, order, done)
    return done


def _send(desk: Desk, order: Order, done: Traded) -> bool:
    """One attempt. False: the market is away, and the others need not try."""
    try:
        answer = _sent_before_or_now(desk, order)
        if answer is None:
            done.held_back += 1
            return True
        with desk.transact() as tx:
            orders.sent(tx, order.id, answer, desk.clock())
        done.sent += 1
        with desk.transact() as tx:
            orders.tell(tx, order.id, answer, desk.clock())
    except MarketError as error:
        _put_off(desk, order, error, done)
        return not isinstance(error, MarketUnavailable)
    except Exception as error:
        # One order that can't be looked after must not hold up the others; its lease runs out by itself.
        log.exception("order.not_sent", order=order.id)
        _note(order, error, done)
    return True


def _sent_before_or_now(desk: Desk, order: Order) -> MarketOrder | None:
    """What the market has of it, once this has been seen to. None: it must not be sent, or not now."""
    if order.sent_at is not None and (answer := _earlier(desk, order)) is not None:
        return answer
    pool = desk.pool()
    if order.request.side is Side.SELL:
        _prepare_sale(desk, order)
    with desk.transact() as tx:
        if not orders.clear_to_send(tx, order, desk.clock()):
            return None
    try:
        return _create(desk, pool, order)
    except MarketError as error:
        if not _surely_not_done(error) or order.sent_at is not None:
            raise
        with desk.transact() as tx:
            if isinstance(error, MarketRefused) and not isinstance(error, MarketNotAuthenticated):
                orders.refused(tx, order.id, error.message, desk.clock())
                return None
            store.unsend(tx, order, str(error))
        raise


def _surely_not_done(error: MarketError) -> bool:
    """A definite no to the one attempt that was made; or nothing can have reached the market."""
    return isinstance(error, MarketRefused) or (isinstance(error, MarketUnavailable) and not error.maybe_done)


def _prepare_sale(desk: Desk, order: Order) -> None:
    """The market ends machines by their priority; and what it takes of a sale is kept with it."""
    with desk.transact() as tx:
        victims = market_ids_of_nodes(tx, store.kept_free(tx, order.id))
    if victims:
        desk.market.set_priorities(dict.fromkeys(victims, "yield"))
        with desk.transact() as tx:
            ranked(tx, dict.fromkeys(victims, True))
    _note_fee(desk, order)


def _create(desk: Desk, pool: str, order: Order) -> MarketOrder:
    request = order.request
    return desk.market.create_order(
        pool=pool,
        side=request.side,
        sku=request.sku,
        rectangle=request.window,
        limit_price=request.limit_price,
        allow_standing=request.allow_standing,
        allow_partial=request.allow_partial,
        idempotency_key=order.id,
        # The next tick tries again, and looks first: a refusal now is of this attempt, and no earlier one is unknown.
        once=True,
    )


def _note_fee(desk: Desk, order: Order) -> None:
    """What the market takes of a sale changes: the rate of the moment that it is sent is kept with it."""
    window = order.request.window
    preview = desk.market.preview_order(
        side=Side.SELL,
        requirements={"id": [order.request.sku]},
        start=window.start,
        seconds=int((window.end - window.start).total_seconds()),
        nodes=window.nodes,
        pool=desk.pool(),
    )
    if preview.fee is not None:
        with desk.transact() as tx:
            store.note_fee(tx, order.id, flat=preview.fee.flat, bps=preview.fee.bps)


def _earlier(desk: Desk, order: Order) -> MarketOrder | None:
    """The order at the market that this intent has become already, if it has.

    A list that lacks an order of ours that it should have proves nothing. Of intents that are alike, one that may still
    be sent is told apart by its key: the market answers a repeat with the order that it has.
    """
    assert order.sent_at is not None  # noqa: S101 - its caller has looked
    since = order.sent_at - _CLOCKS_DIFFER_BY
    there = list(desk.market.orders(pool=desk.pool(), created_after=since))
    with desk.transact() as tx:
        ours = {
            each.market_id
            for each in store.orders_sent_since(tx, order.sent_at)
            if each.sent_at is not None and each.sent_at > order.sent_at
        }
        known = store.known_market_ids(tx, [each.id for each in there])
        twins = [each for each in store.perhaps_sent(tx) if each.id != order.id and each.request == order.request]
        may_go = orders.held_back(tx, order, desk.clock()) is None
        twin_may_go = any(orders.held_back(tx, each, desk.clock()) is None for each in twins)
    if not ours <= {each.id for each in there}:
        raise MarketAnswerMalformed("the list of orders lacks some that we know")
    fresh = sorted((each for each in there if each.id not in known), key=lambda each: each.created_at)
    alike = [each for each in fresh if _alike(order, each)]
    if not alike:
        return None
    if len(alike) <= len(twins):
        if may_go:
            return None
        if twin_may_go:
            raise MarketAnswerMalformed(f"which of several alike orders {order.id} has become is not known yet")
    return alike[0]


def _alike(order: Order, answer: MarketOrder) -> bool:
    request = order.request
    return (
        answer.side == request.side
        and answer.sku == request.sku
        and answer.schedule == (request.window,)
        and answer.limit_price == request.limit_price
    )


def _follow(desk: Desk, order: Order, done: Traded) -> None:
    assert order.market_id is not None  # noqa: S101 - a constraint says so
    try:
        if order.cancel_asked_at is not None:
            _cancel(desk, order.market_id)
        answer = desk.market.order(order.market_id)
        with desk.transact() as tx:
            orders.tell(tx, order.id, answer, desk.clock())
            after = store.order(tx, order.id)
    except (MarketError, IllegalMove) as error:
        # An order that the market has lost shows in the reconciliation.
        _note(order, error, done)
    except Exception as error:
        # One order whose answer can't be kept must not hold up the others.
        log.exception("order.not_told", order=order.id)
        _note(order, error, done)
    else:
        done.moved += after is not None and after.state is not order.state


def _cancel(desk: Desk, market_id: str) -> None:
    """Where it can't be cancelled any more, following it tells why."""
    try:
        desk.market.cancel_order(market_id)
    except MarketNotFound:
        raise
    except MarketRefused as error:
        log.info("order.cancel_refused", market_id=market_id, error=error.message)


def _put_off(desk: Desk, order: Order, error: MarketError, done: Traded) -> None:
    with desk.transact() as tx:
        store.release_send(tx, order, str(error))
    _note(order, error, done)


def _note(order: Order, error: Exception, done: Traded) -> None:
    log.warning("order.not_followed", order=order.id, error=str(error))
    done.problems.append(f"{order.id}: {error}")
