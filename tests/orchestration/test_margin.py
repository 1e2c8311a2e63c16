"""Costs and margins as assets, materialized against a real database: what they show, and what their checks catch."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from scalar.billing.rated_usage import rate_hour
from scalar.database import Database, Transaction
from scalar.metering.model import HOUR, hour_of
from scalar_orchestration.defs import margin
from scalar_orchestration.defs.margin import (
    block_pnl,
    cost_hours,
    customer_margin,
    customers_add_up_to_the_month,
    every_block_adds_up_to_what_was_paid,
    job_margin,
    margins_of_the_month,
    prepaid_node_hours_are_what_lies_ahead,
    revenue_is_what_the_ledger_has,
    run_costs,
    the_cash_of_each_order_is_what_the_market_charged,
    the_ledger_has_what_the_hour_cost,
)
from tests.billing.bought import a_block, a_machine, a_run, a_statement, metered, sold
from tests.made_up import NOON, a_customer

OF_THE_HOUR = [run_costs, the_ledger_has_what_the_hour_cost]
CHECKS_OF_THE_MONTH = (
    "every_block_adds_up_to_what_was_paid",
    "prepaid_node_hours_are_what_lies_ahead",
    "the_cash_of_each_order_is_what_the_market_charged",
    "revenue_is_what_the_ledger_has",
    "customers_add_up_to_the_month",
)
OF_THE_MONTH = [
    block_pnl,
    every_block_adds_up_to_what_was_paid,
    prepaid_node_hours_are_what_lies_ahead,
    the_cash_of_each_order_is_what_the_market_charged,
    job_margin,
    revenue_is_what_the_ledger_has,
    customer_margin,
    customers_add_up_to_the_month,
]


def _start() -> datetime:
    """An hour whose next two are over and of the same month."""
    start = hour_of(datetime.now(UTC)) - 3 * HOUR
    return start if start.month == (start + 3 * HOUR).month else start - 3 * HOUR


START = _start()
SHIFT = (START - NOON) / timedelta(minutes=1)
"""What to add to a minute after `START` for the factories, which count from noon."""

Build = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def build_hour(resource) -> Build:
    def run(number: int = 0) -> dg.ExecuteInProcessResult:
        return _materialized(resource, OF_THE_HOUR, (START + number * HOUR).strftime("%Y-%m-%d-%H:%M"))

    return run


@pytest.fixture
def build_month(resource) -> Build:
    return lambda: _materialized(resource, OF_THE_MONTH, START.strftime("%Y-%m-01"))


def _materialized(resource, assets: list[object], partition: str) -> dg.ExecuteInProcessResult:
    return dg.materialize(assets, partition_key=partition, resources={"database": resource}, raise_on_error=False)


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (made,) = result.asset_materializations_for_node(asset)
    return {name: each.value for name, each in made.metadata.items() if not isinstance(each, dg.TableMetadataValue)}


def rows(result: dg.ExecuteInProcessResult, asset: str, table: str) -> list[dict[str, object]]:
    (made,) = result.asset_materializations_for_node(asset)
    return [dict(each.data) for each in made.metadata[table].records]


def a_story(tx: Transaction) -> str:
    """$12 an hour for two hours; a run of an hour in their middle; the last half hour is sold for $5. The sale."""
    block = a_block(tx, SHIFT, SHIFT + 120, price="12")
    a_machine(tx, (block, 0, SHIFT, SHIFT + 120))
    a_run(tx, a_customer(tx), SHIFT + 30, SHIFT + 90, name="train")
    sale = sold(tx, SHIFT + 90, SHIFT + 120, price="10", at_minute=SHIFT + 90, flat="0")
    for hour in (0, 1):
        metered(tx, SHIFT + hour * 60, now=SHIFT + 180)
        rate_hour(tx, START + hour * HOUR, datetime.now(UTC))
    return sale


def test_an_hour_and_its_month_are_built_with_tables_and_pictures_and_pass_their_checks(
    build_hour: Build, build_month: Build, database: Database
):
    with database.transaction() as tx:
        a_story(tx)
        a_statement(tx)
    for number in (0, 1):
        hour = build_hour(number)
        assert (hour.success, outcomes(hour)) == (True, {"the_ledger_has_what_the_hour_cost": True})
    # $6 of the second hour's first half, and nothing left to bear the $1.05 that the other half lost.
    assert metadata(hour, "run_costs")["cost"] == "$6.00"
    (row,) = rows(hour, "run_costs", "nodes")
    assert (row["gpu_hours"], row["used_gpu_hours"], row["runs"], row["idle_shared"]) == (4, 4, 6, 0)
    month = build_month()
    assert month.success
    assert outcomes(month) == dict.fromkeys(CHECKS_OF_THE_MONTH, True)
    (block,) = rows(month, "block_pnl", "blocks")
    assert {name: block[name] for name in ("paid", "direct", "idle_shared", "resold", "resale_result", "ahead")} == {
        "paid": 24,
        "direct": 12,
        "idle_shared": 6,
        "resold": 4.95,
        "resale_result": 1.05,
        "ahead": 0,
    }
    (job,) = rows(month, "job_margin", "jobs")
    assert (job["name"], job["customer"], job["revenue"], job["margin"]) == ("train", "acme", 28.8, 10.8)
    customer = metadata(month, "customer_margin")
    assert [customer[each] for each in ("revenue", "cost", "margin")] == ["$28.80", "$19.05", "$9.75"]
    (line,) = rows(month, "customer_margin", "months")
    assert (line["month"], line["resale_result"], line["margin"]) == (f"{START:%Y-%m}", 1.05, 9.75)
    for result, asset, picture in (
        (hour, "run_costs", "last_7_days"),
        (month, "block_pnl", "where_it_went"),
        (month, "job_margin", "cost_over_revenue"),
        (month, "customer_margin", "by_customer"),
        (month, "customer_margin", "by_month"),
    ):
        assert "data:image/png;base64," in str(metadata(result, asset)[picture])


def test_a_month_in_which_nothing_happened_is_built(build_hour: Build, build_month: Build):
    assert build_hour().success
    assert build_month().success


@pytest.mark.parametrize(("off", "passes"), [(0, True), (1, False), (-1, False)])
def test_the_market_charging_a_cent_otherwise_is_caught(build_month: Build, database: Database, off: int, passes: bool):
    with database.transaction() as tx:
        sale = a_story(tx)
        a_statement(tx, off=off)
    result = build_month()
    assert outcomes(result)["the_cash_of_each_order_is_what_the_market_charged"] is passes
    (check,) = [each for each in result.get_asset_check_evaluations() if "the_cash_of" in each.check_name]
    assert [row.data["what"] for row in check.metadata["wrong"].records] == ([] if passes else [sale])


def test_a_line_of_the_statement_for_an_order_that_is_none_of_ours_is_caught(build_month: Build, database: Database):
    with database.transaction() as tx:
        a_story(tx)
        a_statement(tx)
        tx.execute(
            "update market_transactions set market_order_id = 'ordr_strange', at = %s where kind = 'sell_order'",
            [START],
        )
    result = build_month()
    (check,) = [each for each in result.get_asset_check_evaluations() if "the_cash_of" in each.check_name]
    assert not check.passed
    assert check.metadata["strange_lines"].value == ["ordr_strange"]


def test_a_run_that_bears_too_little_is_caught(build_hour: Build, build_month: Build, database: Database):
    with database.transaction() as tx:
        a_story(tx)
    assert build_hour().success
    with database.transaction() as tx:
        tx.execute("update run_costs set cost = cost - 1")
    assert outcomes(build_month())["customers_add_up_to_the_month"] is False


def test_a_block_whose_hours_are_not_all_costed_is_not_said_to_add_up(
    build_hour: Build, build_month: Build, database: Database
):
    with database.transaction() as tx:
        a_story(tx)
    assert build_hour(0).success
    result = build_month()
    assert outcomes(result)["every_block_adds_up_to_what_was_paid"] is True
    (check,) = [each for each in result.get_asset_check_evaluations() if "every_block" in each.check_name]
    assert check.metadata["hours_missing"].value == [(START + HOUR).isoformat()]
    with database.transaction() as tx:
        tx.execute("update node_costs set cost = cost - 1, idle_shared = idle_shared - 1")
    assert build_hour(1).success
    found = outcomes(build_month())
    assert found["every_block_adds_up_to_what_was_paid"] is False
    assert found["prepaid_node_hours_are_what_lies_ahead"] is False


def test_each_hour_is_asked_for_once_it_is_over_and_again_once_it_has_changed(
    resource, build_hour: Build, database: Database
):
    with database.transaction() as tx:
        a_story(tx)
    asked = cost_hours(database=resource).run_requests
    assert [each.partition_key for each in asked] == [
        (START + number * HOUR).strftime("%Y-%m-%d-%H:%M") for number in (0, 1)
    ]
    assert [each.run_key for each in cost_hours(database=resource).run_requests] == [each.run_key for each in asked]
    for number in (0, 1):
        assert build_hour(number).success
    assert cost_hours(database=resource).run_requests == []
    with database.transaction() as tx:
        metered(tx, SHIFT, now=SHIFT + 200)
    (again,) = cost_hours(database=resource).run_requests
    assert again.partition_key == asked[0].partition_key
    assert again.run_key != asked[0].run_key


@pytest.mark.parametrize(
    ("now", "months"),
    [
        (datetime(2026, 11, 3, 9, tzinfo=UTC), ["2026-11-01", "2026-10-01"]),
        (datetime(2026, 11, 8, 9, tzinfo=UTC), ["2026-11-01"]),
        (datetime(2027, 1, 1, 0, 20, tzinfo=UTC), ["2027-01-01", "2026-12-01"]),
    ],
)
def test_margins_are_made_of_the_month_that_runs_and_at_first_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, now: datetime, months: list[str]
):
    monkeypatch.setattr(margin, "utc_now", lambda: now)
    assert [each.partition_key for each in margins_of_the_month()] == months
