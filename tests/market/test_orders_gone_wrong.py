"""Orders when the market, the wire or a colleague does the wrong thing at the wrong moment."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from trading_floor import Floor, a_refusal, creates

from scalar.capacity import fleet
from scalar.errors import Conflict, SpendRefused
from scalar.market import orders, store
from scalar.market.boarding import board
from scalar.market.model import Order, OrderState, Side, minute_of
from scalar.market.trading import trade


def later(floor: Floor, hours: int = 3) -> datetime:
    return minute_of(floor.now(), up=True) + timedelta(hours=hours)


def ticks(floor: Floor, times: int = 3) -> None:
    for _ in range(times):
        floor.sandbox.advance(61)
        trade(floor.desk)


def call_off(floor: Floor, order: Order) -> None:
    with floor.database.transaction() as tx:
        orders.call_off(tx, order.id, actor="operator:ann", now=floor.now())


def approve(floor: Floor, order: Order) -> Order:
    with floor.database.transaction() as tx:
        return orders.approve(tx, order.id, actor="operator:ann", caps=floor.settings.caps, now=floor.now())


def answer_lost(request: httpx.Request, _: httpx.Response) -> None:
    """The market has done it, and nobody hears."""
    if creates(request):
        raise httpx.ReadTimeout("lost")


def at_market(floor: Floor) -> list[str]:
    return [row["status"] for row in floor.market_orders()]


def test_what_is_called_off_while_the_market_is_away_is_never_bought(floor):
    order = floor.want(start=later(floor))
    floor.sandbox.fault("server_error", method="POST", path="/orders$")
    trade(floor.desk)
    call_off(floor, order)
    floor.sandbox.no_faults()
    trade(floor.desk)
    # It may yet come in: first it must be sure.
    assert floor.order(order.id).state is OrderState.INTENDED
    ticks(floor)
    assert floor.order(order.id).state is OrderState.WITHDRAWN
    assert at_market(floor) == []


def test_what_is_called_off_while_buying_is_stopped_is_not_bought_once_it_goes_on(floor):
    order = floor.want(start=later(floor))
    floor.sandbox.fault("server_error", method="POST", path="/orders$")
    trade(floor.desk)
    with floor.database.transaction() as tx:
        store.stop_buying(tx, "operator:ann", "lunch", floor.now())
    call_off(floor, order)
    floor.sandbox.no_faults()
    ticks(floor)
    with floor.database.transaction() as tx:
        store.resume_buying(tx)
    ticks(floor)
    assert at_market(floor) == []


def test_what_was_called_off_and_is_at_the_market_after_all_is_cancelled_there(floor):
    order = floor.want(price="0.06", start=later(floor), allow_standing=True)
    with floor.meddled(after=answer_lost) as desk:
        trade(desk)
    call_off(floor, order)
    ticks(floor)
    assert (floor.order(order.id).state, at_market(floor)) == (OrderState.CANCELLED, ["cancelled"])


@pytest.mark.parametrize("status", [409, 403, 422])
def test_a_refusal_after_an_attempt_whose_answer_was_lost_loses_no_order(floor, status):
    order = floor.want(start=later(floor))
    with floor.meddled(after=answer_lost) as desk:
        trade(desk)
    refusing = lambda request: a_refusal(status) if creates(request) or request.method == "GET" else None  # noqa: E731
    with floor.meddled(before=refusing) as desk:
        trade(desk)
    assert floor.order(order.id).state is OrderState.INTENDED
    ticks(floor)
    assert (floor.order(order.id).state, len(at_market(floor))) == (OrderState.FILLED, 1)


def test_a_refusal_of_the_first_attempt_is_the_end_of_it(floor):
    order = floor.want(start=later(floor))
    with floor.meddled(before=lambda request: a_refusal(422) if creates(request) else None) as desk:
        trade(desk)
    assert floor.order(order.id).state is OrderState.REJECTED


def test_of_two_alike_each_gets_its_own(floor):
    """Of the first one the request is lost, of the second one the answer."""
    first, second = floor.want(start=later(floor)), floor.want(start=later(floor))
    assert first.request == second.request

    def meddle(request: httpx.Request) -> None:
        if creates(request) and request.headers["idempotency-key"] == first.id:
            raise httpx.ReadTimeout("it never came")

    with floor.meddled(before=meddle, after=answer_lost) as desk:
        trade(desk)
        trade(desk)
    assert len(at_market(floor)) == 1
    ticks(floor)
    assert {floor.order(each.id).state for each in (first, second)} == {OrderState.FILLED}
    assert at_market(floor) == ["filled", "filled"]


def test_an_answer_that_is_not_of_what_was_asked_is_kept_as_ours_and_holds_up_no_other(floor):
    bad, good = floor.want(start=later(floor, 5)), floor.want(start=later(floor, 6))
    start = int(bad.request.window.start.timestamp())

    def clamp(_request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = response.json()
        for row in body.get("data", [body]) if isinstance(body, dict) else []:
            for part in row.get("allocation_schedule_delta") or []:
                part["start_at"] += 60 * (part["start_at"] == start)
        return httpx.Response(response.status_code, json=body)

    with floor.meddled(after=clamp) as desk:
        for _ in range(3):
            done = trade(desk)
            floor.sandbox.advance(61)
    assert any("is not what was asked for" in problem for problem in done.problems)
    assert floor.order(good.id).state is OrderState.FILLED
    assert floor.order(bad.id).market_id is not None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nodes", "more nodes"),
        ("price", "a worse price"),
        ("window", "beyond its window"),
        ("nothing", "calls .* filled"),
    ],
)
def test_an_answer_of_more_than_was_asked_or_of_nothing_is_not_believed(floor, what: str, said: str):
    order, other = floor.want(start=later(floor, 5)), floor.want(start=later(floor, 7))
    start = int(order.request.window.start.timestamp())

    def lie(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method != "GET" or "/orders/" not in request.url.path:
            return None
        body = response.json()
        if body["allocation_schedule_delta"][0]["start_at"] == start and body["fills"]:
            _LIES[what](body)
        return httpx.Response(200, json=body)

    floor.sandbox.advance(1)
    with floor.meddled(after=lie) as desk:
        for _ in range(3):
            done = trade(desk)
            floor.sandbox.advance(60)
    assert len(done.problems) == 1
    assert re.search(said, done.problems[0])
    assert floor.rows("select * from blocks where order_id = '" + order.id + "'") == []
    assert floor.order(other.id).state is OrderState.FILLED
    ticks(floor, 1)
    assert floor.order(order.id).state is OrderState.FILLED


def _more_nodes(body: dict[str, Any]) -> None:
    body["filled_allocation_schedule_delta"][0]["node_count"] = 50
    for fill in body["fills"]:
        fill["allocation_schedule_delta"][0]["node_count"] = 50


def _worse_price(body: dict[str, Any]) -> None:
    for fill in body["fills"]:
        fill["price_dollars_per_node_hour"] = "900.000000"


def _longer(body: dict[str, Any]) -> None:
    body["filled_allocation_schedule_delta"][0]["end_at"] += 3600
    for fill in body["fills"]:
        fill["allocation_schedule_delta"][0]["end_at"] += 3600


def _nothing(body: dict[str, Any]) -> None:
    body["filled_allocation_schedule_delta"], body["fills"] = [], []


_LIES = {"nodes": _more_nodes, "price": _worse_price, "window": _longer, "nothing": _nothing}


def test_what_is_approved_late_goes_out_all_the_same_from_the_next_minute_on(floor_with):
    floor = floor_with(approval_above=10)
    order = floor.want(minutes=60)
    floor.sandbox.advance(15 * 60)
    trade(floor.desk)
    approved = approve(floor, order)
    assert approved.request.window.end == order.request.window.end
    assert approved.request.window.start > floor.now() > order.request.window.start
    trade(floor.desk)
    ticks(floor)
    assert floor.order(order.id).state is OrderState.FILLED


def test_what_has_hardly_any_time_left_is_not_approved_any_more(floor_with):
    floor = floor_with(approval_above=10)
    order = floor.want(minutes=60)
    floor.sandbox.advance(57 * 60)
    with pytest.raises(Conflict, match="place another order"):
        approve(floor, order)


def test_the_cap_of_an_hour_counts_from_when_an_order_was_let_out(floor_with):
    floor = floor_with(max_hour=100, approval_above=80)
    order = floor.want(start=later(floor, 9), minutes=180)
    floor.sandbox.advance(50 * 60)
    approve(floor, order)
    floor.sandbox.advance(30 * 60)
    with pytest.raises(SpendRefused, match="cap per hour"):
        floor.want(start=later(floor, 9), minutes=120, price="29")


def test_purchases_that_are_held_back_hold_up_no_sale(floor):
    bought = floor.want(minutes=600)
    trade(floor.desk)
    ticks(floor, 1)
    assert floor.order(bought.id).state is OrderState.FILLED
    for hours in range(20):
        floor.want(start=later(floor, 20 + hours))
    with floor.database.transaction() as tx:
        store.stop_buying(tx, "operator:ann", "lunch", floor.now())
    sale = floor.sell(start=later(floor, 2))
    trade(floor.desk)
    ticks(floor)
    assert floor.order(sale.id).state is OrderState.FILLED


def test_a_standing_order_that_the_market_rejects_after_all_is_over(floor):
    order = floor.want(price="0.06", allow_standing=True, start=later(floor))
    trade(floor.desk)
    ticks(floor, 1)
    assert floor.order(order.id).state is OrderState.STANDING

    def rejected(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if "/orders/" not in request.url.path:
            return None
        return httpx.Response(200, json={**response.json(), "status": "rejected"})

    with floor.meddled(after=rejected) as desk:
        trade(desk)
    assert floor.order(order.id).state is OrderState.REJECTED


def test_a_node_that_an_operator_drained_meanwhile_stays_drained_after_the_sale(floor):
    bought = floor.want(minutes=240)
    trade(floor.desk)
    ticks(floor, 1)
    node_id = _manned(floor)
    sale = floor.want(side=Side.SELL, start=later(floor, 1), price="39", allow_standing=True, keep_free=[node_id])
    with floor.database.transaction() as tx:
        fleet.drain(tx, node_id, "operator:maintenance")
    call_off(floor, sale)
    ticks(floor)
    assert floor.order(sale.id).state.ended
    assert floor.rows("select state from nodes") == [{"state": "draining"}]
    assert floor.order(bought.id).amount > Decimal(0)


def _manned(floor: Floor) -> str:
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    (node_id,) = floor.boot_agents()
    return node_id
