"""Prices and plans in Dagster: assets, checks and sensors against a real database and a sandbox market."""

from datetime import timedelta

import pytest

from scalar.capacity.placing import run_pass
from scalar.database import Database
from scalar.market import figures
from scalar.market import store as market_store
from scalar.market.model import OrderState
from scalar.market.prices import HOUR, hour_of
from scalar.planning import store
from scalar.planning.model import PlanState
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.market_prices import (
    PRICE_HOURS,
    price_history,
    price_hours,
    the_last_hours_prices_are_near_the_weeks,
)
from scalar_orchestration.defs.planning import (
    capacity_plan,
    plan_needed,
    plan_often,
    plan_orders,
    queued_jobs,
    the_last_plan_can_be_decided_again,
)
from scalar_orchestration.pictures import price_plot
from scalar_orchestration.resources import NO_MARKET, MarketResource
from tests.made_up import a_customer, a_job_of
from tests.orchestration.conftest import forget_settings, materialized

pytestmark = pytest.mark.usefixtures("market")

PNG = "![Prices of the last 7 days](data:image/png;base64,iVBOR"


def key(hour) -> str:
    return hour.strftime("%Y-%m-%d-%H:%M")


def a_job_without_room(database: Database) -> str:
    with database.transaction() as tx:
        job = a_job_of(tx, a_customer(tx), gpus=8, now=utc_now())
        run_pass(tx, utc_now())
    return job.id


class TestPriceHistory:
    def test_an_hour_is_collected_with_a_table_and_a_picture(self, resource, market, database: Database):
        last = hour_of(utc_now()) - HOUR
        checks = [the_last_hours_prices_are_near_the_weeks]
        done = materialized(resource, market, price_history, *checks, partition_key=key(last))
        assert done.success
        (made,) = done.asset_materializations_for_node("price_history")
        assert made.metadata["hours"].value == 1
        assert {row.data["kind"] for row in made.metadata["prices"].records} == {"sea-3-h100", "iad-12-h200"}
        assert str(made.metadata["last_7_days"].value).startswith(PNG)
        (check,) = done.get_asset_check_evaluations()
        assert check.passed
        with database.transaction() as tx:
            (hour,) = figures.price_hours(tx, "isku_sea3h100", last)
        assert set(hour.quotes) == {"1h", "24h", "168h"}

    def test_a_range_of_hours_is_one_run(self, resource, market, database: Database):
        last = hour_of(utc_now()) - HOUR
        tags = {
            "dagster/asset_partition_range_start": key(last - 9 * HOUR),
            "dagster/asset_partition_range_end": key(last),
        }
        done = materialized(resource, market, price_history, tags=tags)
        assert done.success
        with database.transaction() as tx:
            assert len(figures.price_hours(tx, "isku_sea3h100", last - 20 * HOUR)) == 10

    def test_hours_that_the_market_has_forgotten_fail_and_say_so(self, resource, market):
        long_ago = hour_of(utc_now()) - timedelta(days=40)
        done = materialized(resource, market, price_history, partition_key=key(long_ago))
        (failure,) = done.get_step_failure_events()
        assert "of the last 30 days" in failure.step_failure_data.error_display_string

    def test_the_sensor_asks_for_what_is_missing_and_then_for_nothing(self, resource, market):
        last = hour_of(utc_now()) - HOUR
        (asked,) = price_hours(database=resource, market=market).run_requests
        assert asked.tags == {
            "dagster/asset_partition_range_start": key(last - 167 * HOUR),
            "dagster/asset_partition_range_end": key(last),
        }
        assert price_hours(database=resource, market=market).run_requests[0].run_key == asked.run_key
        assert materialized(resource, market, price_history, tags=asked.tags).success
        skipped = price_hours(database=resource, market=market)
        assert skipped.skip_message == "Every hour of the last week is there."

    def test_one_missing_hour_is_asked_for_by_its_partition(self, resource, market, database: Database):
        last = hour_of(utc_now()) - HOUR
        tags = {
            "dagster/asset_partition_range_start": key(last - 167 * HOUR),
            "dagster/asset_partition_range_end": key(last),
        }
        assert materialized(resource, market, price_history, tags=tags).success
        with database.transaction() as tx:
            tx.execute("delete from market_prices where hour = %s", [last - HOUR])
        (asked,) = price_hours(database=resource, market=market).run_requests
        assert asked.partition_key == key(last - HOUR)
        assert PRICE_HOURS.has_partition_key(asked.partition_key)

    def test_a_picture_of_nothing_is_a_picture(self):
        assert str(price_plot({}).value).startswith(PNG)
        assert str(price_plot({"sea-3-h100": []}).value).startswith(PNG)


