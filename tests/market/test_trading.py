"""Orders against a real market: sent once, followed to their end, whatever dies in between."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from trading_floor import Floor, Killed, Steps

from scalar.errors import SpendRefused
from scalar.market import orders, store
from scalar.market.model import OrderState, Side, minute_of
from scalar.market.trading import trade


def until_it_ends(floor: Floor, order_id: str) -> OrderState:
    for _ in range(10):
        trade(floor.desk)
        state = floor.order(order_id).state
        if state.ended:
            return state
        floor.sandbox.advance(60)
    raise AssertionError(f"{order_id} is still {state}")


def in_an_hour(floor: Floor) -> datetime:
    return minute_of(floor.now(), up=True) + timedelta(hours=1)


def test_an_order_is_sent_fills_and_becomes_a_block_at_the_price_that_was_paid(floor):
    order = floor.want(nodes=2, minutes=90)
    assert order.state is OrderState.INTENDED
    assert until_it_ends(floor, order.id) is OrderState.FILLED
    (row,) = floor.market_orders()
    blocks = floor.rows("select nodes, starts_at, ends_at, price from blocks order by price")
    after = floor.order(order.id)
    assert after.market_id == row["id"]
    assert sum(block["nodes"] for block in blocks) == 2
    assert all(
        (block["starts_at"], block["ends_at"]) == (order.request.window.start, order.request.window.end)
        for block in blocks
    )
    assert after.amount == sum((block["nodes"] * block["price"] * Decimal("1.5") for block in blocks), Decimal(0))
    assert Decimal(row["filled_average_price_dollars_per_node_hour"]) == after.amount / 3


def test_each_step_of_an_order_is_in_the_audit_log(floor):
    order = floor.want()
    until_it_ends(floor, order.id)
    steps = [
        row["action"] for row in floor.rows("select action from audit_log where action like 'order.%' order by id")
    ]
    assert steps == ["order.intended", "order.pending", "order.fill", "order.filled"]


def test_an_order_that_nobody_meets_ends_cancelled_and_costs_nothing(floor):
    order = floor.want(price="0.06")
    assert until_it_ends(floor, order.id) is OrderState.CANCELLED
    assert floor.order(order.id).amount == 0
    assert floor.rows("select * from blocks") == []


def test_a_standing_order_stands_until_it_is_called_off(floor):
    order = floor.want(price="0.06", allow_standing=True)
    trade(floor.desk)
    floor.sandbox.advance(60)
    trade(floor.desk)
    assert floor.order(order.id).state is OrderState.STANDING
    with floor.database.transaction() as tx:
        orders.call_off(tx, order.id, actor="operator:x", now=floor.now())
    assert until_it_ends(floor, order.id) is OrderState.CANCELLED


def test_an_order_that_costs_more_than_the_balance_is_rejected_in_the_markets_words(floor_with):
    floor = floor_with(max_order=10**6, max_hour=10**6, max_day=10**6, approval_above=10**6)
    order = floor.want(nodes=50, minutes=24 * 60)
    assert until_it_ends(floor, order.id) is OrderState.REJECTED
    assert "payment_required" in str(floor.order(order.id).message)


def test_the_same_key_is_the_same_order(floor):
    first, second = floor.want(key="plan_1/0"), floor.want(key="plan_1/0")
    assert first.id == second.id
    until_it_ends(floor, first.id)
    assert len(floor.market_orders()) == 1


@pytest.mark.parametrize("fault", ["dropped", "server_error", "rate_limited"])
def test_a_market_that_fails_once_is_asked_again_under_the_same_key(floor, fault):
    order = floor.want(start=in_an_hour(floor))
    floor.sandbox.fault(fault, method="POST", path="/orders$", times=1)
    assert until_it_ends(floor, order.id) is OrderState.FILLED
    assert len(floor.market_orders()) == 1


def test_an_order_whose_answer_never_came_is_found_again_and_not_sent_twice(floor):
    order = floor.want()
    floor.sandbox.fault("dropped", method="POST", path="/orders$", times=4)
    trade(floor.desk)
    assert floor.order(order.id).state is OrderState.INTENDED
    assert len(floor.market_orders()) == 1
    assert until_it_ends(floor, order.id) is OrderState.FILLED
    assert len(floor.market_orders()) == 1


def test_a_fill_that_is_told_twice_is_one_block(floor):
    floor.sandbox.fault("repeated_fill", path="/orders")
    order = floor.want()
    assert until_it_ends(floor, order.id) is OrderState.FILLED
    assert floor.rows("select sum(nodes) as nodes from blocks") == [{"nodes": 1}]
    trade(floor.desk)
    assert floor.rows("select count(*) as n from fills") == [{"n": 1}]


def test_a_token_that_expired_stops_nothing_for_good(floor):
    order = floor.want()
    floor.sandbox.fault("expired_token", times=5)
    trade(floor.desk)
    assert floor.order(order.id).state is OrderState.INTENDED
    floor.sandbox.no_faults()
    assert until_it_ends(floor, order.id) is OrderState.FILLED


def test_an_intent_that_could_not_be_sent_for_ten_minutes_is_withdrawn(floor):
    order = floor.want()
    with floor.database.transaction() as tx:
        store.stop_buying(tx, "operator:x", "lunch", floor.now())
    assert trade(floor.desk).held_back == 1
    floor.sandbox.advance(11 * 60)
    trade(floor.desk)
    assert floor.order(order.id).state is OrderState.WITHDRAWN
    assert floor.market_orders() == []


def test_a_stop_stops_what_is_written_and_what_is_wanted(floor):
    with floor.database.transaction() as tx:
        store.stop_buying(tx, "operator:x", "prices look odd", floor.now())
    with pytest.raises(SpendRefused, match="prices look odd"):
        floor.want()


def test_what_needs_approval_waits_for_it(floor_with):
    floor = floor_with(approval_above=10)
    order = floor.want()
    assert order.state is OrderState.PROPOSED
    trade(floor.desk)
    assert floor.market_orders() == []
    with floor.database.transaction() as tx:
        orders.approve(tx, order.id, actor="operator:x", caps=floor.settings.caps, now=floor.now())
    assert until_it_ends(floor, order.id) is OrderState.FILLED


def test_caps_count_what_is_open_too(floor_with):
    floor = floor_with(max_hour=50)
    floor.want(price="30")
    with pytest.raises(SpendRefused, match="cap per hour"):
        floor.want(price="30")


def test_nothing_is_bought_twice_or_forgotten_wherever_the_process_dies(floor):
    """A tick is killed at each of its steps in turn; the next ticks finish what it began."""
    deaths, die_at = [], 0
    while True:
        order = floor.want(start=floor.now().replace(second=0) + timedelta(hours=1 + die_at), minutes=1)
        steps = Steps(die_at)
        try:
            with floor.dying(steps) as desk:
                trade(desk)
                floor.sandbox.advance(10)
                trade(desk)
        except Killed as death:
            deaths.append(str(death))
        else:
            break
        floor.sandbox.advance(61)  # the lease of the dead runs out
        assert until_it_ends(floor, order.id) is OrderState.FILLED, deaths[-1]
        bought = [row for row in floor.market_orders() if _start(row) == order.request.window.start.timestamp()]
        assert len(bought) == 1, deaths[-1]
        blocks = floor.rows(f"select nodes from blocks where order_id = '{order.id}'")
        assert [block["nodes"] for block in blocks] == [1], deaths[-1]
        die_at += 1
    assert any("after POST" in death for death in deaths)
    assert sum("commit" in death for death in deaths) >= 6
    paid = floor.rows("select sum(amount) as dollars from orders")[0]["dollars"]
    balance = floor.client.balances()
    assert abs(paid * 100 - (1_000_000 - balance.current_cents)) <= len(floor.market_orders())


def _start(row: dict) -> float:
    return row["allocation_schedule_delta"][0]["start_at"]


def test_a_sale_shrinks_what_is_ours_and_brings_money(floor):
    bought = floor.want(minutes=240)
    until_it_ends(floor, bought.id)
    floor.sandbox.advance(600)
    sold = floor.want(side=Side.SELL, minutes=120, start=bought.request.window.start + timedelta(hours=2), price="0.06")
    assert until_it_ends(floor, sold.id) is OrderState.FILLED
    (sale,) = floor.rows("select lower(during) as start, upper(during) as until from sales")
    assert (sale["start"], sale["until"]) == (sold.request.window.start, sold.request.window.end)
    assert floor.order(sold.id).amount > 0
