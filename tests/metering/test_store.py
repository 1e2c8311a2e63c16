"""Events, hours and their checks against a real Postgres."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalar.capacity.store import seen
from scalar.database import Database, Transaction
from scalar.jobs import tasks
from scalar.jobs.model import JobRun
from scalar.metering import store
from scalar.metering.hours import Backlog, due
from scalar.metering.model import HOUR, UsageKind, Window
from scalar.metering.usage import gpu_seconds, usage_in
from tests.made_up import NOON, a_customer, a_job_of, a_node, alive, ended, launch, running, told

_THE_HOUR = Window.hour(NOON)


def _at(*, minutes: float = 0) -> datetime:
    return NOON + timedelta(minutes=minutes)


def _a_run(tx: Transaction, gpus: int = 2, *, placed_at: datetime = NOON) -> JobRun:
    a_node(tx, now=placed_at)
    return launch(tx, a_job_of(tx, a_customer(tx), gpus=gpus, now=placed_at).id, now=placed_at)


def _ran(tx: Transaction, run: JobRun, start: datetime, end: datetime) -> None:
    told(tx, run, running(run, at=start))
    told(tx, run, ended(run, at=end, started_at=start))


def _build(tx: Transaction, hour: datetime) -> Decimal:
    """As the asset does; the seconds in it."""
    records = usage_in(store.spans_in(tx, Window.hour(hour)), Window.hour(hour))
    store.replace_hour(tx, hour, records, last_event_id=store.watermark(tx), now=hour + HOUR)
    assert store.usage_of_hour(tx, hour) == records
    return sum((record.gpu_seconds for record in records), Decimal())


def test_an_event_is_written_once(tx: Transaction) -> None:
    run = _a_run(tx)
    assert store.record_event(tx, run.id, 0, UsageKind.STARTED, NOON)
    assert not store.record_event(tx, run.id, 0, UsageKind.STARTED, _at(minutes=9))
    assert store.record_event(tx, run.id, 0, UsageKind.ALIVE, _at(minutes=1), sequence=1)
    assert not store.record_event(tx, run.id, 0, UsageKind.ALIVE, _at(minutes=1), sequence=1)
    assert gpu_seconds(store.spans_of_run(tx, run.id)) == 120


def test_a_run_over_three_hours_is_metered_in_each(tx: Transaction) -> None:
    run = _a_run(tx)
    _ran(tx, run, _at(minutes=30), _at(minutes=150))
    assert [_build(tx, NOON + i * HOUR) for i in range(-1, 4)] == [0, 3600, 7200, 3600, 0]


def test_an_hour_built_again_is_the_same_hour(tx: Transaction) -> None:
    run = _a_run(tx)
    _ran(tx, run, _at(minutes=30), _at(minutes=150))
    assert _build(tx, NOON) == _build(tx, NOON) == 3600


def test_a_node_that_falls_silent_stops_the_meter_at_its_last_sign_of_life(tx: Transaction) -> None:
    run = _a_run(tx)
    told(tx, run, running(run))
    told(tx, run, alive(run, sequence=5))
    assert _build(tx, NOON) == 2 * 300
    told(tx, run, alive(run, sequence=50))
    assert _build(tx, NOON) == 2 * 3000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), looks=st.lists(st.booleans(), min_size=4, max_size=4))
def test_every_hour_that_an_event_changes_is_due_in_whatever_order_events_come(
    tx: Transaction, order: list[int], looks: list[bool]
) -> None:
    """Built only when due, hours are what they would be if they were built from all events at the end."""
    tx.execute("savepoint example")
    run = _a_run(tx)
    tx.execute("update run_tasks set started_at = %s where run_id = %s", [_at(minutes=30), run.id])
    events = [
        (UsageKind.STARTED, 0, _at(minutes=30)),
        (UsageKind.ALIVE, 1, _at(minutes=80)),
        (UsageKind.ALIVE, 2, _at(minutes=200)),
        (UsageKind.ENDED, 0, _at(minutes=330)),
    ]
    backlog, built = Backlog(), {}
    for which, look in zip(order, looks, strict=True):
        kind, sequence, at = events[which]
        store.record_event(tx, run.id, 0, kind, at, sequence=sequence)
        if look or which == order[-1]:
            mark = store.watermark(tx)
            fresh = store.new_usage(tx, backlog.event_id, mark)
            hours, backlog = due(backlog, fresh, watermark=mark, now=_at(minutes=600))
            built |= {hour: _build(tx, hour) for hour in hours}
    assert sum(built.values()) == gpu_seconds(store.spans_of_run(tx, run.id)) == 2 * 300 * 60
    tx.execute("rollback to savepoint example")


def test_a_late_event_makes_its_hours_due_again(tx: Transaction) -> None:
    run = _a_run(tx)
    told(tx, run, running(run))
    told(tx, run, alive(run, sequence=10))
    mark = store.watermark(tx)
    hours, backlog = due(Backlog(), store.new_usage(tx, 0, mark), watermark=mark, now=_at(minutes=180))
    assert hours == [NOON]
    assert _build(tx, NOON) == 2 * 600
    assert due(backlog, store.new_usage(tx, mark, mark), watermark=mark, now=_at(minutes=180))[0] == []
    told(tx, run, ended(run, at=_at(minutes=90)))
    later = store.watermark(tx)
    hours, _ = due(backlog, store.new_usage(tx, mark, later), watermark=later, now=_at(minutes=180))
    assert hours == [NOON, NOON + HOUR]
    assert [_build(tx, hour) for hour in hours] == [7200, 3600]


def test_a_watermark_waits_for_an_event_that_is_on_its_way(database: Database) -> None:
    with database.transaction() as tx:
        run = _a_run(tx)
    with ThreadPoolExecutor(1) as thread:
        with database.transaction() as tx:
            store.record_event(tx, run.id, 0, UsageKind.STARTED, NOON)
            looked = threading.Event()

            def look() -> int:
                with database.transaction() as tx:
                    mark = store.watermark(tx)
                looked.set()
                return mark

            mark = thread.submit(look)
            assert not looked.wait(0.3), "the watermark did not wait"
        assert mark.result(10) == 1


def test_events_of_two_transactions_do_not_wait_for_each_other(database: Database) -> None:
    with database.transaction() as tx:
        a_node(tx)
        customer = a_customer(tx)
        runs = [launch(tx, a_job_of(tx, customer).id) for _ in range(2)]
    with database.transaction() as one, database.transaction() as other:
        other.execute("set local lock_timeout = '2s'")
        store.record_event(one, runs[0].id, 0, UsageKind.STARTED, NOON)
        assert store.record_event(other, runs[1].id, 0, UsageKind.STARTED, NOON)


def _two_runs_on_one_gpu(tx: Transaction, *, overlap: timedelta) -> None:
    """One after another on the node's only GPU; metered as if the second had begun before the first had ended."""
    node = a_node(tx, gpus=1)
    customer = a_customer(tx)
    first = launch(tx, a_job_of(tx, customer).id)
    told(tx, first, running(first))
    told(tx, first, ended(first, at=_at(minutes=20)))
    seen(tx, node.id, _at(minutes=20))
    second = launch(tx, a_job_of(tx, customer).id, now=_at(minutes=20))
    _ran(tx, second, _at(minutes=20) - overlap, _at(minutes=30))


