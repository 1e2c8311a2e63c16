"""Every fault does what it says, as often as it says."""

import time
from collections.abc import Iterator

import httpx
import pytest

from sandbox.market.faults import MEANINGS
from tests.sandbox_process import PREVIEW, SandboxMarket

H100 = "isku_sea3h100"
HOUR = 3600


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(tmp_path_factory.mktemp("faults"), rule=["boot_seconds=0"]) as market:
        yield market


@pytest.fixture
def market(shared: SandboxMarket) -> Iterator[SandboxMarket]:
    yield shared
    shared.no_faults()


@pytest.fixture(scope="module")
def pool(shared: SandboxMarket) -> str:
    return shared.a_pool("faults")


def place(
    market: SandboxMarket, pool: str, *, key: str | None = None, nodes: int = 2, **more: object
) -> httpx.Response:
    start = int(market.now) // 60 * 60
    body = {
        "pool": pool,
        "side": "buy",
        "instance_sku": H100,
        "allocation_schedule_delta": [{"start_at": start, "end_at": start + HOUR, "node_count": nodes}],
        "limit_price_dollars_per_node_hour": "100.0",
        **more,
    }
    return market.request("POST", f"{PREVIEW}/orders", json=body, headers={"Idempotency-Key": key} if key else {})


@pytest.mark.parametrize(
    ("kind", "more", "status", "type"),
    [
        ("rate_limited", {"retry_after": 7}, 429, "rate_limit_exceeded"),
        ("server_error", {}, 500, "api_error"),
        ("server_error", {"status": 502}, 502, "api_error"),
        ("expired_token", {}, 401, "authentication_error"),
    ],
)
def test_an_answer_is_an_error_instead_as_often_as_asked(
    market: SandboxMarket, kind: str, more: dict[str, int], status: int, type: str
) -> None:
    market.fault(kind, times=2, **more)
    answers = [market.request("GET", f"{PREVIEW}/pools") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].json()["error"]["type"] == type
    if "retry_after" in more:
        assert answers[0].headers["Retry-After"] == "7"


def test_a_halted_market_takes_no_orders_but_shows_the_rest(market: SandboxMarket, pool: str) -> None:
    market.fault("halted")
    assert place(market, pool).status_code == 503
    assert market.request("GET", f"{PREVIEW}/pools").status_code == 200


def test_while_the_market_is_halted_nobody_trades(market: SandboxMarket, pool: str) -> None:
    def traded(start: float, end: float) -> int:
        query = f"start_at={int(start) - HOUR}&end_at={int(start) + 60 * 24 * HOUR}&since_at={int(start)}&limit=200"
        rows = market.behind(f"/orderbook/fills?{query}")["data"]
        return sum(start < row["filled_at"] < end for row in rows)

    market.call("PATCH", "/sandbox/rules", json={"fill_latency": 60})
    made = place(market, pool).json()["id"]
    market.call("PATCH", "/sandbox/rules", json={"fill_latency": 0})
    begin, end = market.now, market.now + 12 * HOUR
    market.fault("halted", until=end)
    market.advance(6 * HOUR)
    assert market.behind(f"/orders/{made}")["status"] == "pending"
    market.advance(18 * HOUR)
    assert traded(begin, end) == 0
    assert traded(end, market.now) > 0
    # Its start had passed when its turn came.
    assert market.behind(f"/orders/{made}")["status"] == "rejected"


def test_more_requests_a_minute_than_the_rule_says_are_too_many(market: SandboxMarket) -> None:
    tokens = [market.call("POST", "/sandbox/tokens", json={"name": f"busy-{n}"})["token"] for n in range(2)]
    market.call("PATCH", "/sandbox/rules", json={"requests_per_minute": 3})
    try:
        answers = [market.request("GET", f"{PREVIEW}/pools", token=tokens[0]) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].json()["error"]["type"] == "rate_limit_exceeded"
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert market.request("GET", f"{PREVIEW}/pools", token=tokens[1]).status_code == 200
        assert market.behind("/pools")["object"] == "list"
    finally:
        market.call("PATCH", "/sandbox/rules", json={"requests_per_minute": 0})
    assert market.request("GET", f"{PREVIEW}/pools", token=tokens[0]).status_code == 200


