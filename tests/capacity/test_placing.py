"""A pass against a real Postgres."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from scalar.accounts.store import create_organisation
from scalar.capacity import fleet
from scalar.capacity.model import SILENT_AFTER, Obstacle
from scalar.capacity.placing import run_pass
from scalar.capacity.store import assigned_counts, free_nodes, lease_unlaunched, quotas
from scalar.database import Database, Transaction
from scalar.jobs import life, store
from scalar.jobs.model import JobState, Tier
from scalar.jobs.tasks import tasks_of_runs
from tests.made_up import GIB, NOON, a_customer, a_job_of, a_node, ended, launch, told


def test_a_placed_job_has_a_run_with_its_gpus_and_its_share_of_the_node(tx: Transaction) -> None:
    node = a_node(tx, gpus=8)
    job = a_job_of(tx, a_customer(tx), gpus=2)
    assert run_pass(tx, NOON).placed == 1
    (run,) = store.runs_of_job(tx, job.id)
    (task,) = tasks_of_runs(tx, [run.id])
    assert (task.node_id, task.node_name, task.gpus) == (node.id, "alpha", [0, 1])
    (free,) = free_nodes(tx, NOON)
    assert (free.free_gpus, free.free_cpus, free.free_memory) == (tuple(range(2, 8)), 96.0, 6 * 64 * GIB)
    assert [each["run_id"] for each in lease_unlaunched(tx, NOON, limit=10)] == [run.id]
    assert store.job(tx, job.id).state is JobState.PLACED  # type: ignore[union-attr]


def test_a_second_pass_places_nothing_more(tx: Transaction) -> None:
    a_node(tx)
    a_job_of(tx, a_customer(tx))
    assert run_pass(tx, NOON).placed == 1
    assert run_pass(tx, NOON).placed == 0


def test_what_a_run_gives_back_is_placed_again(tx: Transaction) -> None:
    a_node(tx, gpus=1)
    customer = a_customer(tx)
    first, second = a_job_of(tx, customer), a_job_of(tx, customer, now=NOON + timedelta(seconds=1))
    run = launch(tx, first.id)
    assert run_pass(tx, NOON).placed == 0
    told(tx, run, ended(run, at=NOON + timedelta(seconds=5)))
    run_pass(tx, NOON + timedelta(seconds=5))
    assert store.job(tx, second.id).state is JobState.PLACED  # type: ignore[union-attr]


def test_the_queue_goes_by_tier_then_priority_then_age(tx: Transaction) -> None:
    customer = a_customer(tx)
    asked = [
        (Tier.FLEX, 100, 0),
        (Tier.FAST, -5, 0),
        (Tier.FAST, 0, 9),
        (Tier.FAST, 0, 3),
        (Tier.FAST, 7, 9),
        (Tier.FLEX, 0, 0),
    ]
    for tier, priority, age in asked:
        a_job_of(tx, customer, now=NOON - timedelta(minutes=age), tier=tier, priority=priority)
    queue = [
        (job.spec.tier, job.spec.priority, int((NOON - job.queued_at).seconds / 60)) for job in store.queue(tx, NOON)
    ]
    assert queue == [asked[4], asked[2], asked[3], asked[1], asked[0], asked[5]]


@pytest.mark.parametrize("why", ["draining", "gone", "silent"])
def test_nothing_is_placed_on_a_node_that_takes_no_work(tx: Transaction, why: str) -> None:
    node, now = a_node(tx), NOON
    if why == "draining":
        fleet.drain(tx, node.id, "test")
    elif why == "gone":
        fleet.mark_gone(tx, node.id, "test", NOON)
    else:
        now = NOON + SILENT_AFTER + timedelta(seconds=1)
    job = a_job_of(tx, a_customer(tx))
    assert [each.obstacle for each in run_pass(tx, now).decision.refusals] == [Obstacle.NO_NODES]
    assert store.job(tx, job.id).waiting == {"obstacle": "no_nodes", "ahead": 0}  # type: ignore[union-attr]


def test_a_node_that_just_called_is_not_silent(tx: Transaction) -> None:
    a_node(tx)
    a_job_of(tx, a_customer(tx))
    assert run_pass(tx, NOON + SILENT_AFTER).placed == 1


def test_an_organisation_gets_no_more_than_its_quota_until_it_gives_some_back(tx: Transaction) -> None:
    a_node(tx, gpus=8)
    limited, free = a_customer(tx, "limited", max_gpus=3), a_customer(tx, "free")
    mine = [a_job_of(tx, limited, gpus=2, now=NOON + timedelta(seconds=i)) for i in range(2)]
    a_job_of(tx, free, gpus=4)
    outcome = run_pass(tx, NOON)
    assert outcome.placed == 2
    assert [(each.job_id, each.obstacle) for each in outcome.decision.refusals] == [(mine[1].id, Obstacle.QUOTA)]
    assert quotas(tx) == {limited[0]: 1}
    life.cancel(tx, mine[0].id, organisation_id=None, actor="test", now=NOON)
    assert quotas(tx) == {limited[0]: 3}
    assert run_pass(tx, NOON).placed == 1


def test_an_organisation_with_a_quota_and_no_job_may_take_all_of_it(tx: Transaction) -> None:
    organisation = create_organisation(tx, "new", max_gpus=0)
    assert quotas(tx) == {organisation.id: 0}


def test_a_job_that_still_waits_for_the_same_reason_is_not_written_again(tx: Transaction) -> None:
    a_job_of(tx, a_customer(tx))
    run_pass(tx, NOON)
    before = tx.execute("select xmin, ctid, waiting from jobs").fetchall()
    run_pass(tx, NOON)
    assert tx.execute("select xmin, ctid, waiting from jobs").fetchall() == before


def test_two_passes_at_the_same_time_wait_for_each_other_and_place_nothing_twice(database: Database) -> None:
    with database.transaction() as tx:
        a_node(tx, gpus=8)
        customer = a_customer(tx)
        for _ in range(6):
            a_job_of(tx, customer, gpus=2)
    first_is_in, second_may_end = threading.Event(), threading.Event()

    def second() -> int:
        first_is_in.wait(10)
        with database.transaction() as tx:
            placed = run_pass(tx, NOON).placed
        second_may_end.set()
        return placed

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(second)
        with database.transaction() as tx:
            assert run_pass(tx, NOON).placed == 4
            first_is_in.set()
            assert not second_may_end.wait(0.3), "the second pass did not wait"
        assert waiting.result(10) == 0
    with database.transaction() as tx:
        assert list(assigned_counts(tx).values()) == [8]


def test_many_passes_cancels_and_submissions_at_once_never_overbook(database: Database) -> None:
    with database.transaction() as tx:
        nodes = [a_node(tx, name, gpus=4) for name in ("alpha", "beta")]
        customer = a_customer(tx, max_gpus=6)
        jobs = [a_job_of(tx, customer, gpus=1 + i % 2) for i in range(10)]

    def deed(i: int) -> None:
        with database.transaction() as tx:
            match i % 3:
                case 0:
                    run_pass(tx, NOON)
                case 1:
                    life.cancel(tx, jobs[i % 10].id, organisation_id=None, actor="test", now=NOON)
                case 2:
                    a_job_of(tx, customer)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(deed, range(30)))
    with database.transaction() as tx:
        run_pass(tx, NOON)
        in_use = assigned_counts(tx)
        assert sum(in_use.values()) == 6
        assert all(in_use.get(node.id, 0) <= 4 for node in nodes)
        active = tx.execute(
            "select count(*) as n from job_runs r join jobs j on j.id = r.job_id"
            " where r.ended_at is null and j.state <> 'placed'"
        ).fetchone()
        assert active == {"n": 0}


def test_a_job_that_is_cancelled_while_the_pass_decides_is_left_alone(database: Database) -> None:
    """The pass has read the queue and waits for the job's row, which a cancel holds."""
    with database.transaction() as tx:
        a_node(tx)
        job = a_job_of(tx, a_customer(tx))

    def one_pass() -> int:
        with database.transaction() as tx:
            return run_pass(tx, NOON).queued

    with ThreadPoolExecutor(1) as thread:
        with database.transaction() as tx:
            life.cancel(tx, job.id, organisation_id=None, actor="test", now=NOON)
            waiting = thread.submit(one_pass)
            _until_somebody_waits(database)
        assert waiting.result(10) == 1
    with database.transaction() as tx:
        assert store.job(tx, job.id).state is JobState.CANCELLED  # type: ignore[union-attr]
        assert store.runs_of_job(tx, job.id) == []
        assert assigned_counts(tx) == {}


def _until_somebody_waits(database: Database) -> None:
    query = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    for _ in range(200):
        with database.transaction() as tx:
            if tx.execute(query).rowcount:
                return
            tx.execute("select pg_sleep(0.02)")
    raise AssertionError("nobody waits for a lock")
