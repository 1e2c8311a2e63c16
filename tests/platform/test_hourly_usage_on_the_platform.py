"""Usage becomes an hour, with nobody's help: the sensor asks for it, a process builds it, its checks are run."""

from decimal import Decimal

import pytest

from scalar.database import Database
from scalar.metering.store import usage_of_hour


def test_the_sensor_has_an_hour_built_once_it_is_over(world, metered_hour):
    with Database(world.platform.database_url) as database, database.transaction() as tx:
        records = usage_of_hour(tx, metered_hour)
    assert sorted(record.gpu_seconds for record in records) == [Decimal(2 * 600), Decimal(8 * 600)]


@pytest.mark.parametrize("check", ["no_gpu_second_is_counted_twice", "metered_time_equals_the_runs_own_time"])
def test_its_checks_were_run_and_passed(world, metered_hour, check):
    assert [each["evaluation"] for each in world.dagster.checks("hourly_usage", check)] == [{"success": True}]


def test_an_asset_run_is_a_process_of_its_own_and_its_output_is_found(world, metered_hour):
    (built,) = world.dagster.materializations("hourly_usage")
    run = world.dagster.run(built["runId"])
    assert (run["status"], run["tags"]["scalar/kind"]) == ("SUCCESS", "asset")
    captured = next(e for e in world.dagster.events(built["runId"]) if e["eventType"] == "LOGS_CAPTURED")
    assert captured
