"""Why a run ends, and what follows: one table, and one rule.

Each reason knows the state that it leads to, whether the job is tried again, and what to tell the user.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from scalar.jobs.model import JobState, RetryOn, RetryPolicy, RunState
from scalar.protocol import TaskEnding

MAX_INTERRUPTIONS = 10
"""A job that the platform has failed this often is parked: something about the pair of them is wrong."""


class Fault(Enum):
    """Whose doing an end was; it decides on the next try."""

    NOBODY = "nobody"
    """Never tried again."""
    JOB = "job"
    """Tried again if the customer asked for it, at most `max_attempts` times in all."""
    PLATFORM = "platform"
    """Tried again without asking; uses up none of the customer's attempts."""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    state: RunState
    fault: Fault
    retry_on: RetryOn | None = None
    text: str


class TerminationReason(StrEnum):
    COMPLETED = "completed"
    ERROR = "error"
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    COMMAND_NOT_FOUND = "command_not_found"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_UNAVAILABLE = "image_unavailable"
    START_FAILED = "start_failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    CONTAINER_LOST = "container_lost"
    NODE_STOPPED = "node_stopped"
    NODE_LOST = "node_lost"
    BLOCK_ENDED = "block_ended"
    PEER_FAILED = "peer_failed"
    OUT_OF_CREDIT = "out_of_credit"
    MAX_COST_REACHED = "max_cost_reached"

    @property
    def run_state(self) -> RunState:
        return _FACTS[self].state

    @property
    def fault(self) -> Fault:
        return _FACTS[self].fault

    @property
    def retry_on(self) -> RetryOn | None:
        return _FACTS[self].retry_on

    def text(self, *, exit_code: int | None = None) -> str:
        """What to tell the customer: what happened and what to do about it."""
        hint = _EXIT_CODES.get(exit_code or 0, "")
        return _FACTS[self].text.format(exit_code=exit_code) + (f" {hint}" if hint and self.name in _HINTED else "")


_SUCCEEDED, _FAILED, _CANCELLED = RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED
_R = TerminationReason

_FACTS: dict[TerminationReason, _Facts] = {
    _R.COMPLETED: _Facts(state=_SUCCEEDED, fault=Fault.NOBODY, text="It finished with exit code 0."),
    _R.ERROR: _Facts(
        state=_FAILED, fault=Fault.JOB, retry_on=RetryOn.ERROR, text="Your command ended with exit code {exit_code}."
    ),
    _R.KILLED: _Facts(
        state=_FAILED,
        fault=Fault.JOB,
        retry_on=RetryOn.ERROR,
        text="Your command was killed by a signal (exit code {exit_code}), and not by Scalar.",
    ),
    _R.OUT_OF_MEMORY: _Facts(
        state=_FAILED,
        fault=Fault.JOB,
        retry_on=RetryOn.OUT_OF_MEMORY,
        text="It used more memory than it had asked for and was killed. Ask for more with resources.memory_gib.",
    ),
    _R.TIMED_OUT: _Facts(
        state=_FAILED,
        fault=Fault.JOB,
        retry_on=RetryOn.TIMEOUT,
        text="It ran for its max_runtime_seconds and was stopped. Ask for more, or save checkpoints and resume.",
    ),
    _R.COMMAND_NOT_FOUND: _Facts(
        state=_FAILED,
        fault=Fault.NOBODY,
        text="The image has no such program: check `command`, its path, and that it is executable.",
    ),
    _R.IMAGE_NOT_FOUND: _Facts(
        state=_FAILED,
        fault=Fault.NOBODY,
        text="There is no such image, or it is private: check its name and tag.",
    ),
    _R.IMAGE_UNAVAILABLE: _Facts(
        state=_FAILED,
        fault=Fault.NOBODY,
        text="The node does not have the image, and its registry could not be reached after several tries: check the"
        " registry's name, or try again later.",
    ),
    _R.START_FAILED: _Facts(
        state=_FAILED, fault=Fault.NOBODY, text="The container engine refused to start the container."
    ),
    _R.CANCELLED: _Facts(state=_CANCELLED, fault=Fault.NOBODY, text="It was cancelled."),
    _R.TERMINATED: _Facts(state=_CANCELLED, fault=Fault.NOBODY, text="It was stopped by an operator of Scalar."),
    _R.CONTAINER_LOST: _Facts(
        state=_FAILED,
        fault=Fault.PLATFORM,
        text="Its container vanished from the node (removed, or the machine restarted).",
    ),
    _R.NODE_STOPPED: _Facts(state=_FAILED, fault=Fault.PLATFORM, text="Its node was shut down."),
    _R.NODE_LOST: _Facts(state=_FAILED, fault=Fault.PLATFORM, text="Its node was lost."),
    _R.BLOCK_ENDED: _Facts(
        state=_FAILED,
        fault=Fault.PLATFORM,
        text="The time that its node had been bought for ended. With max_runtime_seconds it starts only where there is"
        " time for it.",
    ),
    _R.PEER_FAILED: _Facts(
        state=_FAILED, fault=Fault.JOB, retry_on=RetryOn.ERROR, text="Another node of the same run failed."
    ),
    _R.OUT_OF_CREDIT: _Facts(
        state=_CANCELLED,
        fault=Fault.NOBODY,
        text="Your organisation's credit was used up, and the grace for flex jobs was over: top up, then requeue it."
        " GET /v1/balance shows what there is.",
    ),
    _R.MAX_COST_REACHED: _Facts(
        state=_CANCELLED,
        fault=Fault.NOBODY,
        text="It had cost its max_cost and was stopped: submit it with a higher one.",
    ),
}

