"""What the other traders show of themselves: depth for the standard windows, and prices that follow a CSV."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox_process import SandboxMarket

H100 = "isku_sea3h100"
HOUR = 3600
STANDARD = (HOUR, 24 * HOUR, 7 * 24 * HOUR)
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    """By its default rules."""
    with SandboxMarket(tmp_path_factory.mktemp("traders"), start="2026-11-02T09:20Z") as market:
        yield market


def next_hour(market: SandboxMarket) -> int:
    return (int(market.now) // HOUR + 1) * HOUR


def book(market: SandboxMarket, what: str, start: int, seconds: int) -> Any:
    return market.preview("GET", f"/orderbook/{what}?start_at={start}&end_at={start + seconds}&requirements=id:{H100}")


@pytest.mark.parametrize("seconds", STANDARD)
@pytest.mark.parametrize("later", [0, 3 * HOUR])
def test_an_hour_a_day_and_a_week_have_depth_on_both_sides(market: SandboxMarket, seconds: int, later: int) -> None:
    market.advance(later)
    start = next_hour(market)
    depth = book(market, "depth", start, seconds)
    bids, asks = ([Decimal(level["dollars_per_node_hour"]) for level in depth[side]] for side in ("bids", "asks"))
    assert len(bids) == len(asks) == 2
    assert sorted(bids, reverse=True) == bids
    assert sorted(asks) == asks
    assert bids[0] < asks[0]
    nodes = [step["node_count"] for level in depth["asks"] for step in level["allocation_schedule_delta"]]
    assert min(nodes) > 0
    quote = book(market, "quote", start, seconds)
    assert Decimal(quote["best_bid"]["dollars_per_node_hour"]) == bids[0]
    assert Decimal(quote["best_ask"]["dollars_per_node_hour"]) == asks[0]


def test_the_standard_windows_are_listed(market: SandboxMarket) -> None:
    start = next_hour(market)
    query = f"range_start_at={start}&range_end_at={start + STANDARD[-1]}&requirements=id:{H100}"
    rows = market.preview("GET", f"/orderbook/windows?{query}")["data"]
    assert {row["end_at"] - row["start_at"] for row in rows if row["start_at"] == start} == set(STANDARD)


def test_where_windows_must_be_the_same_the_standard_ones_are_traded(tmp_path: Path) -> None:
    with SandboxMarket(tmp_path / "m", rule=["windows=exact"]) as market:
        start = next_hour(market)
        assert bought(market, start, start + HOUR)["status"] == "filled"
        assert bought(market, start, start + 2 * HOUR)["status"] == "cancelled"


def test_prices_of_a_csv_are_what_is_traded(tmp_path: Path) -> None:
    """Two dollars a GPU-hour until Tuesday, then five: so the fills of either day."""
    rows = [f"{MONDAY + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},{2 if hour < 24 else 5}" for hour in range(24 * 7)]
    prices = tmp_path / "h100.csv"
    prices.write_text("\n".join(["ts,mean", *rows, ""]))
    with SandboxMarket(tmp_path / "m", start=MONDAY.isoformat(), prices=f"H100={prices}") as market:
        cheap, dear = int(market.now), int(market.now) + 24 * HOUR
        first = next_hour(market)
        paid = Decimal(bought(market, first, first + HOUR)["filled_average_price_dollars_per_node_hour"])
        assert abs(paid - 16) < Decimal("0.0001")
        market.advance(48 * HOUR)
        on_monday = [price for at, price in fills(market, cheap) if at < dear]
        on_tuesday = [price for at, price in fills(market, cheap) if at >= dear]
        assert len(on_monday) > 5
        assert len(on_tuesday) > 5
        # Within a tenth of the fair price, the other buyers' best bids included.
        assert all(abs(price - 16) <= Decimal("1.6") for price in on_monday)
        assert all(abs(price - 40) <= Decimal("4.0") for price in on_tuesday)


def bought(market: SandboxMarket, start: int, end: int) -> Any:
    body = {
        "pool": market.a_pool(),
        "side": "buy",
        "instance_sku": H100,
        "allocation_schedule_delta": [{"start_at": start, "end_at": end, "node_count": 1}],
        "limit_price_dollars_per_node_hour": "100.0",
    }
    made = market.preview("POST", "/orders", json=body)
    return market.preview("GET", f"/orders/{made['id']}")


def fills(market: SandboxMarket, start: int) -> list[tuple[int, Decimal]]:
    """Of H100, when and for how much."""
    query = f"start_at={start}&end_at={start + 60 * 24 * HOUR}&limit=200&requirements=id:{H100}"
    rows = market.preview("GET", f"/orderbook/fills?{query}")["data"]
    return [(row["filled_at"], Decimal(row["dollars_per_node_hour"])) for row in rows]
