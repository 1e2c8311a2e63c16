"""A job's life against a real Postgres."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr

from scalar.capacity import fleet
from scalar.capacity.placing import run_pass
from scalar.capacity.store import assigned_counts
from scalar.database import Database, Transaction
from scalar.errors import Conflict, IdempotencyConflict, IllegalMove, NotFound
from scalar.jobs import life, store
from scalar.jobs.endings import TerminationReason
from scalar.jobs.model import Job, JobRun, JobState, RetryOn, RetryPolicy, RunState
from scalar.jobs.reports import apply_report
from scalar.jobs.tasks import desired_tasks, task_rows
from scalar.metering.store import spans_of_run
from scalar.metering.usage import gpu_seconds
from scalar.protocol import ReportOutcome, TaskEnding, TaskReport, Want
from tests.made_up import (
    NOON,
    a_customer,
    a_job_of,
    a_node,
    a_spec,
    alive,
    ended,
    launch,
    node_of,
    running,
    starting,
    told,
)

_LATER = NOON + timedelta(seconds=30)
_AGAIN = RetryPolicy(max_attempts=3, on=frozenset(RetryOn))


@pytest.fixture
def customer(tx: Transaction) -> tuple[str, str]:
    return a_customer(tx)


def _job(tx: Transaction, job: Job | JobRun) -> Job:
    found = store.job(tx, job.id if isinstance(job, Job) else job.job_id)
    assert found is not None
    return found


def _run(tx: Transaction, run: JobRun) -> JobRun:
    found = store.run(tx, run.id)
    assert found is not None
    return found


def _cancel(tx: Transaction, job: Job) -> Job:
    return life.cancel(tx, job.id, organisation_id=job.organisation_id, actor="test", now=_LATER)


def test_a_job_that_ends_well_has_succeeded_and_is_metered_from_start_to_end(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, customer, gpus=2).id)
    start, end = NOON + timedelta(seconds=1), NOON + timedelta(seconds=31.5)
    for report in (starting(run), running(run, at=start), ended(run, at=end, started_at=start)):
        assert told(tx, run, report) is ReportOutcome.ACCEPTED
    assert _run(tx, run).state is RunState.SUCCEEDED
    assert (_run(tx, run).started_at, _run(tx, run).ended_at) == (start, end)
    assert _job(tx, run).state is JobState.SUCCEEDED
    assert gpu_seconds(spans_of_run(tx, run.id)) == 61
    assert assigned_counts(tx) == {}


@pytest.mark.parametrize(
    ("reports", "state"),
    [
        ([], JobState.PLACED),
        ([starting], JobState.PLACED),
        ([running], JobState.RUNNING),
        ([starting, running], JobState.RUNNING),
        ([running, starting], JobState.RUNNING),
        ([ended, running], JobState.SUCCEEDED),
        ([ended, starting], JobState.SUCCEEDED),
        ([running, ended, alive], JobState.SUCCEEDED),
    ],
)
def test_reports_lead_to_the_same_state_in_any_order(
    tx: Transaction, customer: tuple[str, str], reports: list[Callable[[JobRun], TaskReport]], state: JobState
) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, customer).id)
    for report in reports:
        told(tx, run, report(run))
    assert _job(tx, run).state is state


@pytest.mark.parametrize("report", [running, alive, ended])
def test_a_report_that_is_repeated_is_a_duplicate_and_changes_nothing(
    tx: Transaction, customer: tuple[str, str], report: Callable[[JobRun], TaskReport]
) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, customer).id)
    told(tx, run, running(run))
    told(tx, run, report(run))
    before = _everything(tx)
    assert told(tx, run, report(run)) is ReportOutcome.DUPLICATE
    assert _everything(tx) == before


def test_an_end_that_comes_first_is_metered_as_if_every_report_had_come(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, customer).id)
    told(tx, run, ended(run, at=_LATER, started_at=NOON))
    assert gpu_seconds(spans_of_run(tx, run.id)) == 30
    assert told(tx, run, running(run)) is ReportOutcome.STALE


def test_a_container_that_never_started_costs_nothing(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, customer).id)
    told(tx, run, ended(run, at=_LATER, started_at=None, ending=TaskEnding.IMAGE_NOT_FOUND, message="no such image"))
    assert spans_of_run(tx, run.id) == []
    assert (_job(tx, run).state, _job(tx, run).reason) == (JobState.FAILED, TerminationReason.IMAGE_NOT_FOUND)
    assert _run(tx, run).message == "no such image"


def _everything(tx: Transaction) -> list[object]:
    tables = ("jobs", "job_runs", "run_tasks", "gpu_assignments", "usage_events", "nodes", "audit_log")
    return [tx.execute(f"select * from {table} order by 1, 2").fetchall() for table in tables]


@pytest.mark.parametrize("report", [starting, running, alive, ended])
@pytest.mark.parametrize("why", ["another token", "another node", "a run that is over", "no such run", "no such rank"])
def test_a_report_that_is_not_the_run_own_changes_nothing(
    tx: Transaction, customer: tuple[str, str], report: Callable[[JobRun], TaskReport], why: str
) -> None:
    node, other = a_node(tx), a_node(tx, "beta")
    fleet.drain(tx, other.id, "test")
    run = launch(tx, a_job_of(tx, customer).id)
    said, caller = report(run), node.id
    match why:
        case "another token":
            said = said.model_copy(update={"token": SecretStr("old")})
        case "another node":
            caller = other.id
        case "no such run":
            said = said.model_copy(update={"run_id": "run_none"})
        case "no such rank":
            said = said.model_copy(update={"rank": 1})
        case "a run that is over":
            life.finish_run(tx, run.id, TerminationReason.NODE_LOST, now=NOON)
    before = _everything(tx)
    assert apply_report(tx, caller, said, _LATER) is ReportOutcome.STALE
    assert _everything(tx) == before


def test_a_job_that_waits_is_cancelled_at_once(tx: Transaction, customer: tuple[str, str]) -> None:
    job = a_job_of(tx, customer)
    assert (_cancel(tx, job).state, _job(tx, job).ended_at) == (JobState.CANCELLED, _LATER)


def test_a_job_that_no_node_was_told_of_is_cancelled_at_once_and_gives_its_gpus_back(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    a_node(tx)
    job = a_job_of(tx, customer)
    run_pass(tx, NOON)
    assert _cancel(tx, job).state is JobState.CANCELLED
    assert store.runs_of_job(tx, job.id)[0].state is RunState.CANCELLED
    assert assigned_counts(tx) == {}


@pytest.mark.parametrize("reports", [[], [starting], [running]])
def test_a_job_on_a_node_is_stopped_and_ends_when_its_node_says_so(
    tx: Transaction, customer: tuple[str, str], reports: list[Callable[[JobRun], TaskReport]]
) -> None:
    node = a_node(tx)
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    for report in reports:
        told(tx, run, report(run))
    assert not _cancel(tx, job).state.ended
    assert [task.want for task in desired_tasks(tx, node.id)] == [Want.STOP]
    told(tx, run, ended(run, at=_LATER, ending=TaskEnding.STOPPED, exit_code=143))
    assert (_job(tx, job).state, _job(tx, job).reason) == (JobState.CANCELLED, "cancelled")
    assert desired_tasks(tx, node.id) == []
    assert assigned_counts(tx) == {}


def test_cancelling_twice_is_cancelling_once(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    _cancel(tx, job)
    stopped = tx.execute("select stop_requested_at, desired_version from job_runs, nodes").fetchall()
    _cancel(tx, job)
    assert tx.execute("select stop_requested_at, desired_version from job_runs, nodes").fetchall() == stopped
    told(tx, run, ended(run, ending=TaskEnding.STOPPED))
    assert _cancel(tx, job).state is JobState.CANCELLED


def test_a_job_that_ended_by_itself_can_not_be_cancelled(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    told(tx, run, ended(run))
    with pytest.raises(Conflict, match="already ended"):
        _cancel(tx, job)


@pytest.mark.parametrize(
    "how",
    [
        {"ending": TaskEnding.EXITED, "exit_code": 1},
        {"ending": TaskEnding.EXITED, "exit_code": 143},
        {"ending": TaskEnding.OUT_OF_MEMORY, "exit_code": 137},
        {"ending": TaskEnding.TIMED_OUT, "exit_code": 143},
        {"ending": TaskEnding.CONTAINER_LOST},
        {"ending": TaskEnding.NODE_STOPPED},
    ],
)
def test_a_cancelled_job_never_runs_again_however_its_run_ended(
    tx: Transaction, customer: tuple[str, str], how: dict[str, object]
) -> None:
    a_node(tx)
    job = a_job_of(tx, customer, retries=_AGAIN)
    run = launch(tx, job.id)
    told(tx, run, running(run))
    _cancel(tx, job)
    told(tx, run, ended(run, at=_LATER, **how))
    assert _job(tx, job).state is JobState.CANCELLED


def test_a_cancelled_job_never_runs_again_when_its_node_is_lost(tx: Transaction, customer: tuple[str, str]) -> None:
    node = a_node(tx)
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    told(tx, run, running(run))
    _cancel(tx, job)
    fleet.mark_gone(tx, node.id, "test", _LATER)
    assert _job(tx, job).state is JobState.CANCELLED


def test_a_job_that_finished_before_it_could_be_stopped_has_succeeded(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    a_node(tx)
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    _cancel(tx, job)
    told(tx, run, ended(run))
    assert _job(tx, job).state is JobState.SUCCEEDED


def test_a_job_that_fails_is_tried_again_after_a_while_with_a_new_token_until_it_is_out_of_tries(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    a_node(tx)
    job, now, tokens = a_job_of(tx, customer, retries=_AGAIN), NOON, set()
    for attempt in (1, 2, 3):
        run = launch(tx, job.id, now=now)
        tokens.add(run.token.get_secret_value())
        assert run.attempt == attempt
        told(tx, run, ended(run, at=now, started_at=now, exit_code=1))
        if attempt < 3:
            assert _job(tx, job).state is JobState.QUEUED
            assert run_pass(tx, now).queued == 0
            now = _job(tx, job).not_before  # type: ignore[assignment]
    assert (_job(tx, job).state, _job(tx, job).reason) == (JobState.DEAD_LETTER, "error")
    assert len(tokens) == 3


def test_a_job_that_ended_starts_again_with_all_its_tries(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    told(tx, run, ended(run, exit_code=1))
    again = life.requeue(tx, job.id, organisation_id=job.organisation_id, actor="test", now=_LATER)
    assert (again.state, again.failures, again.reason, again.ended_at) == (JobState.QUEUED, 0, None, None)
    assert again.queued_at == _LATER
    assert launch(tx, job.id, now=_LATER).attempt == 2


@pytest.mark.parametrize("state", ["queued", "placed", "running"])
def test_a_job_that_has_not_ended_can_not_start_again(tx: Transaction, customer: tuple[str, str], state: str) -> None:
    a_node(tx)
    job = a_job_of(tx, customer)
    if state != "queued":
        run = launch(tx, job.id)
        if state == "running":
            told(tx, run, running(run))
    with pytest.raises(IllegalMove), tx.transaction():
        life.requeue(tx, job.id, organisation_id=None, actor="test", now=_LATER)
    with pytest.raises(IllegalMove), tx.transaction():
        life.re_execute(tx, job.id, str(uuid4()), _LATER)
    assert _job(tx, job).state == state


def test_another_tenant_job_is_not_there(tx: Transaction, customer: tuple[str, str]) -> None:
    job = a_job_of(tx, customer)
    other, _ = a_customer(tx, "other")
    for deed in (life.cancel, life.requeue):
        with pytest.raises(NotFound):
            deed(tx, job.id, organisation_id=other, actor="test", now=NOON)


def test_a_re_execution_is_placed_as_the_dagster_run_that_asked_for_it(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    node, asked = a_node(tx), str(uuid4())
    job = a_job_of(tx, customer)
    run = launch(tx, job.id)
    told(tx, run, ended(run))
    life.re_execute(tx, job.id, asked, _LATER)
    assert store.is_requested(tx, asked)
    run_pass(tx, _LATER)
    again = store.runs_of_job(tx, job.id)[-1]
    assert (again.dagster_run_id, again.state, again.attempt) == (asked, RunState.LAUNCHED, 2)
    assert [task.run_id for task in desired_tasks(tx, node.id)] == [again.id]
    assert not store.is_requested(tx, asked)


def test_a_re_execution_that_is_withdrawn_while_it_waits_is_cancelled(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    a_node(tx)
    job, asked = a_job_of(tx, customer), str(uuid4())
    run = launch(tx, job.id)
    told(tx, run, ended(run))
    life.re_execute(tx, job.id, asked, _LATER)
    assert store.withdraw_request(tx, asked, _LATER)
    assert (_job(tx, job).state, _job(tx, job).reason) == (JobState.CANCELLED, "terminated")
    assert not store.withdraw_request(tx, asked, _LATER)


def test_a_run_belongs_to_the_first_dagster_run_that_claims_it(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    job, first = a_job_of(tx, customer), str(uuid4())
    run_pass(tx, NOON)
    run = store.runs_of_job(tx, job.id)[0]
    assert life.launch(tx, run.id, first, NOON)
    assert not life.launch(tx, run.id, str(uuid4()), NOON)
    assert _run(tx, run).dagster_run_id == first


def test_a_run_that_was_cancelled_before_its_launch_can_not_be_claimed(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    node = a_node(tx)
    job = a_job_of(tx, customer)
    run_pass(tx, NOON)
    _cancel(tx, job)
    assert not life.launch(tx, store.runs_of_job(tx, job.id)[0].id, str(uuid4()), NOON)
    assert desired_tasks(tx, node.id) == []


def test_nothing_is_told_to_a_node_before_the_launch(tx: Transaction, customer: tuple[str, str]) -> None:
    node = a_node(tx)
    a_job_of(tx, customer)
    run_pass(tx, NOON)
    assert desired_tasks(tx, node.id) == []


def test_the_job_of_a_lost_node_is_tried_elsewhere_and_metered_to_the_last_sign_of_life(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    node = a_node(tx, gpus=4)
    job = a_job_of(tx, customer, gpus=4)
    run = launch(tx, job.id)
    told(tx, run, running(run))
    told(tx, run, alive(run, sequence=3))
    much_later = NOON + timedelta(hours=2)
    fleet.mark_gone(tx, node.id, "test", much_later)
    assert gpu_seconds(spans_of_run(tx, run.id)) == 4 * 180
    assert task_rows(tx, run.id)[0].ended_at == NOON + timedelta(seconds=180)
    assert (_run(tx, run).state, _run(tx, run).reason) == (RunState.FAILED, "node_lost")
    assert (_job(tx, job).state, _job(tx, job).interruptions) == (JobState.QUEUED, 1)
    assert apply_report(tx, node.id, ended(run, at=much_later), much_later) is ReportOutcome.STALE
    assert gpu_seconds(spans_of_run(tx, run.id)) == 4 * 180
    elsewhere = a_node(tx, "beta", gpus=4, now=much_later)
    again = launch(tx, job.id, now=much_later)
    assert (again.attempt, node_of(tx, again)) == (2, elsewhere.id)


@pytest.fixture
def gang(tx: Transaction, customer: tuple[str, str]) -> JobRun:
    """Of three nodes, all running."""
    for name in ("alpha", "beta", "gamma"):
        a_node(tx, name, address=f"10.0.0.{len(name)}")
    run = launch(tx, a_job_of(tx, customer, nodes=3, gpus=8).id)
    for rank in range(3):
        told(tx, run, running(run, rank=rank))
    return run


def test_a_gang_succeeds_when_all_its_members_have(tx: Transaction, gang: JobRun) -> None:
    for rank, seconds in ((2, 10), (0, 20)):
        told(tx, gang, ended(gang, rank=rank, at=NOON + timedelta(seconds=seconds)))
        assert _run(tx, gang).state is RunState.RUNNING
    told(tx, gang, ended(gang, rank=1, at=NOON + timedelta(seconds=15)))
    assert (_run(tx, gang).state, _job(tx, gang).state) == (RunState.SUCCEEDED, JobState.SUCCEEDED)
    assert _run(tx, gang).ended_at == NOON + timedelta(seconds=20)
    assert gpu_seconds(spans_of_run(tx, gang.id)) == 8 * (10 + 20 + 15)


def test_the_members_of_a_gang_know_each_other(tx: Transaction, gang: JobRun) -> None:
    leader = tx.execute("select address from nodes where id = %s", [node_of(tx, gang)]).fetchone()
    for rank in range(3):
        (task,) = desired_tasks(tx, node_of(tx, gang, rank))
        env = {name: value.get_secret_value() for name, value in task.env.items()}
        assert env == {"SCALAR_NODES": "3", "NODE_RANK": str(rank), "MASTER_ADDR": leader["address"]}  # type: ignore[index]


def test_a_gang_whose_member_fails_is_stopped_and_ends_as_that_one_did(tx: Transaction, gang: JobRun) -> None:
    told(tx, gang, ended(gang, rank=1, at=_LATER, exit_code=3, message="boom"))
    assert _run(tx, gang).state is RunState.RUNNING
    for rank in (0, 2):
        assert [task.want for task in desired_tasks(tx, node_of(tx, gang, rank))] == [Want.STOP]
        told(tx, gang, ended(gang, rank=rank, at=_LATER, ending=TaskEnding.STOPPED, exit_code=143))
    run = _run(tx, gang)
    assert (run.state, run.reason, run.exit_code, run.message) == (RunState.FAILED, "error", 3, "boom")
    assert (_job(tx, gang).state, _job(tx, gang).reason) == (JobState.FAILED, "error")
    assert assigned_counts(tx) == {}


def test_a_gang_ends_as_the_first_of_its_failures_did_though_it_is_heard_last(tx: Transaction, gang: JobRun) -> None:
    told(tx, gang, ended(gang, rank=0, at=_LATER, exit_code=1))
    told(tx, gang, ended(gang, rank=1, at=_LATER, ending=TaskEnding.STOPPED))
    told(tx, gang, ended(gang, rank=2, at=NOON + timedelta(seconds=1), ending=TaskEnding.OUT_OF_MEMORY, exit_code=137))
    assert (_run(tx, gang).reason, _run(tx, gang).exit_code) == ("out_of_memory", 137)


def test_a_gang_that_is_cancelled_while_it_stops_is_not_tried_again(tx: Transaction, customer: tuple[str, str]) -> None:
    for name in ("alpha", "beta"):
        a_node(tx, name)
    job = a_job_of(tx, customer, nodes=2, gpus=8, retries=_AGAIN)
    run = launch(tx, job.id)
    told(tx, run, ended(run, rank=0, exit_code=1))
    _cancel(tx, job)
    told(tx, run, ended(run, rank=1, ending=TaskEnding.STOPPED))
    assert _job(tx, job).state is JobState.CANCELLED


def test_a_gang_that_loses_a_node_starts_again_only_when_its_other_nodes_have_stopped(
    tx: Transaction, gang: JobRun
) -> None:
    fleet.mark_gone(tx, node_of(tx, gang, 1), "test", _LATER)
    assert _job(tx, gang).state is not JobState.QUEUED
    assert [[task.want for task in desired_tasks(tx, node_of(tx, gang, rank))] for rank in range(3)] == [
        [Want.STOP],
        [],
        [Want.STOP],
    ]
    assert node_of(tx, gang, 1) not in assigned_counts(tx)
    for rank in (0, 2):
        told(tx, gang, ended(gang, rank=rank, at=_LATER, ending=TaskEnding.STOPPED))
    assert _run(tx, gang).reason == "node_lost"
    assert _job(tx, gang).state is JobState.QUEUED
    assert assigned_counts(tx) == {}


def _submit(tx: Transaction, customer: tuple[str, str], key: str | None, **spec: object) -> life.Submission:
    organisation_id, key_id = customer
    return life.submit(
        tx, a_spec(**spec), organisation_id=organisation_id, key_id=key_id, idempotency_key=key, now=NOON
    )


def test_a_request_that_is_sent_twice_is_one_job(tx: Transaction, customer: tuple[str, str]) -> None:
    first, second = (_submit(tx, customer, "once", env={"B": "1", "A": "2"}) for _ in range(2))
    assert (first.created, second.created) == (True, False)
    assert first.job.id == second.job.id
    third = _submit(tx, customer, "once", env={"A": "2", "B": "1"})
    assert third.job.id == first.job.id


def test_requests_without_a_key_are_a_job_each(tx: Transaction, customer: tuple[str, str]) -> None:
    assert _submit(tx, customer, None).job.id != _submit(tx, customer, None).job.id


@pytest.mark.parametrize(
    "change",
    [
        {"gpus": 2},
        {"image": "other"},
        {"env": {"A": "1"}},
        {"labels": {"a": "1"}},
        {"command": []},
        {"retries": _AGAIN},
        {"priority": 1},
    ],
)
def test_a_key_that_comes_with_another_request_is_refused(
    tx: Transaction, customer: tuple[str, str], change: dict[str, object]
) -> None:
    first = _submit(tx, customer, "once")
    with pytest.raises(IdempotencyConflict, match=first.job.id):
        _submit(tx, customer, "once", **change)


def test_a_key_is_its_organisation_own(tx: Transaction, customer: tuple[str, str]) -> None:
    other = a_customer(tx, "other")
    assert _submit(tx, customer, "once").job.id != _submit(tx, other, "once", gpus=2).job.id


def test_the_hash_of_a_request_does_not_depend_on_the_order_of_its_parts() -> None:
    spec = a_spec(labels={"a": "1", "b": "2"}, retries=RetryPolicy(max_attempts=2, on=frozenset(RetryOn)))
    other = replace(spec, labels={"b": "2", "a": "1"}, retries=replace(spec.retries, on=frozenset(reversed(RetryOn))))
    assert life.request_hash(spec) == life.request_hash(other)


def test_requests_at_the_same_time_under_one_key_are_one_job(database: Database) -> None:
    with database.transaction() as tx:
        customer = a_customer(tx)

    def submit(_: int) -> life.Submission:
        with database.transaction() as tx:
            return _submit(tx, customer, "once")

    with ThreadPoolExecutor(8) as threads:
        submissions = list(threads.map(submit, range(8)))
    assert len({each.job.id for each in submissions}) == 1
    assert sum(each.created for each in submissions) == 1


def test_ends_and_cancels_at_the_same_time_hold_up_nobody_and_leave_every_job_cancelled(database: Database) -> None:
    with database.transaction() as tx:
        customer = a_customer(tx)
        a_node(tx, gpus=8)
        jobs = [a_job_of(tx, customer) for _ in range(8)]
        runs = [launch(tx, job.id) for job in jobs]

    def end(run: JobRun) -> None:
        with database.transaction() as tx:
            told(tx, run, ended(run, ending=TaskEnding.STOPPED))

    def cancel(job: Job) -> None:
        with database.transaction() as tx:
            _cancel(tx, job)

    with ThreadPoolExecutor(8) as threads:
        for done in [
            each
            for pair in zip(runs, jobs, strict=True)
            for each in (threads.submit(cancel, pair[1]), threads.submit(end, pair[0]))
        ]:
            done.result()
    with database.transaction() as tx:
        assert assigned_counts(tx) == {}
        assert {_job(tx, job).state for job in jobs} == {JobState.CANCELLED}
        assert all(len(store.runs_of_job(tx, job.id)) == 1 for job in jobs)


def test_a_node_whose_clock_is_far_out_is_not_believed(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, customer).id)
    told(tx, run, running(run, at=NOON - timedelta(days=400)), now=NOON)
    told(tx, run, ended(run, at=NOON + timedelta(days=400), started_at=NOON - timedelta(days=400)), now=_LATER)
    (span,) = spans_of_run(tx, run.id)
    assert NOON - timedelta(minutes=5) <= span.start <= span.end <= _LATER + timedelta(minutes=5)
