"""Orders on their way: sent once, followed to their end. One call is one tick of a sensor.

    1. write    withdraw what is too old, lease what is to be sent
    2. ask      send each under its own id as idempotency key; one that may have been sent is looked for first
    3. write    what the market said of it
    4. ask      what became of the others; cancel what is to be cancelled
    5. write    fills become blocks, states move on

No transaction is open while the market is asked, so it can die between any two steps: the lease runs out, the next
tick finds the intent, and the key and the look-up see to it that nothing is bought twice.
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
)
from scalar.market.instances import market_ids_of_nodes
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
        to_send = store.lease_unsent(tx, desk.clock(), limit=_AT_ONCE)
    for order in to_send:
        _send(desk, order, done)
    with desk.transact() as tx:
        at_market = store.orders_at_market(tx)
    for order in at_market:
        _follow(desk, order, done)
    return done


def _send(desk: Desk, order: Order, done: Traded) -> None:
    with desk.transact() as tx:
        why = orders.held_back(tx, order)
        if why is not None and order.send_attempts == 1:
            # It was never sent: it may wait for the switch, or grow too old.
            store.unsend(tx, order.id, why)
            done.held_back += 1
            return
    try:
        answer = _earlier(desk, order) if order.send_attempts > 1 else None
        if answer is None and why is None and not _too_late(desk, order):
            answer = _create(desk, order)
    except MarketNotAuthenticated as error:
        _put_off(desk, order, error, done)
    except MarketRefused as error:
        with desk.transact() as tx:
            orders.refused(tx, order.id, error.message, desk.clock())
        done.moved += 1
    except MarketError as error:
        _put_off(desk, order, error, done)
    else:
        _write_down(desk, order, answer, why, done)


def _write_down(desk: Desk, order: Order, answer: MarketOrder | None, why: str | None, done: Traded) -> None:
    if answer is not None:
        with desk.transact() as tx:
            orders.sent(tx, order.id, answer, desk.clock())
        done.sent += 1
        return
    # It may have been sent before, and the market, asked for all of our orders since, does not have it.
    with desk.transact() as tx:
        store.unsend(tx, order.id, why or "The market does not have it.")
    done.held_back += 1


def _create(desk: Desk, order: Order) -> MarketOrder:
    request = order.request
    if request.side is Side.SELL:
        with desk.transact() as tx:
            victims = market_ids_of_nodes(tx, store.kept_free(tx, order.id))
        if victims:
            desk.market.set_priorities(dict.fromkeys(victims, "yield"))
        _note_fee(desk, order)
    return desk.market.create_order(
        pool=desk.pool(),
        side=request.side,
        sku=request.sku,
        rectangle=request.window,
        limit_price=request.limit_price,
        allow_standing=request.allow_standing,
        allow_partial=request.allow_partial,
        idempotency_key=order.id,
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


def _too_late(desk: Desk, order: Order) -> bool:
    """The book that it was meant for has moved on; and the market may have forgotten its key."""
    return desk.clock() - order.created_at > orders.GOOD_FOR


def _earlier(desk: Desk, order: Order) -> MarketOrder | None:
    """The order at the market that this intent has become already, if it has.

    A list that lacks an order of ours that it should have proves nothing.
    """
    assert order.sent_at is not None  # noqa: S101 - leased more than once
    since = order.sent_at - _CLOCKS_DIFFER_BY
    there = list(desk.market.orders(pool=desk.pool(), created_after=since))
    with desk.transact() as tx:
        ours = {
            each.market_id
            for each in store.orders_sent_since(tx, order.sent_at)
            if each.sent_at is not None and each.sent_at > order.sent_at
        }
        known = store.known_market_ids(tx, [each.id for each in there])
    if not ours <= {each.id for each in there}:
        raise MarketAnswerMalformed("the list of orders lacks some that we know")
    fresh = sorted((each for each in there if each.id not in known), key=lambda each: each.created_at)
    return next((each for each in fresh if _alike(order, each)), None)


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
        store.release_send(tx, order.id, str(error))
    _note(order, error, done)


def _note(order: Order, error: Exception, done: Traded) -> None:
    log.warning("order.not_followed", order=order.id, error=str(error))
    done.problems.append(f"{order.id}: {error}")
