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
@pytest.mark.usefixtures("metered_hour")
def test_its_checks_were_run_and_passed(world, check):
    *_, first = world.dagster.checks("hourly_usage", check)
    assert first["evaluation"] == {"success": True}


@pytest.mark.usefixtures("metered_hour")
def test_an_asset_run_is_tagged_as_one_and_keeps_its_output_apart_from_the_customers(world):
    *_, built = world.dagster.materializations("hourly_usage")
    run = world.dagster.run(built["runId"])
    assert (run["status"], run["tags"]["scalar/kind"]) == ("SUCCESS", "asset")
    keys = {event["fileKey"] for event in world.dagster.events(built["runId"]) if "fileKey" in event}
    assert keys
    assert "hourly_usage" in "".join(world.dagster.output(built["runId"], key)["stderr"] for key in keys)
