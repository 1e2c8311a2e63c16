"""What stands between a wish to buy and the money."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.market.guards import Answer, Caps, Controls, Spent, Verdict, judge
from scalar.market.model import OrderRequest, Rectangle, Side
from tests.made_up import NOON

CAPS = Caps(
    per_order=Decimal(100),
    per_hour=Decimal(200),
    per_day=Decimal(500),
    in_all=Decimal(1000),
    approval_above=Decimal(80),
    highest_price=Decimal(40),
    highest_price_ratio=Decimal(2),
)
NOTHING = Spent(last_hour=Decimal(0), last_day=Decimal(0), ever=Decimal(0))


def a_request(price: str = "20", *, hours: int = 1, nodes: int = 1, side: Side = Side.BUY) -> OrderRequest:
    window = Rectangle(start=NOON, end=NOON + timedelta(hours=hours), nodes=nodes)
    return OrderRequest(side=side, sku="isku_h100", window=window, limit_price=Decimal(price), purpose="test")


def verdict(request: OrderRequest, **changes: object) -> Verdict:
    given_: dict[str, object] = {
        "caps": CAPS,
        "spent": NOTHING,
        "usual_price": Decimal(18),
        "controls": Controls(),
        "disagreement": None,
    }
    return judge(request, **{**given_, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "spent", "answer", "said"),
    [
        (a_request("20"), {}, Answer.ALLOWED, ""),
        (a_request("20", hours=4), {}, Answer.ALLOWED, ""),
        (a_request("20", hours=5), {}, Answer.NEEDS_APPROVAL, "above $80.00 an operator approves"),
        (a_request("20", hours=6), {}, Answer.REFUSED, "cap per order is $100.00"),
        (a_request("20"), {"last_hour": "180"}, Answer.ALLOWED, ""),
        (a_request("20"), {"last_hour": "180.01"}, Answer.REFUSED, "cap per hour is $200.00"),
        (a_request("20"), {"last_day": "480.01"}, Answer.REFUSED, "cap per day is $500.00"),
        (a_request("20"), {"ever": "980.01"}, Answer.REFUSED, "cap in all is $1,000.00"),
        (a_request("36"), {}, Answer.ALLOWED, ""),
        (a_request("36.01"), {}, Answer.REFUSED, "more than 2 times the usual $18.00"),
        (a_request("40.01"), {}, Answer.REFUSED, "above the platform's own, $40.00"),
        (a_request("1", side=Side.SELL), {"ever": "5000"}, Answer.NEEDS_APPROVAL, "less than 25%"),
        (a_request("4.50", side=Side.SELL), {"ever": "5000"}, Answer.ALLOWED, ""),
    ],
)
def test_the_rule(request_: OrderRequest, spent: dict[str, str], answer: Answer, said: str) -> None:
    decided = verdict(request_, spent=replace(NOTHING, **{name: Decimal(value) for name, value in spent.items()}))
    assert decided.answer is answer
    assert said in decided.reason


def test_without_a_history_only_the_platforms_own_limit_holds() -> None:
    assert verdict(a_request("39"), usual_price=None).answer is Answer.ALLOWED


def test_a_stop_and_a_disagreement_stop_purchases_and_no_sale() -> None:
    stop = Controls(buying_stopped_at=NOON, stopped_by="operator:ann", stop_reason="odd prices")
    for changes in ({"controls": stop}, {"disagreement": "a machine is missing"}):
        assert verdict(a_request(), **changes).answer is Answer.REFUSED
        assert verdict(a_request("20", side=Side.SELL), **changes).answer is Answer.ALLOWED
    assert "odd prices" in verdict(a_request(), controls=stop).reason


@given(
    orders=st.lists(
        st.tuples(st.decimals("0.01", "60", places=2), st.integers(1, 8), st.integers(1, 3)), min_size=1, max_size=40
    )
)
def test_whatever_is_asked_for_no_cap_is_ever_passed(orders: list[tuple[Decimal, int, int]]) -> None:
    spent = Decimal(0)
    for price, hours, nodes in orders:
        request = a_request(str(price), hours=hours, nodes=nodes)
        decided = verdict(request, spent=Spent(last_hour=spent, last_day=spent, ever=spent))
        if decided.answer is not Answer.REFUSED:
            spent += request.worst_case
            assert request.worst_case <= CAPS.per_order
    assert spent <= CAPS.per_hour
