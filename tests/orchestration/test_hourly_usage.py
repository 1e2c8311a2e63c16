"""The `hourly_usage` asset and its checks, materialized against a real database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import dagster as dg
import pytest

from scalar.database import Database
from scalar.jobs.model import JobRun
from scalar.metering.model import HOUR, hour_of
from scalar.metering.store import usage_of_hour
from scalar_orchestration.defs.metering import (
    hourly_usage,
    metered_time_equals_the_runs_own_time,
    no_gpu_second_is_counted_twice,
    usage_events,
)
from tests.made_up import a_customer, a_job_of, a_node, ended, launch, running, told

HOUR_AGO = hour_of(datetime.now(UTC)) - HOUR
CHECKS = [metered_time_equals_the_runs_own_time, no_gpu_second_is_counted_twice]


@pytest.fixture
def build(resource):
    """Materializes an hour; its result."""

    def run(hour: datetime = HOUR_AGO) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [usage_events, hourly_usage, *CHECKS],
            partition_key=hour.strftime("%Y-%m-%d-%H:%M"),
            resources={"database": resource},
            raise_on_error=False,
        )

    return run


def at(minutes: float) -> datetime:
    return HOUR_AGO + timedelta(minutes=minutes)


def a_run(tx, start: datetime, *, gpus: int = 4, customer: tuple[str, str] | None = None) -> JobRun:
    run = launch(tx, a_job_of(tx, customer or a_customer(tx), gpus=gpus).id, now=start)
    told(tx, run, running(run, at=start))
    return run


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def test_an_hour_is_built_with_its_totals_and_passes_its_checks(build, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=at(60))
        customer = a_customer(tx)
        first = a_run(tx, at(-30), gpus=2, customer=customer)
        told(tx, first, ended(first, started_at=at(-30), at=at(10)))
        second = a_run(tx, at(15), customer=customer)
        told(tx, second, ended(second, started_at=at(15), at=at(30)))
    assert build(HOUR_AGO - HOUR).success
    result = build()
    assert result.success
    assert outcomes(result) == dict.fromkeys(
        ("no_gpu_second_is_counted_twice", "metered_time_equals_the_runs_own_time"), True
    )
    (made,) = result.asset_materializations_for_node("hourly_usage")
    assert made.partition == HOUR_AGO.strftime("%Y-%m-%d-%H:%M")
    assert made.metadata["runs"].value == 2
    assert made.metadata["gpu_hours"].value == pytest.approx((4 * 900 + 2 * 600) / 3600)
    (row,) = made.metadata["by_organisation"].records
    assert (row.data["organisation"], row.data["gpu_seconds"]) == (customer[0], 4800.0)
    with database.transaction() as tx:
        seconds = {record.run_id: record.gpu_seconds for record in usage_of_hour(tx, HOUR_AGO)}
    assert seconds == {first.id: Decimal(1200), second.id: Decimal(3600)}


def test_an_hour_without_usage_is_an_empty_hour(build):
    result = build()
    assert result.success
    assert result.asset_materializations_for_node("hourly_usage")[0].metadata["runs"].value == 0


def test_built_again_it_is_the_same_and_built_after_a_late_event_it_is_right(build, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=at(60))
        run = a_run(tx, at(0))
        told(tx, run, ended(run, started_at=at(0), at=at(15)))
    assert build().success
    assert build().success
    with database.transaction() as tx:
        late = a_run(tx, at(30), gpus=1, customer=a_customer(tx, "late"))
        told(tx, late, ended(late, started_at=at(30), at=at(40)))
    assert build().success
    with database.transaction() as tx:
        seconds = {record.run_id: record.gpu_seconds for record in usage_of_hour(tx, HOUR_AGO)}
    assert seconds == {run.id: Decimal(3600), late.id: Decimal(600)}


def test_two_runs_metered_on_one_gpu_at_one_time_fail_the_hour(build, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=at(60), gpus=4)
        first = a_run(tx, at(0))
        # Its node says that it ended at 15, though its GPUs were given to the next at 10.
        told(tx, first, ended(first, started_at=at(0), at=at(15)), now=at(10))
        second = a_run(tx, at(10), customer=a_customer(tx, "next"))
        told(tx, second, ended(second, started_at=at(10), at=at(20)))
    result = build()
    assert not result.success
    assert outcomes(result)["no_gpu_second_is_counted_twice"] is False
    (failed,) = [each for each in result.get_asset_check_evaluations() if not each.passed]
    assert first.id in str(failed.metadata["doubles"].value)


def test_a_run_metered_otherwise_than_it_ran_fails_the_hour(build, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=at(60))
        run = a_run(tx, at(0))
        told(tx, run, ended(run, started_at=at(0), at=at(15)))
        tx.execute("update run_tasks set ended_at = ended_at + interval '1 second' where run_id = %s", [run.id])
    result = build()
    assert not result.success
    assert outcomes(result)["metered_time_equals_the_runs_own_time"] is False
    (failed,) = [each for each in result.get_asset_check_evaluations() if not each.passed]
    assert failed.metadata["runs"].value == [f"{run.id}: metered 3600.000000, ran 3604.000000"]
