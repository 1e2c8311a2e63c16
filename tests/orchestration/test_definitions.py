"""What Dagster loads, as a whole."""

import dagster as dg
import pytest

from scalar_orchestration.definitions import definitions


@pytest.fixture(scope="module")
def loaded() -> dg.RepositoryDefinition:
    return definitions().get_repository_def()


def test_every_sensor_and_schedule_runs_from_the_first_start_on(loaded):
    assert {sensor.name: sensor.default_status for sensor in loaded.sensor_defs} == dict.fromkeys(
        (
            "job_queue",
            "run_ends",
            "usage_hours",
            "market_orders",
            "market_instances",
            "price_hours",
            "plan_needed",
            "plan_orders",
            "hours_to_rate",
            "credit_to_draw",
            "empty_wallets",
            "months_to_invoice",
            "invoices_to_open",
            "cost_hours",
            "webhook_deliveries",
            "stripe_sync",
            "stripe_events",
            "dunning",
            "overdue_invoices",
            "demand_hours",
            "history_landed",
        ),
        dg.DefaultSensorStatus.RUNNING,
    )
    assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in loaded.schedule_defs)


def test_every_asset_has_a_group_a_kind_and_a_description(loaded):
    for key in loaded.asset_graph.get_all_asset_keys():
        node = loaded.asset_graph.get(key)
        assert node.group_name != "default", key
        assert node.kinds, key
        assert node.description, key


def test_every_asset_that_is_made_here_is_checked(loaded):
    graph = loaded.asset_graph
    made = {key for key in graph.get_all_asset_keys() if graph.get(key).is_materializable}
    assert made == {key.asset_key for key in graph.asset_check_keys}


def test_all_that_can_be_run_resolves_its_resources(loaded, monkeypatch):
    monkeypatch.setenv("SCALAR_DATABASE_URL", "postgresql://nowhere/scalar")
    dg.Definitions.validate_loadable(definitions())
    assert {job.name for job in loaded.get_all_jobs()} >= {"gpu_run"}
