"""Orders, money and node time, as a customer sees them over HTTP."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox_process import SandboxMarket

H100 = "isku_sea3h100"
HOUR = 3600


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(tmp_path_factory.mktemp("orders"), balance="1000000") as market:
        yield market


@pytest.fixture
def market(shared: SandboxMarket) -> Iterator[SandboxMarket]:
    """The module's market, with its rules as they were."""
    yield shared
    shared.no_faults()
    rules = shared.call("GET", "/sandbox/rules")["rules"]
    defaults = {rule["name"]: rule["default"] for rule in rules if rule["can_change_while_running"]}
    shared.call("PATCH", "/sandbox/rules", json=defaults)


def an_order(market: SandboxMarket, pool: str, **changes: Any) -> dict[str, Any]:
    """Two H100 nodes from now for two hours, at any price."""
    start = changes.pop("start", int(market.now) // 60 * 60)
    span = {
        "start_at": start,
        "end_at": start + changes.pop("seconds", 2 * HOUR),
        "node_count": changes.pop("nodes", 2),
    }
    order = {
        "pool": pool,
        "side": "buy",
        "instance_sku": H100,
        "allocation_schedule_delta": [span],
        "limit_price_dollars_per_node_hour": "100.000000",
    }
    return order | changes


def place(market: SandboxMarket, pool: str, key: str | None = None, **changes: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return market.preview("POST", "/orders", json=an_order(market, pool, **changes), headers=headers)


def the_order(market: SandboxMarket, id: str) -> Any:
    return market.preview("GET", f"/orders/{id}")


def micros(order: dict[str, Any]) -> int:
    """What an order's fills cost, exactly."""
    return sum(
        int(Decimal(fill["price_dollars_per_node_hour"]) * 1_000_000)
        * sum((span["end_at"] - span["start_at"]) * span["node_count"] for span in fill["allocation_schedule_delta"])
        // HOUR
        for fill in order["fills"]
    )


def test_a_bought_block_is_owned_and_paid_to_the_cent(market: SandboxMarket) -> None:
    pool = market.a_pool("bought")
    before = market.call("GET", "/v1/balances")
    order = the_order(market, place(market, pool)["id"])
    assert order["status"] == "filled"
    assert order["filled_allocation_schedule_delta"] == order["allocation_schedule_delta"]
    owned = market.preview("GET", f"/pools/{pool}")["allocation_schedule"]
    assert owned == {"total": order["allocation_schedule_delta"], "by_instance_sku": {H100: owned["total"]}}
    after = market.call("GET", "/v1/balances")
    spent = before["current_balance_cents"] - after["current_balance_cents"]
    assert abs(spent - micros(order) / 10_000) <= 1
    assert after["available_balance_cents"] == after["current_balance_cents"]


def test_a_preview_posted_verbatim_fills_at_its_price(market: SandboxMarket) -> None:
    pool = market.a_pool("previewed")
    asked = {"side": "buy", "start_at": int(market.now) // 60 * 60, "duration_seconds": 5 * HOUR, "node_count": 6}
    quoted = market.preview(
        "POST", "/order_preview", json={**asked, "requirements": {"accelerator": ["H100"]}, "pool": pool}
    )
    made = market.preview("POST", "/orders", json=quoted["post_order_body"])
    order = the_order(market, made["id"])
    assert order["status"] == "filled"
    limit = Decimal(quoted["post_order_body"]["limit_price_dollars_per_node_hour"])
    assert max(Decimal(fill["price_dollars_per_node_hour"]) for fill in order["fills"]) <= limit


def test_what_is_owned_can_be_sold_back_less_a_fee(market: SandboxMarket) -> None:
    pool = market.a_pool("resold")
    place(market, pool, nodes=2)
    sold = the_order(market, place(market, pool, side="sell", nodes=1, limit_price_dollars_per_node_hour="1.0")["id"])
    assert sold["status"] == "filled"
    left = market.preview("GET", f"/pools/{pool}")["allocation_schedule"]["total"]
    assert {span["node_count"] for span in left} == {1}
    market.call("PATCH", "/sandbox/rules", json={"transactions_per": "order", "amount_sign": "signed"})
    rows = market.call("GET", "/v1/transactions?transaction_type=sell_order&limit=1")["data"]
    earned = Decimal(micros(sold)) * Decimal("0.99") / 10_000
    assert rows[0]["details"]["order_id"] == sold["id"]
    assert abs(Decimal(rows[0]["amount_cents"]) - earned) <= 1


def test_nobody_sells_what_he_does_not_own(market: SandboxMarket) -> None:
    answer = market.request("POST", "/preview/v2/orders", json=an_order(market, market.a_pool("empty"), side="sell"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "unprocessable_entity")


def test_a_standing_bid_reserves_and_its_cancellation_frees(market: SandboxMarket) -> None:
    pool = market.a_pool("standing")
    before = market.call("GET", "/v1/balances")["available_balance_cents"]
    bid = place(market, pool, limit_price_dollars_per_node_hour="3.000000", allow_standing=True)["id"]
    assert the_order(market, bid)["status"] == "standing"
    balances = market.call("GET", "/v1/balances")
    assert before - balances["available_balance_cents"] == 1200
    market.preview("DELETE", f"/orders/{bid}")
    assert the_order(market, bid)["status"] == "cancelled"
    assert market.call("GET", "/v1/balances")["available_balance_cents"] == before


def test_the_transactions_add_up_to_the_balance(market: SandboxMarket) -> None:
    pool = market.a_pool("sums")
    place(market, pool, nodes=9)
    place(market, pool, side="sell", nodes=3, limit_price_dollars_per_node_hour="1.0")
    market.call("POST", "/sandbox/deposit", json={"dollars": "12.34"})
    market.call("PATCH", "/sandbox/rules", json={"amount_sign": "signed"})
    rows: list[Any] = []
    query = "/v1/transactions?sort=transaction_time&limit=3"
    answer = market.call("GET", query)
    while True:
        rows += answer["data"]
        if not answer["has_more"]:
            break
        answer = market.call("GET", f"{query}&starting_after_cursor={rows[-1]['cursor']}")
    assert len({row["cursor"] for row in rows}) == len(rows)
    assert rows[-1]["balance"] == market.call("GET", "/v1/balances")["current_balance_cents"]
    # Each row is rounded to a cent by itself.
    assert abs(sum(row["amount_cents"] for row in rows) - rows[-1]["balance"]) <= len(rows)


def test_a_key_that_comes_again_places_nothing_new(market: SandboxMarket) -> None:
    pool = market.a_pool("once")
    first = place(market, pool, key="k1")
    assert place(market, pool, key="k1")["id"] == first["id"]
    assert place(market, pool, key="k1")["status"] == "filled"
    orders = market.preview("GET", f"/orders?pool={pool}")["data"]
    assert len(orders) == 1


@pytest.mark.parametrize(("status", "type"), [(400, "idempotency_error"), (409, "conflict")])
def test_a_key_with_another_body_is_a_conflict(market: SandboxMarket, status: int, type: str) -> None:
    market.call("PATCH", "/sandbox/rules", json={"idempotency_conflict": status})
    pool = market.a_pool(f"conflict-{status}")
    place(market, pool, key=f"k{status}")
    answer = market.request(
        "POST",
        "/preview/v2/orders",
        json=an_order(market, pool, nodes=3),
        headers={"Idempotency-Key": f"k{status}"},
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, type)


def test_an_idempotency_key_is_forgotten_after_its_time(market: SandboxMarket) -> None:
    market.call("PATCH", "/sandbox/rules", json={"idempotency_hours": 1})
    pool = market.a_pool("forgotten")
    body = an_order(market, pool, start=int(market.now) // 60 * 60 + 4 * HOUR)
    send: Callable[[], Any] = lambda: market.preview("POST", "/orders", json=body, headers={"Idempotency-Key": "old"})  # noqa: E731
    first = send()
    market.advance(HOUR - 60)
    assert send()["id"] == first["id"]
    market.advance(120)
    assert send()["id"] != first["id"]


def test_an_order_is_pending_for_the_fill_latency_and_what_it_needs_is_checked_at_once(market: SandboxMarket) -> None:
    market.call("PATCH", "/sandbox/rules", json={"fill_latency": 30})
    pool = market.a_pool("latency")
    start = int(market.now) // 60 * 60 + HOUR
    late = place(market, pool, start=start)["id"]
    market.advance(29)
    assert the_order(market, late)["status"] == "pending"
    market.advance(1)
    assert the_order(market, late)["status"] == "filled"
    dear = an_order(market, pool, nodes=90, start=start, limit_price_dollars_per_node_hour="9999.0")
    assert market.request("POST", "/preview/v2/orders", json=dear).status_code == 402
    assert (
        market.request("POST", "/preview/v2/orders", json=an_order(market, pool, side="sell", nodes=3)).status_code
        == 422
    )


def test_pending_orders_cannot_spend_the_same_money_twice(market: SandboxMarket) -> None:
    market.call("PATCH", "/sandbox/rules", json={"fill_latency": 30})
    pool = market.a_pool("twice")
    cents = market.call("GET", "/v1/balances")["available_balance_cents"]
    limit = f"{cents * 6 // 1000}.0"  # 60 % of the money, for one node and hour
    start = int(market.now) // 60 * 60 + HOUR
    body = an_order(market, pool, nodes=1, seconds=HOUR, start=start, limit_price_dollars_per_node_hour=limit)
    answers = [market.request("POST", "/preview/v2/orders", json=body).status_code for _ in range(2)]
    assert answers == [201, 402]


def test_a_cancellation_takes_its_time(market: SandboxMarket) -> None:
    market.call("PATCH", "/sandbox/rules", json={"cancel_latency": 10})
    pool = market.a_pool("cancelling")
    bid = place(market, pool, limit_price_dollars_per_node_hour="2.0", allow_standing=True)["id"]
    market.preview("DELETE", f"/orders/{bid}")
    assert the_order(market, bid)["status"] == "standing"
    market.advance(10)
    assert the_order(market, bid)["status"] == "cancelled"


def test_many_at_once_are_each_told_the_truth(market: SandboxMarket) -> None:
    pool = market.a_pool("crowd")
    body = an_order(market, pool, nodes=1, seconds=HOUR, start=int(market.now) // 60 * 60 + 30 * HOUR)
    with ThreadPoolExecutor(8) as threads:
        placed = list(threads.map(lambda _: market.preview("POST", "/orders", json=body)["id"], range(60)))
    found = [the_order(market, one) for one in placed]
    filled = [order for order in found if order["status"] == "filled"]
    assert filled
    assert {order["status"] for order in found} <= {"filled", "cancelled"}
    owned = market.preview("GET", f"/pools/{pool}")["allocation_schedule"]["total"]
    assert [span["node_count"] for span in owned] == [len(filled)]


def test_orders_are_listed_in_pages_that_miss_nothing(market: SandboxMarket) -> None:
    pool = market.a_pool("pages")
    made = [place(market, pool, nodes=1)["id"] for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        found = market.preview("GET", f"/orders?pool={pool}&limit=3{cursor}")
        seen += [order["id"] for order in found["data"]]
        if not found["has_more"]:
            break
        cursor = f"&starting_after={found['cursor']}"
        # Newer orders come in while one reads; they don't push older ones to another page.
        place(market, pool, nodes=1)
    assert seen == made[::-1]


def test_a_v0_quote_costs_what_the_book_does_and_errs_flatly(market: SandboxMarket) -> None:
    answer = market.call("GET", f"/v0/quote?side=buy&quantity=1&duration={2 * HOUR}&instance_type=h100i")
    assert answer["quote"]["zone"] == "sea-3-h100"
    assert 1000 < answer["quote"]["price"] < 10_000
    assert market.call("GET", f"/v0/quote?side=buy&quantity=1&duration={HOUR}&instance_type=z")["no_quote_reason"] == (
        "no_matching_clusters"
    )
    flat = market.request("GET", "/v0/quote?side=buy&quantity=0")
    assert (flat.status_code, flat.json()["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(("shape", "key"), [("wrapped", "error"), ("flat", "type"), ("coded", "code")])
def test_errors_come_in_the_shape_that_is_asked_for(market: SandboxMarket, shape: str, key: str) -> None:
    market.call("PATCH", "/sandbox/rules", json={"error_shape": shape})
    answer = market.request("GET", "/preview/v2/orders/ordr_none")
    assert answer.status_code == 404
    assert key in answer.json()


def test_another_customer_sees_nothing_of_it(market: SandboxMarket) -> None:
    pool = market.a_pool("private")
    order = place(market, pool)["id"]
    other = market.call("POST", "/sandbox/tokens", json={"customer": "acct_other", "dollars": "10"})["token"]
    assert market.request("GET", f"/preview/v2/orders/{order}", token=other).status_code == 404
    assert market.request("GET", f"/preview/v2/pools/{pool}", token=other).status_code == 404
    assert market.call("GET", "/preview/v2/pools", token=other)["data"] == []
    assert market.call("GET", "/v1/balances", token=other)["current_balance_cents"] == 1000


def test_a_token_ends_when_its_time_or_an_operator_says_so(market: SandboxMarket) -> None:
    short = market.call("POST", "/sandbox/tokens", json={"expires_in_seconds": 60})
    long = market.call("POST", "/sandbox/tokens", json={"name": "long"})
    assert market.request("GET", "/v1/account/me", token=short["token"]).status_code == 200
    market.advance(60)
    assert market.request("GET", "/v1/account/me", token=short["token"]).status_code == 401
    market.call("POST", f"/sandbox/tokens/{long['id']}/expire")
    assert market.request("GET", "/v1/account/me", token=long["token"]).status_code == 401


def test_the_token_file_is_for_its_owner_alone_and_the_token_in_no_log(
    market: SandboxMarket, shared: SandboxMarket
) -> None:
    assert market.token_file.stat().st_mode & 0o777 == 0o600
    assert market.token.startswith("sk_live_")
    kept = [path for path in Path(shared.data).rglob("*") if path.is_file() and path != market.token_file]
    assert not [path for path in kept if market.token.encode() in path.read_bytes()]


def test_a_procurement_buys_up_to_its_target_and_stops_when_disabled(market: SandboxMarket) -> None:
    pool = market.a_pool("automated")
    made = market.preview(
        "POST",
        "/procurements",
        json={
            "pool": pool,
            "instance_sku": H100,
            "target": 2,
            "min_sell_price_dollars_per_node_hour": "5.0",
            "max_buy_price_dollars_per_node_hour": "60.0",
            "managed_window_minutes": 120,
        },
    )
    market.advance(HOUR)
    now = int(market.now)
    owned = market.preview("GET", f"/pools/{pool}")["allocation_schedule"]["total"]
    assert owned[0]["node_count"] == 2
    assert owned[-1]["end_at"] >= now + 110 * 60
    assert market.preview("GET", f"/procurements/{made['id']}")["status"]["state"] == "info"
    assert market.preview("GET", f"/orders?pool={pool}")["data"] == []
    market.preview("PATCH", f"/procurements/{made['id']}", json={"enabled": False})
    market.advance(3 * HOUR)
    assert market.preview("GET", f"/pools/{pool}")["allocation_schedule"]["total"] == []


def test_traders_price_what_they_are_told_is_fair(market: SandboxMarket) -> None:
    def ask() -> Decimal:
        preview = {"side": "buy", "requirements": {"accelerator": ["H200"]}, "duration_seconds": HOUR, "node_count": 1}
        start = int(market.now) // 60 * 60
        quoted = market.preview("POST", "/order_preview", json={**preview, "start_at": start})
        return Decimal(quoted["post_order_body"]["limit_price_dollars_per_node_hour"])

    before = ask()
    market.call("PATCH", "/sandbox/traders", json={"sku": "isku_iad12h200", "price_factor": 3})
    assert ask() == pytest.approx(3 * before, rel=Decimal("0.001"))
    market.call("PATCH", "/sandbox/traders", json={"sku": "isku_iad12h200", "price_factor": 1, "supply": 0})
    asked = {"side": "buy", "requirements": {"accelerator": ["H200"]}, "duration_seconds": HOUR, "node_count": 1}
    none = market.preview("POST", "/order_preview", json={**asked, "start_at": int(market.now) // 60 * 60})
    assert none["type"] == "unavailable"