class TestPlans:
    def test_a_job_without_room_has_a_node_ordered(self, resource, market, database: Database):
        job = a_job_without_room(database)
        (asked,) = plan_needed(database=resource, market=market).run_requests
        assert asked.tags == {"scalar/why": "1 queued job(s) have no room"}
        done = materialized(resource, market, queued_jobs, capacity_plan, the_last_plan_can_be_decided_again)
        assert done.success
        (made,) = done.asset_materializations_for_node("capacity_plan")
        (row,) = made.metadata["actions"].records
        assert (row.data["kind"], row.data["machine"], row.data["nodes"]) == ("buy", "sea-3-h100", 1)
        assert job in row.data["why"]
        (check,) = done.get_asset_check_evaluations()
        assert check.passed

        assert "executed: 1 order(s), 0 without one." in plan_orders(database=resource, market=market).skip_message
        with database.transaction() as tx:
            (order,) = market_store.open_orders(tx)
        assert (order.state, order.plan_id) == (OrderState.INTENDED, made.metadata["plan"].value)
        assert plan_orders(database=resource, market=market).skip_message == "No plan waits."
        settled = plan_needed(database=resource, market=market)
        assert settled.skip_message == "There is room for every job, or it is on its way."

    def test_a_plan_that_is_not_what_was_decided_fails_the_check(self, resource, market, database: Database):
        a_job_without_room(database)
        assert materialized(resource, market, queued_jobs, capacity_plan).success
        with database.transaction() as tx:
            tx.execute("update plan_actions set nodes = 2")
        assert not the_last_plan_can_be_decided_again(database=resource).passed

    def test_in_a_dry_run_plans_are_only_shown(
        self, resource, market, database: Database, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("SCALAR_MARKET_DRY_RUN", "true")
        forget_settings()
        a_job_without_room(database)
        assert materialized(resource, market, queued_jobs, capacity_plan).success
        assert "SCALAR_MARKET_DRY_RUN" in plan_orders(database=resource, market=market).skip_message
        with database.transaction() as tx:
            (plan,) = store.plans(tx)
            assert market_store.open_orders(tx) == []
        assert plan.state is PlanState.SHOWN

    def test_a_need_that_stands_is_asked_for_once_a_minute(self, resource, market, database: Database):
        a_job_without_room(database)
        keys = {
            request.run_key for _ in range(3) for request in plan_needed(database=resource, market=market).run_requests
        }
        minutes = {utc_now().strftime("%Y-%m-%d %H:%M"), *(run_key for run_key in keys)}
        assert len(minutes) <= 2


class TestWithoutAMarket:
    def test_the_sensors_and_the_schedule_skip_and_say_so(self, resource, no_market: MarketResource):
        for sensor in (price_hours, plan_needed, plan_orders):
            assert sensor(database=resource, market=no_market).skip_message == NO_MARKET
        assert plan_often(market=no_market).skip_message == NO_MARKET

    def test_the_assets_fail_and_say_so(self, resource, no_market: MarketResource):
        done = materialized(resource, no_market, queued_jobs, capacity_plan)
        (failure,) = done.get_step_failure_events()
        assert NO_MARKET in failure.step_failure_data.error_display_string
