"""Demand history, forecasts and their skill as assets, materialized against a real database."""

from datetime import timedelta

import dagster as dg
import pytest

from scalar.forecasts import demand_store, store
from scalar.forecasts.batch import FEW
from scalar.forecasts.demand import Demand
from scalar.forecasts.store import Kind, Subject
from scalar.forecasts.trials import Trial
from scalar.market.model import Sku
from scalar.market.store import upsert_skus
from scalar.metering.model import HOUR, hour_of
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs import forecasts
from scalar_orchestration.defs.forecasts import (
    bands_hold_nine_of_ten_hours,
    demand_forecast,
    demand_history,
    demand_hours,
    every_demand_series_is_forecast,
    every_forecast_whose_hour_came_is_scored,
    every_price_series_is_forecast,
    forecast_daily,
    forecast_skill,
    forecasts_have_their_full_authority,
    history_landed,
    price_forecast,
    running_gpus_are_those_that_were_assigned,
)
from tests.made_up import a_customer, a_job_of

H100 = Subject(kind=Kind.DEMAND, name="H100", tier="fast")
FORECASTS = [demand_forecast, every_demand_series_is_forecast, price_forecast, every_price_series_is_forecast]
SKILL = [
    forecast_skill,
    every_forecast_whose_hour_came_is_scored,
    bands_hold_nine_of_ten_hours,
    forecasts_have_their_full_authority,
]


@pytest.fixture
def this_hour():
    return hour_of(utc_now())


@pytest.fixture
def known(resource, this_hour):
    """Writes down the demand of the hours until `hours_ago`."""

    def write(values, *, hours_ago: int = 0) -> None:
        end = this_hour - hours_ago * HOUR
        with resource.transaction() as tx:
            store.note_trial(tx, H100, Trial(at=utc_now(), worth=False))
            for number, value in enumerate(values):
                hour = end - (len(values) - number) * HOUR
                demand_store.clear_hour(tx, hour, utc_now())
                demand_store.insert(tx, hour, [Demand(gpu_type="H100", tier="fast", running=value)])

    return write


def materialized(resource, *assets, **more) -> dg.ExecuteInProcessResult:
    return dg.materialize(list(assets), resources={"database": resource}, raise_on_error=False, **more)


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict:
    (made,) = result.asset_materializations_for_node(asset)
    return made.metadata


def a_day(number: int = 0) -> list[float]:
    return [10.0 + 5.0 * (8 <= hour % 24 < 20) for hour in range(24 * (number or 4))]


def test_nothing_is_there_yet(resource):
    result = materialized(resource, *FORECASTS, *SKILL)
    assert result.success
    assert all(outcomes(result).values())
    assert metadata(result, "demand_forecast")["series"].value == 0
    assert "No job" in metadata(result, "demand_forecast")["nothing"].value
    assert metadata(result, "forecast_skill")["hours_scored"].value == 0


def test_an_hours_demand(resource, this_hour):
    hour = this_hour - HOUR
    with resource.transaction() as tx:
        a_job_of(tx, a_customer(tx), gpus=4, gpu_type="H100", now=hour + timedelta(minutes=30))
    result = materialized(
        resource,
        demand_history,
        running_gpus_are_those_that_were_assigned,
        partition_key=hour.strftime("%Y-%m-%d-%H:%M"),
    )
    assert result.success
    assert outcomes(result) == {"running_gpus_are_those_that_were_assigned": True}
    assert metadata(result, "demand_history")["gpu_hours_wanted"].value == pytest.approx(2.0)


def test_many_series_are_forecast_in_processes_of_their_own(resource, this_hour):
    types = [f"G{number}" for number in range(FEW + 1)]
    with resource.transaction() as tx:
        for gpu_type in types:
            store.note_trial(
                tx, Subject(kind=Kind.DEMAND, name=gpu_type, tier="fast"), Trial(at=utc_now(), worth=False)
            )
        for number, value in enumerate(a_day()):
            hour = this_hour - (len(a_day()) - number) * HOUR
            demand_store.clear_hour(tx, hour, utc_now())
            demand_store.insert(tx, hour, [Demand(gpu_type=each, tier="fast", running=value) for each in types])
    result = materialized(resource, demand_forecast, every_demand_series_is_forecast)
    assert result.success
    assert outcomes(result) == {"every_demand_series_is_forecast": True}
    assert metadata(result, "demand_forecast")["series"].value == len(types)


def test_demand_is_forecast_and_shown(resource, known):
    known(a_day())
    result = materialized(resource, *FORECASTS)
    assert result.success
    assert all(outcomes(result).values())
    shown = metadata(result, "demand_forecast")
    assert shown["series"].value == 1
    (row,) = shown["forecasts"].value.records
    assert row.data["series"] == "H100 fast"
    assert 10 <= row.data["day"] <= 15
    assert shown["week_ahead"].value.startswith("![The week ahead](data:image/png;base64,")


def test_what_came_is_scored_and_says_how_far_it_is_trusted(resource, known):
    known(a_day(), hours_ago=6)
    assert materialized(resource, *FORECASTS).success
    known([12.0] * 6)
    result = materialized(resource, *SKILL)
    assert result.success
    shown = metadata(result, "forecast_skill")
    assert shown["scored_now"].value == 6
    (row,) = shown["skill"].value.records
    assert row.data["horizon_hours"] == 6
    assert row.data["why"] == "only 6 of 72 hours are scored"
    assert outcomes(result) == {
        "every_forecast_whose_hour_came_is_scored": True,
        "bands_hold_nine_of_ten_hours": True,
        "forecasts_have_their_full_authority": False,
    }


def test_a_series_that_was_left_out_is_caught(resource, known):
    known(a_day())
    check = every_demand_series_is_forecast(resource)
    assert not check.passed
    assert check.metadata["missing"].value == ["H100 fast"]


class TestSensors:
    def asked(self, sensor, resource) -> dg.SensorResult | dg.SkipReason:
        return sensor(dg.build_sensor_context(resources={"database": resource}))

    def test_hours_are_looked_at_once_they_are_over(self, resource, this_hour):
        assert isinstance(self.asked(demand_hours, resource), dg.SkipReason)
        with resource.transaction() as tx:
            a_job_of(tx, a_customer(tx), gpus=4, now=this_hour - 2 * HOUR)
        found = self.asked(demand_hours, resource)
        keys = [(this_hour - ago * HOUR).strftime("%Y-%m-%d-%H:%M") for ago in (2, 1)]
        assert [each.partition_key for each in found.run_requests] == keys

    def test_history_that_landed_is_forecast_once(self, resource, known):
        assert isinstance(self.asked(history_landed, resource), dg.SkipReason)
        known(a_day())
        (asked,) = self.asked(history_landed, resource).run_requests
        assert set(asked.asset_selection) == {demand_forecast.key, forecast_skill.key}
        assert materialized(resource, *FORECASTS).success
        assert isinstance(self.asked(history_landed, resource), dg.SkipReason)

    def test_every_day_has_its_forecasts(self):
        assert isinstance(forecast_daily(dg.build_schedule_context()), dg.RunRequest)


def test_series_are_called_by_their_names(resource):
    with resource.transaction() as tx:
        upsert_skus(tx, [Sku(id="isku_h100", alias="sea-h100", gpu_type="H100", gpus_per_node=8)], utc_now())
    assert forecasts._names(resource) == {"isku_h100": "sea-h100"}
