"""The table of reasons, and the one rule of retries."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.jobs.endings import MAX_INTERRUPTIONS, Fault, TerminationReason, reason_of, sequel, settled
from scalar.jobs.model import JobState, RetryOn, RetryPolicy, RunState
from scalar.protocol import TaskEnding
from tests.made_up import NOON

_R = TerminationReason
_EVERY = frozenset(RetryOn)
_IN_ORDER = [_R.NODE_STOPPED, _R.BLOCK_ENDED]
_PLATFORM = [reason for reason in _R if reason.fault is Fault.PLATFORM and reason not in _IN_ORDER]
_OWN = [reason for reason in _R if reason.fault is Fault.JOB]
_FINAL = [reason for reason in _R if reason.fault is Fault.NOBODY]


@pytest.mark.parametrize("reason", list(_R))
def test_each_reason_leads_to_an_ended_state_and_has_words(reason: TerminationReason) -> None:
    assert reason.run_state.ended
    assert reason.text(exit_code=3).endswith(".")
    assert "{" not in reason.text(exit_code=3)
    assert reason.value in set(map(str, _R))


@pytest.mark.parametrize("reason", list(_R))
def test_what_a_customer_may_have_retried_is_the_job_own_doing(reason: TerminationReason) -> None:
    assert (reason.retry_on is not None) is (reason.fault is Fault.JOB)


def test_only_exit_code_0_is_success() -> None:
    assert [reason for reason in _R if reason.run_state is RunState.SUCCEEDED] == [_R.COMPLETED]
    cancelled = [_R.CANCELLED, _R.TERMINATED, _R.OUT_OF_CREDIT, _R.MAX_COST_REACHED]
    assert [reason for reason in _R if reason.run_state is RunState.CANCELLED] == cancelled


@pytest.mark.parametrize(
    ("ending", "exit_code", "stop", "reason"),
    [
        (TaskEnding.EXITED, 0, None, _R.COMPLETED),
        (TaskEnding.EXITED, 1, None, _R.ERROR),
        (TaskEnding.EXITED, 128, None, _R.ERROR),
        (TaskEnding.EXITED, 129, None, _R.KILLED),
        (TaskEnding.EXITED, 137, None, _R.KILLED),
        (TaskEnding.EXITED, None, None, _R.ERROR),
        (TaskEnding.EXITED, 0, _R.CANCELLED, _R.COMPLETED),
        (TaskEnding.OUT_OF_MEMORY, 137, None, _R.OUT_OF_MEMORY),
        (TaskEnding.TIMED_OUT, 143, None, _R.TIMED_OUT),
        (TaskEnding.STOPPED, 143, _R.CANCELLED, _R.CANCELLED),
        (TaskEnding.STOPPED, None, _R.PEER_FAILED, _R.PEER_FAILED),
        (TaskEnding.STOPPED, 143, None, _R.NODE_STOPPED),
        (TaskEnding.CONTAINER_LOST, None, _R.CANCELLED, _R.CONTAINER_LOST),
    ],
)
def test_a_reason_follows_from_what_the_node_saw(
    ending: TaskEnding, exit_code: int | None, stop: TerminationReason | None, reason: TerminationReason
) -> None:
    assert reason_of(ending, exit_code, stop) is reason


@pytest.mark.parametrize("ending", list(TaskEnding))
@pytest.mark.parametrize("exit_code", [None, 0, 1, 137])
def test_every_ending_has_a_reason(ending: TaskEnding, exit_code: int | None) -> None:
    assert isinstance(reason_of(ending, exit_code, None), TerminationReason)


@pytest.mark.parametrize("stop", [_R.CANCELLED, _R.TERMINATED])
@pytest.mark.parametrize("reason", list(_R))
def test_a_run_that_somebody_stopped_is_followed_by_no_other_try(
    reason: TerminationReason, stop: TerminationReason
) -> None:
    then = sequel(settled(reason, stop), RetryPolicy(max_attempts=10, on=_EVERY), failures=0, interruptions=0, now=NOON)
    assert then.state.ended


@pytest.mark.parametrize("reason", list(_R))
def test_a_gang_that_stops_by_itself_ends_for_its_own_reason(reason: TerminationReason) -> None:
    assert settled(reason, _R.PEER_FAILED) is reason
    assert settled(reason, None) is reason


@pytest.mark.parametrize(
    ("reason", "retries", "failures", "state", "wait"),
    [
        (_R.COMPLETED, RetryPolicy(max_attempts=5, on=_EVERY), 0, JobState.SUCCEEDED, None),
        (_R.CANCELLED, RetryPolicy(max_attempts=5, on=_EVERY), 0, JobState.CANCELLED, None),
        (_R.IMAGE_NOT_FOUND, RetryPolicy(max_attempts=5, on=_EVERY), 0, JobState.FAILED, None),
        (_R.ERROR, RetryPolicy(), 0, JobState.FAILED, None),
        (_R.ERROR, RetryPolicy(max_attempts=3), 0, JobState.QUEUED, 2),
        (_R.ERROR, RetryPolicy(max_attempts=3), 1, JobState.QUEUED, 4),
        (_R.ERROR, RetryPolicy(max_attempts=3), 2, JobState.DEAD_LETTER, None),
        (_R.KILLED, RetryPolicy(max_attempts=2), 0, JobState.QUEUED, 2),
        (_R.PEER_FAILED, RetryPolicy(max_attempts=2), 0, JobState.QUEUED, 2),
        (_R.OUT_OF_MEMORY, RetryPolicy(max_attempts=3), 0, JobState.FAILED, None),
        (_R.OUT_OF_MEMORY, RetryPolicy(max_attempts=3, on=_EVERY), 0, JobState.QUEUED, 2),
        (_R.TIMED_OUT, RetryPolicy(max_attempts=3, on=frozenset({RetryOn.TIMEOUT})), 0, JobState.QUEUED, 2),
        (_R.TIMED_OUT, RetryPolicy(max_attempts=3), 0, JobState.FAILED, None),
        (_R.ERROR, RetryPolicy(max_attempts=10), 8, JobState.QUEUED, 300),
    ],
)
def test_a_job_is_tried_again_as_its_customer_asked(
    reason: TerminationReason, retries: RetryPolicy, failures: int, state: JobState, wait: int | None
) -> None:
    then = sequel(reason, retries, failures=failures, interruptions=0, now=NOON)
    assert then.state is state
    assert then.not_before == (None if wait is None else NOON + timedelta(seconds=wait))
    assert then.failures == failures + (reason.fault is Fault.JOB)
    assert then.interruptions == 0


@pytest.mark.parametrize("reason", _PLATFORM)
@pytest.mark.parametrize(("before", "wait"), [(0, 0), (1, 2), (2, 4), (8, 256)])
def test_what_the_platform_broke_is_tried_again_without_asking(
    reason: TerminationReason, before: int, wait: int
) -> None:
    then = sequel(reason, RetryPolicy(), failures=0, interruptions=before, now=NOON)
    assert (then.state, then.failures, then.interruptions) == (JobState.QUEUED, 0, before + 1)
    assert then.not_before == NOON + timedelta(seconds=wait)


@pytest.mark.parametrize("reason", _IN_ORDER)
def test_a_node_that_is_shut_down_in_order_is_not_held_against_its_jobs(reason: TerminationReason) -> None:
    then = sequel(reason, RetryPolicy(), failures=0, interruptions=MAX_INTERRUPTIONS - 1, now=NOON)
    assert (then.state, then.interruptions) == (JobState.QUEUED, MAX_INTERRUPTIONS - 1)


def test_a_job_that_the_platform_keeps_failing_is_parked() -> None:
    then = sequel(_R.NODE_LOST, RetryPolicy(), failures=0, interruptions=MAX_INTERRUPTIONS - 1, now=NOON)
    assert (then.state, then.not_before) == (JobState.DEAD_LETTER, None)


@given(
    ends=st.lists(st.sampled_from(sorted(_OWN + _PLATFORM)), max_size=40),
    retries=st.builds(RetryPolicy, max_attempts=st.integers(1, 10), on=st.frozensets(st.sampled_from(sorted(_EVERY)))),
)
def test_no_job_is_tried_for_ever(ends: list[TerminationReason], retries: RetryPolicy) -> None:
    failures = interruptions = tries = 0
    for reason in ends:
        tries += 1
        then = sequel(reason, retries, failures=failures, interruptions=interruptions, now=NOON)
        failures, interruptions = then.failures, then.interruptions
        assert (then.not_before is not None) is (then.state is JobState.QUEUED)
        if then.state.ended:
            break
    assert failures <= retries.max_attempts
    assert tries <= retries.max_attempts + MAX_INTERRUPTIONS - 1


def test_an_exit_code_that_people_ask_about_is_explained() -> None:
    assert "SIGKILL" in _R.KILLED.text(exit_code=137)
    assert "SIGKILL" not in _R.OUT_OF_MEMORY.text(exit_code=137)
    assert _R.ERROR.text(exit_code=3) == "Your command ended with exit code 3."
