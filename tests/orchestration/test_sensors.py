"""The sensors, evaluated in this process against a real database."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from scalar.capacity.store import LAUNCH_LEASE, seen
from scalar.database import Database
from scalar.jobs import life, store
from scalar.metering.model import HOUR, hour_of
from scalar.metering.store import replace_hour, watermark
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs import metering
from scalar_orchestration.defs.capacity import job_queue
from scalar_orchestration.defs.metering import HOURS, usage_hours
from tests.made_up import a_customer, a_job_of, a_node, ended, launch, running, told

THIS_HOUR = hour_of(datetime.now(UTC))


def key(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%d-%H:%M")


class TestJobQueue:
    def test_it_places_what_fits_and_asks_for_one_dagster_run_a_placed_run(self, resource, database: Database):
        with database.transaction() as tx:
            now = utc_now()
            a_node(tx, "alpha", gpus=8, now=now)
            customer = a_customer(tx)
            jobs = [a_job_of(tx, customer, gpus=4, now=now) for _ in range(3)]
        asked = job_queue(database=resource).run_requests
        with database.transaction() as tx:
            runs = [store.runs_of_job(tx, job.id) for job in jobs]
        assert [len(each) for each in runs] == [1, 1, 0]
        assert [each.run_key for each in asked] == [runs[0][0].id, runs[1][0].id]
        assert (
            asked[0].tags.items()
            >= {
                "scalar/run_id": runs[0][0].id,
                "scalar/job_id": jobs[0].id,
                "scalar/organisation": "acme",
                "scalar/node": "alpha",
                "scalar/attempt": "1",
            }.items()
        )

    def test_what_was_asked_for_is_not_asked_for_again_while_it_may_be_on_its_way(self, resource, database: Database):
        with database.transaction() as tx:
            a_node(tx, now=utc_now())
            job = a_job_of(tx, a_customer(tx), now=utc_now())
        (first,) = job_queue(database=resource).run_requests
        assert job_queue(database=resource).run_requests == []
        with database.transaction() as tx:
            (run,) = store.runs_of_job(tx, job.id)
            tx.execute("update job_runs set launch_leased_until = %s", [utc_now() - LAUNCH_LEASE])
        (again,) = job_queue(database=resource).run_requests
        # Nothing came of the first: a key of its own, or Dagster would take it for the first and do nothing.
        assert (first.run_key, again.run_key) == (run.id, f"{run.id}/2")

    def test_what_a_dagster_run_has_claimed_is_not_asked_for(self, resource, database: Database):
        with database.transaction() as tx:
            a_node(tx, now=utc_now())
            launch(tx, a_job_of(tx, a_customer(tx), now=utc_now()).id, now=utc_now())
        assert job_queue(database=resource).run_requests == []

    def test_ticks_at_one_time_ask_for_each_run_once(self, resource, database: Database):
        with database.transaction() as tx:
            a_node(tx, gpus=8, now=utc_now())
            customer = a_customer(tx)
            jobs = [a_job_of(tx, customer, now=utc_now()) for _ in range(8)]
        with ThreadPoolExecutor(4) as ticks:
            results = [each.result() for each in [ticks.submit(job_queue, database=resource) for _ in range(8)]]
        asked = [request.tags["scalar/job_id"] for result in results for request in result.run_requests]
        assert sorted(asked) == sorted(job.id for job in jobs)


@pytest.fixture
def tick(resource, monkeypatch):
    """One look of the `usage_hours` sensor at ten past the hour: (the hours it asks for, its new cursor)."""
    monkeypatch.setattr(metering, "utc_now", lambda: THIS_HOUR + timedelta(minutes=10))

    def look(cursor: str | None = None) -> tuple[list[str], str]:
        with dg.build_sensor_context(cursor=cursor) as context:
            result = usage_hours(context, database=resource)
        keys = [request.partition_key for request in result.run_requests]
        assert all(HOURS.has_partition_key(each) for each in keys)
        assert len({request.run_key for request in result.run_requests}) == len(keys)
        return keys, str(result.cursor)

    return look


class TestUsageHours:
    def test_without_usage_nothing_is_asked_for(self, tick):
        keys, cursor = tick()
        assert keys == []
        assert tick(cursor) == ([], cursor)

    def test_an_hour_is_asked_for_once_when_it_is_over_and_the_one_that_runs_later(self, tick, database: Database):
        start = THIS_HOUR - timedelta(minutes=30)
        with database.transaction() as tx:
            a_node(tx, now=start)
            run = launch(tx, a_job_of(tx, a_customer(tx)).id, now=start)
            told(tx, run, running(run, at=start))
            told(tx, run, ended(run, started_at=start, at=THIS_HOUR + timedelta(seconds=1)))
        keys, cursor = tick()
        assert keys == [key(THIS_HOUR - HOUR)]
        assert json.loads(cursor)["open_hours"] == [THIS_HOUR.isoformat()]
        assert tick(cursor) == ([], cursor)

    def test_an_event_that_comes_late_asks_for_its_hour_again(self, tick, database: Database):
        start = THIS_HOUR - timedelta(minutes=50)
        with database.transaction() as tx:
            node = a_node(tx, now=start)
            run = launch(tx, a_job_of(tx, a_customer(tx)).id, now=start)
            told(tx, run, running(run, at=start))
            told(tx, run, ended(run, started_at=start, at=start + timedelta(minutes=10)))
        first, cursor = tick()
        with database.transaction() as tx:
            seen(tx, node.id, (start := start + timedelta(minutes=20)))
            late = launch(tx, a_job_of(tx, a_customer(tx, "late")).id, now=start)
            told(tx, late, running(late, at=start))
            told(tx, late, ended(late, started_at=start, at=start + timedelta(minutes=5)))
        again, cursor = tick(cursor)
        assert first == again == [key(THIS_HOUR - HOUR)]
        assert tick(cursor)[0] == []

    def test_an_hour_that_was_asked_for_and_never_built_is_asked_for_again_once_an_hour(self, tick, database: Database):
        start = THIS_HOUR - 3 * HOUR
        with database.transaction() as tx:
            a_node(tx, now=start)
            run = launch(tx, a_job_of(tx, a_customer(tx)).id, now=start)
            told(tx, run, running(run, at=start))
            told(tx, run, ended(run, started_at=start, at=start + timedelta(minutes=5)))
        _, cursor = tick()
        assert tick(cursor)[0] == [key(start)]
        with database.transaction() as tx:
            replace_hour(tx, start, [], last_event_id=watermark(tx), now=utc_now())
        assert tick(cursor)[0] == []

    def test_a_lost_cursor_asks_for_everything_again_and_that_is_all(self, tick, database: Database):
        start = THIS_HOUR - 3 * HOUR
        with database.transaction() as tx:
            a_node(tx, now=start)
            run = launch(tx, a_job_of(tx, a_customer(tx)).id, now=start)
            told(tx, run, running(run, at=start))
            told(tx, run, ended(run, started_at=start, at=start + timedelta(minutes=5)))
        assert tick()[0] == tick()[0] == [key(start)]


def test_a_job_that_is_cancelled_before_its_dagster_run_is_asked_for_is_not_asked_for(resource, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=utc_now())
        customer = a_customer(tx)
        job = a_job_of(tx, customer, now=utc_now())
        life.cancel(tx, job.id, organisation_id=customer[0], actor="test", now=utc_now())
    assert job_queue(database=resource).run_requests == []
