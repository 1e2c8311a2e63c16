"""The asset `hourly_usage`, its checks and its sensor, against a real database."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from scalar.capacity.store import nodes, seen
from scalar.database import Database, Transaction
from scalar.jobs.model import JobRun
from scalar.metering.model import UsageKind
from scalar.metering.store import record_event, usage_of_hour
from scalar_orchestration.defs import metering
from scalar_orchestration.resources import PostgresResource, shared_database
from tests.made_up import a_customer, a_job_of, a_node, ended, launch, running, told

HOUR = datetime(2026, 11, 21, 9, tzinfo=UTC)
KEY = "2026-11-21-09:00"
ASSET = [
    metering.hourly_usage,
    metering.no_gpu_second_is_counted_twice,
    metering.metered_time_equals_the_runs_own_time,
]


@pytest.fixture
def resource(database_url: str) -> Iterator[PostgresResource]:
    yield PostgresResource(url=database_url)
    shared_database(database_url).close()


def materialize(resource: PostgresResource, key: str = KEY) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            ASSET, partition_key=key, resources={"database": resource}, instance=instance, raise_on_error=False
        )


def a_run_that_ran(tx: Transaction, start: datetime, end: datetime, *, gpus: int = 2) -> JobRun:
    for node in nodes(tx):
        seen(tx, node.id, start)
    job = a_job_of(tx, a_customer(tx, f"org at {start}"), gpus=gpus, now=start - timedelta(seconds=5))
    run = launch(tx, job.id, now=start - timedelta(seconds=5))
    told(tx, run, running(run, at=start))
    told(tx, run, ended(run, at=end, started_at=start))
    return run


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def test_an_hour_has_the_seconds_that_lie_in_it_and_its_checks_pass(
    resource: PostgresResource, database: Database
) -> None:
    with database.transaction() as tx:
        a_node(tx, now=HOUR)
        run = a_run_that_ran(tx, HOUR + timedelta(minutes=50), HOUR + timedelta(minutes=70))
    first, second = materialize(resource), materialize(resource, "2026-11-21-10:00")
    assert first.success
    assert second.success
    with database.transaction() as tx:
        hours = [usage_of_hour(tx, HOUR + timedelta(hours=number)) for number in range(2)]
    assert [[(each.run_id, each.gpu_seconds) for each in hour] for hour in hours] == [
        [(run.id, 1200)],
        [(run.id, 1200)],
    ]
    assert set(checks_of(second).values()) == {True}
    assert len(checks_of(second)) == 2


def test_a_second_that_was_metered_on_one_gpu_for_two_runs_fails_the_check(
    resource: PostgresResource, database: Database
) -> None:
    with database.transaction() as tx:
        a_node(tx, gpus=2, now=HOUR)
        start = HOUR + timedelta(minutes=1)
        first = a_run_that_ran(tx, start, start + timedelta(minutes=5))
        a_run_that_ran(tx, start + timedelta(minutes=10), start + timedelta(minutes=15))
        record_event(tx, first.id, 0, UsageKind.ALIVE, start + timedelta(minutes=12), sequence=12)
    assert checks_of(materialize(resource))["no_gpu_second_is_counted_twice"] is False


def test_a_run_that_was_metered_for_longer_than_it_ran_fails_the_check(
    resource: PostgresResource, database: Database
) -> None:
    with database.transaction() as tx:
        a_node(tx, now=HOUR)
        start = HOUR + timedelta(minutes=1)
        run = a_run_that_ran(tx, start, start + timedelta(minutes=5))
        record_event(tx, run.id, 0, UsageKind.ALIVE, start + timedelta(minutes=6), sequence=6)
    assert checks_of(materialize(resource))["metered_time_equals_the_runs_own_time"] is False


def tick(resource: PostgresResource, cursor: str | None) -> tuple[list[str | None], str]:
    """The partitions that the sensor asks for, and its next cursor."""
    context = dg.build_sensor_context(cursor=cursor, resources={"database": resource})
    result = metering.usage_hours(context)
    assert isinstance(result, dg.SensorResult)
    return [request.partition_key for request in result.run_requests or []], str(result.cursor)


def test_an_hour_is_asked_for_once_and_again_when_an_event_comes_late(
    resource: PostgresResource, database: Database
) -> None:
    with database.transaction() as tx:
        a_node(tx, now=HOUR)
        start = HOUR + timedelta(minutes=1)
        run = a_run_that_ran(tx, start, start + timedelta(minutes=5))
    asked, cursor = tick(resource, None)
    assert asked == [KEY]
    assert materialize(resource).success
    asked, cursor = tick(resource, cursor)
    assert asked == []
    with database.transaction() as tx:
        record_event(tx, run.id, 0, UsageKind.ALIVE, start + timedelta(minutes=70), sequence=70)
    asked, cursor = tick(resource, cursor)
    assert asked == [KEY, "2026-11-21-10:00"]
    assert json.loads(cursor)["open_hours"] == []


def test_an_hour_whose_run_was_lost_is_asked_for_again(resource: PostgresResource, database: Database) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    with database.transaction() as tx:
        a_node(tx, now=hour)
        a_run_that_ran(tx, hour + timedelta(minutes=1), hour + timedelta(minutes=62))
    partitions = [(hour + timedelta(hours=number)).strftime("%Y-%m-%d-%H:%M") for number in range(2)]
    asked, cursor = tick(resource, None)
    assert asked == partitions
    assert tick(resource, cursor)[0] == partitions
    assert materialize(resource, partitions[0]).success
    assert tick(resource, cursor)[0] == partitions[1:]


def test_the_hour_that_is_not_over_waits(resource: PostgresResource, database: Database) -> None:
    now = datetime.now(UTC)
    with database.transaction() as tx:
        a_node(tx, now=now)
        a_run_that_ran(tx, now - timedelta(microseconds=2), now)
    asked, cursor = tick(resource, None)
    over = now.replace(minute=0, second=0, microsecond=0)
    assert over.strftime("%Y-%m-%d-%H:%M") not in asked
    assert over.isoformat() in json.loads(cursor)["open_hours"]
    with database.transaction() as tx:
        assert len(nodes(tx)) == 1
