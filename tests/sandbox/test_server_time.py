"""The clock, what falls due by it, and what a killed sandbox still knows."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.market import options
from sandbox.market.world import World
from tests.sandbox_process import SandboxMarket

H100 = "isku_sea3h100"
HOUR = 3600
WEEK = 7 * 24 * HOUR


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(tmp_path_factory.mktemp("time"), rule=["boot_seconds=60"], balance="1000000") as market:
        yield market


@pytest.fixture
def market(shared: SandboxMarket) -> SandboxMarket:
    """One for all tests that don't mind what others own, at the beginning of an hour."""
    shared.advance(-shared.now % HOUR)
    return shared


def buy(market: SandboxMarket, pool: str, *, hours: int, nodes: int, later: int = 0, **more: Any) -> Any:
    start = int(market.now) // 60 * 60 + later
    body = {
        "pool": pool,
        "side": "buy",
        "instance_sku": H100,
        "allocation_schedule_delta": [{"start_at": start, "end_at": start + hours * HOUR, "node_count": nodes}],
        "limit_price_dollars_per_node_hour": "100.0",
        **more,
    }
    made = market.preview("POST", "/orders", json=body)
    return market.preview("GET", f"/orders/{made['id']}")


def create(market: SandboxMarket, pool: str, **more: Any) -> str:
    wanted = {"pool": pool, "image": "image_scalarubuntu", "instance_sku": H100, **more}
    return str(market.preview("POST", "/instances", json=wanted)["id"])


def statuses(market: SandboxMarket, *ids: str) -> list[str]:
    return [market.preview("GET", f"/instances/{one}")["status"] for one in ids]


