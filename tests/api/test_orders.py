"""Orders over HTTP, with a market behind: what is placed, refused, approved, cancelled, and what comes of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.api.calls import a_body, assert_problem
from tests.api.conftest import Api
from tests.api.trading import H100, H200, Trading, a_minute, an_order


def test_a_purchase_is_written_sent_and_filled_and_tells_its_story(trading: Trading) -> None:
    answer = trading.place(purpose="the night's training")
    assert answer.status_code == 201
    placed = answer.json()
    assert answer.headers["location"] == f"/v1/orders/{placed['id']}"
    assert (placed["state"], placed["market_id"], placed["amount"]) == ("intended", None, "0.000000")
    trading.tick()
    order = trading.order(placed["id"])
    assert (order["state"], order["purpose"]) == ("filled", "the night's training")
    assert order["market_id"].startswith("ordr_")
    assert 0 < Decimal(order["amount"]) <= Decimal(order["worst_case"])
    assert sum(Decimal(fill["amount"]) for fill in order["fills"]) == Decimal(order["amount"])
    assert sum(Decimal(block["cost"]) for block in order["blocks"]) == Decimal(order["amount"])
    actions = [deed["action"] for deed in order["trail"]]
    assert actions[0] == "order.intended"
    assert actions[-1] == "order.filled"
    assert {"order.pending", "order.fill"} <= set(actions)
    assert order["trail"][0]["actor"].startswith("operator:")


def test_what_is_left_out_is_the_next_minute_and_the_quote_with_room(trading: Trading) -> None:
    before = a_minute()
    order = trading.placed(duration_minutes=90)
    start, end = datetime.fromisoformat(order["start"]), datetime.fromisoformat(order["end"])
    assert before < start <= before + timedelta(minutes=2)
    assert end - start == timedelta(minutes=90)
    asked = {"sku": H100, "start": order["start"], "duration_minutes": 90}
    quote = trading.operator.get("/v1/market/quote", params=asked).json()
    assert Decimal("1.03") < Decimal(order["limit_price"]) / Decimal(quote["price"]) < Decimal("1.07")


def test_a_gpu_type_is_the_kind_of_machine_that_has_it(trading: Trading) -> None:
    assert trading.placed(sku=None, gpu_type="h200")["sku"] == H200


def test_an_alias_names_a_kind_of_machine_and_an_end_a_window(trading: Trading) -> None:
    start = a_minute(timedelta(hours=3))
    end = start + timedelta(hours=1)
    body = {"sku": "sea-3-h100", "start": start.isoformat(), "end": end.isoformat(), "duration_minutes": None}
    order = trading.placed(**body, limit_price="20.4")
    assert order["sku"] == H100
    assert (datetime.fromisoformat(order["start"]), datetime.fromisoformat(order["end"])) == (start, end)
    assert (Decimal(order["limit_price"]), Decimal(order["worst_case"])) == (Decimal("20.4"), Decimal("20.4"))


def test_a_limit_between_two_of_the_markets_prices_is_the_one_that_is_no_worse(trading: Trading) -> None:
    assert Decimal(trading.placed(limit_price="20.000059")["limit_price"]) == Decimal("20.000040")


def test_the_same_key_twice_is_one_order(trading: Trading) -> None:
    first, second = trading.place(key="k"), trading.place(key="k")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    problem = assert_problem(trading.place(key="k", nodes=2), 409, "idempotency-conflict")
    assert first.json()["id"] in problem["detail"]
    other = trading.place(key="k", client=trading.api.operator())
    assert (other.status_code, other.json()["id"] != first.json()["id"]) == (201, True)


def test_a_hurried_crowd_with_one_key_places_one_order(trading: Trading) -> None:
    clients = [trading.api.client(trading.operator.headers["authorization"].removeprefix("Bearer ")) for _ in range(8)]
    body = an_order(limit_price="20")

    def place(client: Any) -> tuple[int, str]:
        answer = client.post("/v1/orders", json=body, headers={"Idempotency-Key": "crowd"})
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(place, clients))
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert len({order_id for _, order_id in answers}) == 1


def test_a_hurried_crowd_stays_within_the_caps_together(trading: Trading) -> None:
    """Each fits under the cap per hour ($2,000); ten do not."""
    clients = [trading.api.operator() for _ in range(10)]
    body = an_order(limit_price="24", duration_minutes=60, nodes=20)

    def place(client: Any) -> int:
        return int(client.post("/v1/orders", json=body).status_code)

    with ThreadPoolExecutor(10) as pool:
        answers = sorted(pool.map(place, clients))
    assert answers == [201] * 4 + [409] * 6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"limit_price": "40.01"}, "above the platform's own, $40.00"),
        ({"limit_price": "40", "nodes": 20}, "the cap per order is $1,000.00"),
    ],
    ids=["too dear", "over a cap"],
)
def test_a_guard_refuses_with_its_reason_and_nothing_is_written(
    trading: Trading, changes: dict[str, Any], reason: str
) -> None:
    problem = assert_problem(trading.place(**changes), 409, "spend-refused")
    assert reason in problem["detail"]
    assert trading.operator.get("/v1/orders").json()["data"] == []


def test_a_large_order_waits_for_an_approval(trading: Trading) -> None:
    order = trading.placed(limit_price="20", nodes=13)
    assert order["state"] == "proposed"
    assert "above $500.00 an operator approves" in order["message"]
    trading.tick()
    assert trading.order(order["id"])["state"] == "proposed"
    approver = trading.api.operator()
    for _ in range(2):
        approved = approver.post(f"/v1/orders/{order['id']}/approve").raise_for_status().json()
        assert approved["state"] == "intended"
        assert approved["approved_by"].startswith("operator:")
    for _ in range(2):
        cancelled = trading.operator.post(f"/v1/orders/{order['id']}/cancel").raise_for_status().json()
        assert cancelled["state"] == "withdrawn"
    assert_problem(approver.post(f"/v1/orders/{order['id']}/approve"), 409, "illegal-move")


def test_what_needs_no_approval_can_not_be_approved(trading: Trading) -> None:
    order_id = trading.placed(limit_price="20")["id"]
    assert_problem(trading.operator.post(f"/v1/orders/{order_id}/approve"), 409, "illegal-move")


def test_an_order_that_stands_is_cancelled_at_the_market(trading: Trading) -> None:
    order_id = trading.placed(limit_price="0.5", allow_standing=True)["id"]
    trading.tick()
    assert trading.order(order_id)["state"] == "standing"
    asked = trading.operator.post(f"/v1/orders/{order_id}/cancel").raise_for_status().json()
    assert (asked["state"], asked["cancel_asked_at"] is not None) == ("standing", True)
    trading.tick()
    order = trading.order(order_id)
    assert (order["state"], order["amount"]) == ("cancelled", "0.000000")


def test_an_order_that_has_filled_has_nothing_to_cancel(trading: Trading) -> None:
    order_id = trading.bought()["id"]
    assert_problem(trading.operator.post(f"/v1/orders/{order_id}/cancel"), 409, "conflict")


_NONSENSE = [
    {"nodes": 0},
    {"nodes": 1025},
    {"side": "borrow"},
    {"sku": None},
    {"gpu_type": "H100"},
    {"duration_minutes": None},
    {"duration_minutes": 0},
    {"end": "2030-01-01T00:00:00Z"},
    {"limit_price": "0"},
    {"limit_price": "-1"},
    {"limit_price": "nan"},
    {"limit_price": "Infinity"},
    {"limit_price": "1e300"},
    {"limit_price": "0.0000001"},
    {"start": "2026-01-01T00:00:00Z"},
    {"start": "2027-01-01T00:00:00"},
    {"start": "2027-01-01T00:00:30Z"},
    {"start": "9999-12-31T23:59:00Z"},
    {"start": "0001-01-01T00:00:00+14:00"},
    {"end": "9999-12-31T23:59:00-14:00", "duration_minutes": None},
    {"end": "2020-01-01T00:00:00Z", "duration_minutes": None},
    {"sku": "isku_nosuch"},
    {"sku": None, "gpu_type": "abacus"},
    {"sku": "\x00"},
    {"purpose": ""},
    {"limit": "1"},
]


def test_nonsense_is_refused(trading: Trading) -> None:
    for changes in _NONSENSE:
        answer = trading.place(**{"limit_price": "20", **changes})
        assert answer.status_code == 422, changes
        assert_problem(answer, 422, "invalid-request")
    assert trading.operator.get("/v1/orders").json()["data"] == []


def test_an_unknown_kind_of_machine_is_answered_with_those_there_are(trading: Trading) -> None:
    problem = assert_problem(trading.place(sku="h1000"), 422, "invalid-request")
    assert "sea-3-h100 (8 x H100)" in problem["detail"]


def test_what_nobody_sells_needs_a_price_and_patience(trading: Trading) -> None:
    problem = assert_problem(trading.place(nodes=1024), 409, "conflict")
    assert "no_availability" in problem["detail"]
    assert "allow_standing" in problem["detail"]


def test_without_a_market_nothing_is_ordered_and_the_rest_works(api: Api) -> None:
    operator = api.operator()
    problem = assert_problem(operator.post("/v1/orders", json=an_order()), 409, "conflict")
    assert "No market is configured" in problem["detail"]
    assert operator.get("/v1/orders").json() == {"data": [], "next_cursor": None}
    assert_problem(operator.get("/v1/orders/order_none"), 404, "not-found")
    assert_problem(operator.post("/v1/orders/order_none/approve"), 404, "not-found")
    assert_problem(operator.post("/v1/orders/order_none/cancel"), 404, "not-found")


def test_a_list_has_pages_and_filters(trading: Trading) -> None:
    ids = [trading.placed(limit_price="20", duration_minutes=10)["id"] for _ in range(5)]
    trading.operator.post(f"/v1/orders/{ids[0]}/cancel").raise_for_status()
    seen, cursor = [], None
    while True:
        page = trading.operator.get("/v1/orders", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [order["id"] for order in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    withdrawn = trading.operator.get("/v1/orders", params={"state": ["withdrawn", "filled"]}).json()["data"]
    assert [order["id"] for order in withdrawn] == [ids[0]]
    assert trading.operator.get("/v1/orders", params={"side": "sell"}).json()["data"] == []


def test_a_market_that_is_away_is_a_503_and_a_named_price_needs_no_market(trading: Trading) -> None:
    trading.placed(limit_price="20")
    trading.sandbox.fault("server_error")
    assert_problem(trading.place(), 503, "unavailable")
    assert trading.place(limit_price="20").status_code == 201


def test_a_market_that_takes_our_token_no_more_is_our_fault_not_the_callers(trading: Trading) -> None:
    trading.sandbox.fault("expired_token")
    problem = assert_problem(trading.place(), 503, "unavailable")
    assert "token" in problem["detail"]
    assert trading.sandbox.token not in str(problem)


def test_a_page_of_html_is_no_answer(trading: Trading) -> None:
    trading.sandbox.fault("html")
    assert_problem(trading.place(), 503, "unavailable")


def test_more_than_is_owned_is_not_sold(trading: Trading) -> None:
    assert "only 0 are ours" in assert_problem(_sell(trading), 409, "conflict")["detail"]
    trading.bought(nodes=2, duration_minutes=120)
    assert "only 2 are ours" in assert_problem(_sell(trading, nodes=3), 409, "conflict")["detail"]
    assert_problem(_sell(trading, duration_minutes=600), 409, "conflict")


def test_what_stands_empty_is_sold_without_stopping_anything(trading: Trading) -> None:
    trading.bought(nodes=2)
    order = _sell(trading).json()
    assert trading.order(order["id"])["kept_free"] == []
    promised = _sell(trading, nodes=2)
    assert (
        "only 1 are ours all that time and not for sale already" in assert_problem(promised, 409, "conflict")["detail"]
    )


def test_a_sale_keeps_idle_nodes_free_until_it_is_decided(trading: Trading) -> None:
    trading.bought(nodes=2)
    nodes = {agent.id for agent in trading.machines_join()}
    order = _sell(trading, limit_price="39", allow_standing=True).json()
    (kept,) = trading.order(order["id"])["kept_free"]
    assert kept in nodes
    assert _states(trading) == {kept: "draining", **dict.fromkeys(nodes - {kept}, "ready")}
    trading.operator.post(f"/v1/orders/{order['id']}/cancel").raise_for_status()
    assert set(_states(trading).values()) == {"ready"}


def test_a_node_that_works_is_not_sold(trading: Trading) -> None:
    trading.bought(nodes=2)
    agents = trading.machines_join()
    customer = trading.api.customer()
    # Each takes a whole node, and lasts no longer than its node does.
    for _ in agents:
        trading.api.launched(customer, gpus=8, max_runtime_seconds=60)
    problem = assert_problem(_sell(trading), 409, "conflict")
    assert "1 machine(s) of this kind would have to stop for it, and 0 are idle" in problem["detail"]
    assert set(_states(trading).values()) == {"ready"}


def test_what_is_reserved_is_not_sold(trading: Trading) -> None:
    trading.bought(nodes=2)
    customer = trading.api.customer()
    start = a_minute(timedelta(minutes=30))
    times = {"start": start.isoformat(), "end": (start + timedelta(minutes=20)).isoformat()}
    reserved = customer.post("/v1/reservations", json={"gpu_type": "H100", "gpus": 10, **times})
    assert reserved.status_code == 201, reserved.text
    problem = assert_problem(_sell(trading, nodes=1), 409, "conflict")
    assert "2 H100 GPU(s) of it are reserved from" in problem["detail"]
    customer.delete(f"/v1/reservations/{reserved.json()['id']}").raise_for_status()
    assert _sell(trading, nodes=1).status_code == 201


def test_a_sale_fills_and_brings_what_the_market_credits(trading: Trading) -> None:
    trading.bought(nodes=2)
    order_id = _sell(trading, limit_price=None).json()["id"]
    trading.tick()
    order = trading.order(order_id)
    assert order["state"] == "filled", order
    assert Decimal(order["amount"]) >= Decimal(order["worst_case"])
    # More than one where several sellers filled the purchase.
    blocks = trading.operator.get("/v1/blocks").json()["data"]
    assert round(sum(Decimal(block["sold_node_hours"]) for block in blocks), 2) == 1
    assert sum(Decimal(block["proceeds"]) for block in blocks) == Decimal(order["amount"])


def _sell(trading: Trading, **changes: Any) -> Any:
    """An hour from the minute after the next on, inside what `bought` has bought."""
    start = a_minute(timedelta(minutes=3)).isoformat()
    changes = {"start": start, "duration_minutes": 60, "limit_price": "1", **changes}
    return trading.place(side="sell", **changes)


def _states(trading: Trading) -> dict[str, str]:
    return {node["id"]: node["state"] for node in trading.operator.get("/v1/nodes").json()["data"]}


def test_a_job_is_not_placed_on_a_node_that_is_kept_free(trading: Trading) -> None:
    trading.bought()
    trading.machines_join()
    _sell(trading, limit_price="39", allow_standing=True).raise_for_status()
    job = trading.api.customer().post("/v1/jobs", json=a_body(max_runtime_seconds=60)).json()
    assert job["state"] == "queued"
    trading_job = trading.operator.get(f"/v1/jobs/{job['id']}").json()
    assert trading_job["runs"] == []