def test_a_gpu_that_was_metered_for_two_runs_at_once_is_found(tx: Transaction) -> None:
    _two_runs_on_one_gpu(tx, overlap=timedelta(seconds=1))
    (double,) = store.gpus_used_twice(tx, _THE_HOUR)
    assert (double.gpu_index, double.seconds) == (0, 1)
    assert store.gpus_used_twice(tx, Window.hour(NOON + HOUR)) == []


def test_a_gpu_that_changed_hands_was_not_used_twice(tx: Transaction) -> None:
    _two_runs_on_one_gpu(tx, overlap=timedelta())
    assert store.gpus_used_twice(tx, _THE_HOUR) == []


def test_neighbours_on_one_node_do_not_share_a_gpu(tx: Transaction) -> None:
    a_node(tx, gpus=2)
    customer = a_customer(tx)
    for run in [launch(tx, a_job_of(tx, customer).id) for _ in range(2)]:
        _ran(tx, run, NOON, _at(minutes=10))
    assert store.gpus_used_twice(tx, _THE_HOUR) == []


@pytest.fixture
def finished(tx: Transaction) -> JobRun:
    """A run from 11:30 to 12:30 on two GPUs, both hours built."""
    run = _a_run(tx, placed_at=_at(minutes=-30))
    _ran(tx, run, _at(minutes=-30), _at(minutes=30))
    for hour in (NOON - HOUR, NOON):
        _build(tx, hour)
    return run


def test_a_run_that_is_metered_as_it_ran_is_no_discrepancy(tx: Transaction, finished: JobRun) -> None:
    assert finished.id
    assert store.runs_that_differ(tx, _THE_HOUR) == []


@pytest.mark.parametrize(
    ("fault", "metered"),
    [
        (
            "update hourly_usage set gpu_seconds = gpu_seconds + 0.000001 where hour = '2026-11-21 12:00Z'",
            "7200.000001",
        ),
        ("delete from hourly_usage where hour = '2026-11-21 11:00Z'", "3600"),
        ("delete from hourly_usage", "0"),
    ],
)
def test_a_run_that_is_metered_otherwise_than_it_ran_is_found(
    tx: Transaction, finished: JobRun, fault: str, metered: str
) -> None:
    tx.execute(fault.encode())
    (found,) = store.runs_that_differ(tx, _THE_HOUR)
    assert (found.run_id, found.metered, found.own) == (finished.id, Decimal(metered), 7200)


def test_a_run_whose_earlier_hours_are_not_built_yet_is_not_judged(tx: Transaction, finished: JobRun) -> None:
    tx.execute("delete from hourly_usage where hour < %s", [NOON])
    tx.execute("delete from metered_hours where hour < %s", [NOON])
    assert finished.id
    assert store.runs_that_differ(tx, _THE_HOUR) == []


def test_a_run_that_is_lost_is_metered_as_its_tasks_say(tx: Transaction) -> None:
    run = _a_run(tx)
    told(tx, run, running(run))
    told(tx, run, alive(run, sequence=7))
    tasks.end_open_tasks(tx, run.id, ended(run).ending, _at(minutes=40))
    tx.execute(
        "update job_runs set state = 'failed', reason = 'node_lost', ended_at = %s where id = %s",
        [_at(minutes=40), run.id],
    )
    assert _build(tx, NOON) == 2 * 420
    assert store.runs_that_differ(tx, _THE_HOUR) == []
