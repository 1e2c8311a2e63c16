"""What each finding is found by, and that nothing else is found: pure."""

from dataclasses import fields
from datetime import timedelta
from decimal import Decimal

import pytest

from scalar.market.model import Instance, InstanceState, Order, OrderRequest, OrderState, Rectangle, Side
from scalar.market.reconciling import (
    Charge,
    Charged,
    Finding,
    Kind,
    Manned,
    StrangeCharge,
    compare_capacity,
    compare_machines,
    compare_money,
    compare_nodes,
    compare_orders,
)
from tests.made_up import NOON

HOUR = timedelta(hours=1)


def an_order(id: str = "order_1", side: Side = Side.BUY, amount: str = "16", **changes) -> Order:
    request = OrderRequest(
        side=side,
        sku="h100",
        window=Rectangle(start=NOON, end=NOON + HOUR, nodes=1),
        limit_price=Decimal(20),
        purpose="test",
    )
    values = {
        "state": OrderState.FILLED,
        "requested_by": "test",
        "plan_id": None,
        "created_at": NOON,
        "intended_at": NOON,
        "approved_by": None,
        "market_id": f"market_{id}",
        "sent_at": NOON,
        "last_sent_at": NOON,
        "send_leases": 1,
        "cancel_asked_at": None,
        "ended_at": NOON,
        "filled_at": NOON,
        "amount": Decimal(amount),
        "message": None,
        **changes,
    }
    return Order(id=id, request=request, **values)


def a_machine(id: str = "gpu_1", state: InstanceState = InstanceState.JOINED) -> Instance:
    known = {"id": id, "sku": "h100", "state": state, "market_id": f"market_{id}", "until": NOON + HOUR}
    return Instance(**{field.name: known.get(field.name) for field in fields(Instance)})


def a_line(cents: int, balance: int, order: str | None = "market_order_1") -> Charge:
    return Charge(at=NOON, kind="buy_order", cents=cents, balance_cents=balance, market_order_id=order)


def money(
    statement: list[Charge] | None = None,
    cents: int = -1600,
    *,
    order: Order | None = None,
    fee: str | None = None,
    **more,
) -> list[Finding]:
    order = order or an_order()
    return compare_money(
        statement if statement is not None else [a_line(cents, 8400)],
        [order],
        {str(order.market_id): Charged(cents=cents, lines=1)},
        {order.id: Decimal(fee)} if fee is not None else {},
        **{"balance_cents": 8400, **more},
    )


def kinds(found: list[Finding]) -> list[str]:
    assert all(each.what and each.do for each in found)
    return [each.kind.value for each in found]


def test_every_kind_of_finding_is_held_to_an_example_below() -> None:
    assert {kind.value for kind in Kind} == {example for example, _ in EXAMPLES}


def test_books_that_agree_have_no_finding() -> None:
    part = Rectangle(start=NOON, end=NOON + HOUR, nodes=2)
    halves = [Rectangle(start=NOON, end=NOON + HOUR, nodes=1)] * 2
    assert compare_orders([an_order()], {"market_order_1": "filled"}, since=NOON - HOUR) == []
    assert compare_capacity("h100", [part], halves, since=NOON) == []
    assert compare_machines([a_machine()], {"market_gpu_1": "x"}, empty_seats=(), hopeless=()) == []
    assert compare_nodes([a_node(NOON)], silent_before=NOON) == []
    assert money() == []


def a_node(heard_at) -> Manned:
    return Manned(instance_id="gpu_1", node_id="node_1", node_name="gpu_1", heard_at=heard_at)


def a_strange(order: str | None) -> StrangeCharge:
    return StrangeCharge(number=7, at=NOON, kind="buy_order", cents=-5000, market_order_id=order)


EXAMPLES = [
    ("unknown_order", lambda: compare_orders([], {"market_x": "standing"}, since=NOON - HOUR)),
    ("missing_order", lambda: compare_orders([an_order()], {}, since=NOON - HOUR)),
    (
        "capacity_differs",
        lambda: compare_capacity("h100", [Rectangle(start=NOON, end=NOON + HOUR, nodes=1)], [], since=NOON),
    ),
    ("unknown_machine", lambda: compare_machines([], {"market_gpu_9": "x"}, empty_seats=(), hopeless=())),
    ("missing_machine", lambda: compare_machines([a_machine()], {}, empty_seats=(), hopeless=())),
    ("empty_seat", lambda: compare_machines([], {}, empty_seats=["block_1/0"], hopeless=())),
    ("empty_seat", lambda: compare_machines([], {}, empty_seats=["block_1/0"], hopeless=["block_1/0"])),
    ("silent_node", lambda: compare_nodes([a_node(NOON - HOUR)], silent_before=NOON)),
    ("unknown_charge", lambda: money(strange=[a_strange("market_x")])),
    ("unknown_charge", lambda: money(strange=[a_strange(None)])),
    ("money_differs", lambda: money(cents=-1602, statement=[a_line(-1602, 8400)])),
    ("statement_broken", lambda: money([a_line(-1600, 8400), a_line(-100, 8400)])),
    ("statement_broken", lambda: money(balance_cents=8300)),
]


@pytest.mark.parametrize(("kind", "found"), EXAMPLES)
def test_what_differs_is_found_once_with_what_to_do(kind: str, found) -> None:
    assert kinds(found()) == [kind]


def test_an_order_of_long_ago_need_not_be_in_the_list() -> None:
    assert compare_orders([an_order(sent_at=NOON - 3 * HOUR)], {}, since=NOON - HOUR) == []


@pytest.mark.parametrize(
    ("cents", "fee", "agrees"),
    [(1520, "0.80", True), (1600, "0.80", False), (1400, "0.80", False), (1520, None, True), (1601, None, False)],
)
def test_a_sale_brings_its_amount_less_the_fee(cents: int, fee: str | None, agrees: bool) -> None:
    sale = an_order(side=Side.SELL)
    found = money([a_line(cents, 8400)], cents, order=sale, fee=fee)
    assert kinds(found) == ([] if agrees else ["money_differs"])