def test_a_week_goes_by_in_well_under_a_minute_with_fills_on_every_day(tmp_path: Path) -> None:
    with SandboxMarket(tmp_path / "m") as market:
        began, start = time.monotonic(), int(market.now)
        assert market.advance(WEEK) == start + WEEK
        assert time.monotonic() - began < 30
        days = set()
        query = f"/orderbook/fills?start_at={start}&end_at={start + 5 * WEEK}&limit=200"
        answer = market.preview("GET", query)
        while True:
            days |= {(row["filled_at"] - start) // 86_400 for row in answer["data"]}
            if not answer["has_more"]:
                break
            answer = market.preview("GET", f"{query}&starting_after={answer['cursor']}")
        assert days == set(range(7))


def test_two_markets_with_one_seed_have_one_history(tmp_path: Path) -> None:
    histories = []
    for name, steps in (("a", [WEEK // 7]), ("b", [HOUR] * 24)):
        arguments = ["--clock", "manual", "--start", "2026-11-02T00:00Z", "--machines", "none", "--seed", "s"]
        world = World(options.parse(["--data", str(tmp_path / name), *arguments]))
        world.start()
        for step in steps:
            world.move_clock(step)
        histories.append(world.engine.trades())
        world.close()
    assert histories[0] == histories[1]
    assert histories[0]


def test_an_instance_lives_as_long_as_its_node_time(market: SandboxMarket) -> None:
    pool = market.a_pool()
    one = create(market, pool)
    assert statuses(market, one) == ["awaiting_allocation"]
    assert buy(market, pool, hours=2, nodes=1)["status"] == "filled"
    assert statuses(market, one) == ["awaiting_allocation"]
    market.advance(60)
    assert statuses(market, one) == ["running"]
    market.advance(2 * HOUR - 61)
    assert statuses(market, one) == ["running"]
    market.advance(1)
    assert statuses(market, one) == ["terminated"]


def test_nodes_go_by_priority_then_age_and_are_lost_the_other_way_round(market: SandboxMarket) -> None:
    pool = market.a_pool()
    low = create(market, pool, priority_level="yield")
    old = create(market, pool)
    market.advance(1)
    new = create(market, pool)
    high = create(market, pool, priority_level="critical")
    buy(market, pool, hours=4, nodes=2)
    market.advance(60)
    assert statuses(market, low, old, new, high) == [
        "awaiting_allocation",
        "running",
        "awaiting_allocation",
        "running",
    ]
    buy(market, pool, hours=2, nodes=2)
    market.advance(60)
    assert set(statuses(market, low, old, new, high)) == {"running"}
    market.advance(2 * HOUR)
    assert statuses(market, low, old, new, high) == ["terminated", "running", "terminated", "running"]


def test_a_machine_whose_node_is_sold_is_terminated(market: SandboxMarket) -> None:
    pool = market.a_pool()
    buy(market, pool, hours=4, nodes=1)
    one = create(market, pool)
    market.advance(60)
    assert statuses(market, one) == ["running"]
    sold = buy(market, pool, hours=3, nodes=1, side="sell", limit_price_dollars_per_node_hour="1.0")
    assert sold["status"] == "filled"
    assert statuses(market, one) == ["terminated"]


def test_a_standing_order_whose_time_is_over_is_cancelled_and_its_money_free(market: SandboxMarket) -> None:
    before = market.call("GET", "/v1/balances")["available_balance_cents"]
    pool = market.a_pool()
    wanted = {"limit_price_dollars_per_node_hour": "1.0", "allow_standing": True, "allow_partial": True}
    bid = buy(market, pool, hours=1, nodes=1, **wanted)
    assert bid["status"] == "standing"
    market.advance(HOUR + 300)
    assert market.preview("GET", f"/orders/{bid['id']}")["status"] == "cancelled"
    assert market.call("GET", "/v1/balances")["available_balance_cents"] == before


def test_a_killed_sandbox_has_lost_nothing_that_it_has_told(tmp_path: Path) -> None:
    with SandboxMarket(tmp_path / "m", rule=["boot_seconds=0"]) as market:
        pool = market.a_pool()
        filled = buy(market, pool, hours=9, nodes=2)
        low = {"limit_price_dollars_per_node_hour": "1.0", "allow_standing": True, "allow_partial": True}
        standing = buy(market, pool, hours=3, nodes=1, **low)
        instance = create(market, pool)
        token = market.call("POST", "/sandbox/tokens", json={"name": "second"})["token"]
        moved = market.advance(HOUR)
        told = _everything(market, pool)
        market.kill()
        market.start()
        assert market.now == moved
        assert _everything(market, pool) == told
        assert market.preview("GET", f"/orders/{filled['id']}")["status"] == "filled"
        assert statuses(market, instance) == ["running"]
        assert market.request("GET", "/v1/balances", token=token).status_code == 200
        market.preview("DELETE", f"/orders/{standing['id']}")
        market.advance(9 * HOUR)
        assert statuses(market, instance) == ["terminated"]


def test_one_folder_has_one_sandbox_which_a_signal_stops_cleanly(tmp_path: Path) -> None:
    with SandboxMarket(tmp_path / "m") as market:
        second = SandboxMarket(tmp_path / "m")
        with pytest.raises(AssertionError, match="another sandbox market runs on"):
            second.start()
        assert market.stop() == 0


def test_a_customers_orders_and_transactions_outlive_the_engines_memory(tmp_path: Path) -> None:
    with SandboxMarket(tmp_path / "m", rule=["history_days=1"], tick=3600) as market:
        pool = market.a_pool()
        order = buy(market, pool, hours=1, nodes=1)
        rows = market.call("GET", "/v1/transactions?limit=100")["data"]
        market.advance(3 * 86_400)
        assert market.preview("GET", f"/orders/{order['id']}") == order
        assert market.call("GET", "/v1/transactions?limit=100")["data"] == rows
        market.kill()
        market.start()
        assert market.preview("GET", f"/orders/{order['id']}") == order
        assert market.call("GET", "/v1/transactions?limit=100")["data"] == rows


def test_a_clock_can_run_faster_than_the_wall(tmp_path: Path) -> None:
    with SandboxMarket(tmp_path / "m", clock="real", speed=3600) as market:
        before = market.now
        deadline = time.monotonic() + 20
        while market.now < before + 3600 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert market.now >= before + 3600
        assert market.request("POST", "/sandbox/clock", json={"advance_seconds": -1}).status_code == 422


def _everything(market: SandboxMarket, pool: str) -> list[Any]:
    paths = (
        f"/preview/v2/pools/{pool}",
        "/preview/v2/orders?limit=200",
        "/preview/v2/instances",
        "/preview/v2/instance_skus/availability",
        "/v1/transactions?limit=100",
        "/v1/balances",
    )
    return [market.call("GET", path) for path in paths]
