"""What a customer is told about a job."""

from datetime import timedelta
from typing import Any

import pytest

from scalar.capacity.model import Obstacle
from scalar.jobs.endings import TerminationReason
from scalar.jobs.explanation import Explanation, explain
from scalar.jobs.model import Job, JobRun, JobState, RunState, Task, Tier
from tests.made_up import NOON, a_job, a_run, a_task


def _explain(
    job: Job, *runs: JobRun, tasks: tuple[Task, ...] = (), silent: frozenset[str] = frozenset()
) -> Explanation:
    return explain(job, runs, tasks, silent, NOON)


def _ended(reason: str, **changes: Any) -> JobRun:
    return a_run(state=TerminationReason(reason).run_state, reason=reason, ended_at=NOON, **changes)


@pytest.mark.parametrize(
    ("obstacle", "summary", "advice"),
    [
        (Obstacle.NO_NODES, "no node takes work", "Nothing"),
        (Obstacle.NO_SUCH_NODE, "3 nodes with 4 H100 GPU(s) each", "fewer GPUs"),
        (Obstacle.BUSY, "those that would do are taken", "fast goes before flex"),
        (Obstacle.QUOTA, "your organisation uses all the GPUs", "higher quota"),
        (Obstacle.BLOCK_ENDS, "only there for a shorter time", "max_runtime_seconds"),
        (Obstacle.RESERVED, "are reserved for others within the time that it may run", "A max_runtime_seconds lets it"),
    ],
)
def test_each_obstacle_is_said_in_words(obstacle: Obstacle, summary: str, advice: str) -> None:
    job = a_job(nodes=3, gpus=4, gpu_type="H100", tier=Tier.FLEX, waiting={"obstacle": obstacle.value, "ahead": 2})
    said = _explain(job)
    assert summary in said.summary
    assert advice in str(said.advice)
    assert said.details == ("2 job(s) ahead of it wait too.",)


def test_every_obstacle_has_words() -> None:
    said = {_explain(a_job(waiting={"obstacle": each.value, "ahead": 0})).summary for each in Obstacle}
    assert len(said) == len(Obstacle)


def test_a_job_of_one_node_of_any_type_reads_well() -> None:
    said = _explain(a_job(gpus=2, waiting={"obstacle": "busy", "ahead": 0}))
    assert said.summary == "It waits for a node with 2 GPU(s): those that would do are taken."
    assert said.advice is None


def test_a_new_job_will_be_looked_at() -> None:
    assert "within seconds" in _explain(a_job()).summary


def test_a_job_that_waits_for_its_next_try_says_how_long_and_why() -> None:
    job = a_job(not_before=NOON + timedelta(seconds=7.5), waiting={"obstacle": "busy"})
    said = _explain(job, _ended("error", exit_code=3))
    assert said.summary == "It failed and will be tried again in 8 s."
    assert said.details == ("The last try failed. Your command ended with exit code 3.",)


@pytest.mark.parametrize(
    ("run", "summary"),
    [
        (a_run(), "GPUs on alpha are reserved"),
        (a_run(state=RunState.LAUNCHED), "GPUs on alpha are reserved"),
        (a_run(state=RunState.STARTING), "alpha prepares its container"),
        (a_run(state=RunState.RUNNING, attempt=2), "It runs on alpha (try 2)."),
        (a_run(state=RunState.RUNNING, stop_reason="cancelled"), "It is being stopped on alpha. (It was cancelled)"),
    ],
)
def test_a_job_on_its_way_says_where_it_is(run: JobRun, summary: str) -> None:
    assert summary in _explain(a_job(state=JobState.RUNNING), run, tasks=(a_task(),)).summary


def test_a_silent_node_is_owned_up_to() -> None:
    run = a_run(state=RunState.RUNNING)
    tasks = (a_task(detail="pulls the image"), a_task(rank=1, node_id="node_2", node_name="beta"))
    said = _explain(a_job(state=JobState.RUNNING), run, tasks=tasks, silent=frozenset({"node_2"}))
    assert "alpha, beta" in said.summary
    assert said.details[0] == "pulls the image"
    assert "lost contact with beta" in said.details[1]
    assert "alpha" not in said.details[1]


@pytest.mark.parametrize("reason", list(TerminationReason))
def test_each_end_is_said_in_words(reason: TerminationReason) -> None:
    run = _ended(reason, exit_code=3, message="out of disk")
    said = _explain(a_job(state=JobState(run.state.value), ended_at=NOON), run)
    assert reason.text(exit_code=3) in said.summary
    assert "(out of disk)" in said.summary
    verb = {RunState.SUCCEEDED: "succeeded", RunState.CANCELLED: "was cancelled", RunState.FAILED: "failed"}[run.state]
    assert said.summary.startswith(f"It {verb}. ")


def test_a_parked_job_says_how_to_start_it_again_and_tells_every_try() -> None:
    runs = (_ended("error", attempt=1, exit_code=1), _ended("node_lost", attempt=2), _ended("error", attempt=3))
    said = _explain(a_job("job_9", state=JobState.DEAD_LETTER, ended_at=NOON), *runs)
    assert "POST /v1/jobs/job_9/requeue" in str(said.advice)
    assert [detail[:12] for detail in said.details] == ["Try 1 failed", "Try 2 failed"]


def test_a_failed_job_points_to_its_output() -> None:
    said = _explain(a_job(state=JobState.FAILED, ended_at=NOON), _ended("error", exit_code=1))
    assert "/v1/jobs/job_1/logs" in str(said.advice)


def test_a_job_that_was_cancelled_in_the_queue_is_not_said_to_have_run() -> None:
    job = a_job(state=JobState.CANCELLED, ended_at=NOON)
    assert _explain(job).summary == "It was cancelled before it started."
    said = _explain(job, _ended("error", exit_code=3))
    assert said.summary == "It was cancelled while it waited for its next try."
    assert said.details == ("Try 1 failed. Your command ended with exit code 3.",)