_HINTED = {"ERROR", "KILLED"}
_EXIT_CODES = {
    126: "126 usually means that the command is not executable.",
    127: "127 usually means that a shell did not find the command.",
    134: "134 is SIGABRT: the program aborted itself, often by a failed assertion.",
    137: "137 is SIGKILL: most often a process of its own, or the machine running out of memory. If it needs more, ask"
    " with resources.memory_gib.",
    139: "139 is SIGSEGV: the program crashed on a bad memory access.",
    143: "143 is SIGTERM: something asked it to stop.",
}


def reason_of(ending: TaskEnding, exit_code: int | None, stop_reason: TerminationReason | None) -> TerminationReason:
    """A run's reason from what its node saw. `stop_reason`: why the platform had asked it to stop, if it had."""
    if ending is TaskEnding.STOPPED:
        return stop_reason or TerminationReason.NODE_STOPPED
    if ending is not TaskEnding.EXITED:
        return TerminationReason(ending.value)
    if exit_code == 0:
        return TerminationReason.COMPLETED
    return TerminationReason.KILLED if (exit_code or 0) > 128 else TerminationReason.ERROR


def settled(reason: TerminationReason, stop_reason: TerminationReason | None) -> TerminationReason:
    """A run that somebody wanted stopped was stopped, whatever came first: no other try may follow from its end."""
    stopped = stop_reason is not None and stop_reason.run_state is RunState.CANCELLED
    return stop_reason if stopped and stop_reason and reason.fault is not Fault.NOBODY else reason


@dataclass(frozen=True, kw_only=True)
class Sequel:
    """What becomes of the job after a run of it ended."""

    state: JobState
    failures: int
    interruptions: int
    not_before: datetime | None = None
    """With `queued`: when the next try may start."""


def sequel(
    reason: TerminationReason, retries: RetryPolicy, *, failures: int, interruptions: int, now: datetime
) -> Sequel:
    """The one rule of retries. `failures`, `interruptions`: how often the job has ended so before this end."""
    if reason.fault is Fault.NOBODY:
        return Sequel(state=JobState(reason.run_state.value), failures=failures, interruptions=interruptions)
    if reason.fault is Fault.PLATFORM:
        # A node that is shut down in order says nothing about the job.
        interruptions += reason not in {TerminationReason.NODE_STOPPED, TerminationReason.BLOCK_ENDED}
        again, again_at = interruptions < MAX_INTERRUPTIONS, now + _backoff(interruptions - 1)
    else:
        failures += 1
        if reason.retry_on not in retries.on or retries.max_attempts == 1:
            return Sequel(state=JobState.FAILED, failures=failures, interruptions=interruptions)
        again, again_at = failures < retries.max_attempts, now + _backoff(failures)
    state = JobState.QUEUED if again else JobState.DEAD_LETTER
    return Sequel(state=state, failures=failures, interruptions=interruptions, not_before=again_at if again else None)


def _backoff(times: int) -> timedelta:
    """0 s, 2 s, 4 s, 8 s, … at most five minutes."""
    return timedelta(seconds=min(2**times, 300) if times > 0 else 0)