def test_a_preview_is_repeated_as_long_as_the_rule_says(market: SandboxMarket) -> None:
    start = (int(market.now) // HOUR + 30) * HOUR
    asked = {
        "side": "buy",
        "requirements": {"id": [H100]},
        "start_at": start,
        "duration_seconds": HOUR,
        "node_count": 1,
    }

    def price() -> str:
        quoted = market.preview("POST", "/order_preview", json=asked)
        return str(quoted["post_order_body"]["limit_price_dollars_per_node_hour"])

    market.call("PATCH", "/sandbox/rules", json={"preview_seconds": 600})
    try:
        before = price()
        market.call("PATCH", "/sandbox/traders", json={"sku": H100, "price_factor": 2})
        assert price() == before
        asked["node_count"] = 2
        assert price() != before
        asked["node_count"] = 1
        market.advance(600)
        assert price() != before
    finally:
        market.call("PATCH", "/sandbox/rules", json={"preview_seconds": 0})
        market.call("PATCH", "/sandbox/traders", json={"sku": H100, "price_factor": 1})


def test_a_fault_hits_only_what_it_aims_at(market: SandboxMarket) -> None:
    market.fault("server_error", method="GET", path="/instances$")
    assert market.request("GET", f"{PREVIEW}/pools").status_code == 200
    assert market.request("GET", f"{PREVIEW}/instances").status_code == 500


def test_a_fault_is_over_at_its_time(market: SandboxMarket) -> None:
    market.fault("server_error", until=market.now + 60)
    assert market.request("GET", f"{PREVIEW}/pools").status_code == 500
    market.advance(60)
    assert market.request("GET", f"{PREVIEW}/pools").status_code == 200


def test_a_fault_with_a_probability_hits_now_and_then(market: SandboxMarket) -> None:
    market.fault("server_error", probability=0.5)
    statuses = {market.request("GET", f"{PREVIEW}/me").status_code for _ in range(40)}
    assert statuses == {200, 500}


def test_a_dropped_answer_leaves_the_order_and_its_key_tells_so(market: SandboxMarket, pool: str) -> None:
    market.fault("dropped", times=1, method="POST", path="/orders$")
    with pytest.raises(httpx.RemoteProtocolError):
        place(market, pool, key="dropped", nodes=3)
    newest = market.preview("GET", f"/orders?pool={pool}&limit=1")["data"][0]
    assert newest["allocation_schedule_delta"][0]["node_count"] == 3
    assert place(market, pool, key="dropped", nodes=3).json()["id"] == newest["id"]


def test_an_answer_can_be_late(market: SandboxMarket) -> None:
    market.fault("delay", seconds=0.4, times=1)
    began = time.monotonic()
    market.preview("GET", "/me")
    assert time.monotonic() - began >= 0.4


def test_an_answer_can_be_html(market: SandboxMarket) -> None:
    market.fault("html", times=1)
    answer = market.request("GET", f"{PREVIEW}/pools")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")


def test_a_list_can_be_empty_a_field_renamed_and_a_cursor_come_twice(market: SandboxMarket, pool: str) -> None:
    assert place(market, pool).status_code == 201
    market.fault("empty_list", times=1)
    assert market.preview("GET", "/pools")["data"] == []
    market.fault("renamed_field", times=1, field="allocation_schedule", to="schedule")
    assert "schedule" in market.preview("GET", f"/pools/{pool}")
    market.fault("repeated_cursor", times=2)
    first = market.preview("GET", "/orders?limit=1")
    again = market.preview("GET", f"/orders?limit=1&starting_after={first['cursor']}")
    assert (again["has_more"], again["cursor"]) == (True, first["cursor"])


def test_a_fill_can_be_listed_twice(market: SandboxMarket, pool: str) -> None:
    order = place(market, pool).json()["id"]
    once = market.preview("GET", f"/orders/{order}")["fills"]
    market.fault("repeated_fill", times=1)
    assert market.preview("GET", f"/orders/{order}")["fills"] == [*once, once[-1]]


def test_fills_can_be_slow(market: SandboxMarket, pool: str) -> None:
    market.fault("slow_fills", seconds=90, times=1)
    start = int(market.now) // 60 * 60 + HOUR
    span = [{"start_at": start, "end_at": start + HOUR, "node_count": 1}]
    order = place(market, pool, allocation_schedule_delta=span).json()["id"]
    market.advance(89)
    assert market.preview("GET", f"/orders/{order}")["status"] == "pending"
    market.advance(1)
    assert market.preview("GET", f"/orders/{order}")["status"] == "filled"


@pytest.mark.parametrize(("standing", "status"), [(True, "partially_filled"), (False, "cancelled")])
def test_an_order_can_fill_in_part(market: SandboxMarket, pool: str, *, standing: bool, status: str) -> None:
    market.fault("partial_fills", times=1, fraction=0.5)
    made = place(market, pool, nodes=4, allow_partial=True, allow_standing=standing).json()["id"]
    order = market.preview("GET", f"/orders/{made}")
    assert order["status"] == status
    assert order["allocation_schedule_delta"][0]["node_count"] == 4
    assert [span["node_count"] for span in order["filled_allocation_schedule_delta"]] == [2]
    if standing:
        market.preview("DELETE", f"/orders/{made}")
        assert market.preview("GET", f"/orders/{made}")["status"] == "cancelled"


def test_an_instance_can_never_boot_stay_silent_or_die(market: SandboxMarket) -> None:
    pool = market.a_pool("machines")
    place(market, pool, nodes=3)

    def create() -> str:
        wanted = {"pool": pool, "image": "image_scalarubuntu", "instance_sku": H100}
        return str(market.preview("POST", "/instances", json=wanted)["id"])

    def status(id: str) -> str:
        return str(market.preview("GET", f"/instances/{id}")["status"])

    market.fault("never_boots", times=1)
    stuck = create()
    market.fault("silent", times=1)
    silent = create()
    well = create()
    market.advance(600)
    assert [status(one) for one in (stuck, silent, well)] == ["awaiting_allocation", "running", "running"]
    assert market.request("GET", f"{PREVIEW}/instances/{silent}/ssh").status_code == 404
    assert market.request("GET", f"{PREVIEW}/instances/{well}/ssh").status_code == 200
    assert market.fault("dies", instance=well)["instance"] == well
    assert status(well) == "failed"


def test_every_kind_of_fault_is_listed_with_its_meaning(market: SandboxMarket) -> None:
    assert market.call("GET", "/sandbox/faults")["kinds"] == MEANINGS
    wrong = market.request("POST", "/sandbox/faults", json={"kind": "html", "tims": 1})
    assert wrong.status_code == 422
