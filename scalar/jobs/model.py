"""Jobs, runs, tasks: frozen values, and the states that they move through."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from pydantic import SecretStr


class JobState(StrEnum):
    """The life of a job.

    queued ──► placed ──► running ──► succeeded
      ▲  │        │          │
      │  │        ├──────────┼──────► failed         by its own doing, and no retry was asked for
      │  │        ├──────────┼──────► dead_letter    out of tries: one call to requeue
      │  └────────┴──────────┴──────► cancelled
      └── retry, requeue, re-execution (from placed, running, and from every ended state)
    """

    QUEUED = "queued"
    """Waiting for GPUs (or for its next try)."""
    PLACED = "placed"
    """GPUs are reserved for it; its container is on the way."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD_LETTER = "dead_letter"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD_LETTER)


class RunState(StrEnum):
    """The life of a run.

    placed ──► launched ──► starting ──► running ──► succeeded | failed | cancelled
                                                     (reached from every other state too)
    """

    PLACED = "placed"
    """It has GPUs, and no Dagster run yet."""
    LAUNCHED = "launched"
    """Dagster's run launcher has claimed it: its nodes want it."""
    STARTING = "starting"
    """A node fetches the image and creates the container."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED_RUN_STATES


ENDED_RUN_STATES = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})

_J, _R = JobState, RunState

JOB_MOVES: frozenset[tuple[JobState, JobState]] = frozenset(
    {(_J.QUEUED, _J.PLACED), (_J.QUEUED, _J.CANCELLED), (_J.PLACED, _J.RUNNING)}
    | {(now, then) for now in (_J.PLACED, _J.RUNNING) for then in (_J.QUEUED, *[s for s in _J if s.ended])}
    | {(now, _J.QUEUED) for now in _J if now.ended}
)
"""Every legal move of a job; the table `job_moves` holds the same, and a trigger checks it."""

RUN_MOVES: frozenset[tuple[RunState, RunState]] = frozenset(
    {
        (_R.PLACED, _R.LAUNCHED),
        (_R.LAUNCHED, _R.STARTING),
        (_R.LAUNCHED, _R.RUNNING),
        (_R.STARTING, _R.RUNNING),
        (_R.PLACED, _R.FAILED),
        (_R.PLACED, _R.CANCELLED),
    }
    | {(now, then) for now in (_R.LAUNCHED, _R.STARTING, _R.RUNNING) for then in ENDED_RUN_STATES}
)
"""Every legal move of a run; the table `run_moves` holds the same."""


class Tier(StrEnum):
    FAST = "fast"
    """Starts as soon as GPUs can be had."""
    FLEX = "flex"
    """Waits for cheap GPUs: placed behind every fast job."""


class RetryOn(StrEnum):
    """What a customer may ask to have retried. Ends that are the platform's fault are retried without asking."""

    ERROR = "error"
    """Exit code other than 0, or killed by a signal."""
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What one job needs, per node."""

    gpus: int
    gpu_type: str | None = None
    """None: any."""
    nodes: int = 1
    cpus: float | None = None
    """None: the share of the node's CPUs that its GPUs are of the node's GPUs; so with memory."""
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    max_attempts: int = 1
    on: frozenset[RetryOn] = frozenset({RetryOn.ERROR})


LAST_CALL = timedelta(minutes=30)
"""So long before it has to start, a job with a deadline goes first like a fast one."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What a customer asked for. `env` may hold secrets: it is shown to nobody but the container."""

    name: str
    image: str
    command: list[str] | None = None
    args: list[str] | None = None
    env: dict[str, str] = field(default_factory=dict, repr=False)
    requirements: Requirements
    tier: Tier
    priority: int = 0
    max_runtime_seconds: int | None = None
    max_price_per_gpu_hour: Decimal | None = None
    """Dollars: no node is bought for it above that. It says nothing of what the job itself costs its customer."""
    max_cost: Decimal | None = None
    """Dollars that it may cost its customer in all its runs: it is stopped when it has."""
    deadline: datetime | None = None
    """By when it is to be done. Only of a flex job that names its longest runtime."""
    retries: RetryPolicy = RetryPolicy()
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def start_by(self) -> datetime | None:
        """When it has to start at the latest to be done by its deadline, however long it runs."""
        if self.deadline is None or self.max_runtime_seconds is None:
            return None
        return self.deadline - timedelta(seconds=self.max_runtime_seconds)


@dataclass(frozen=True, kw_only=True)
class Job:
    id: str
    organisation_id: str
    spec: JobSpec
    state: JobState
    reason: str | None
    failures: int
    interruptions: int
    submitted_at: datetime
    queued_at: datetime
    not_before: datetime | None
    ended_at: datetime | None
    waiting: dict[str, object] | None
    """Why the last scheduling pass left it in the queue: a `Refusal` as JSON."""


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One try of a job."""

    id: str
    job_id: str
    attempt: int
    state: RunState
    reason: str | None
    message: str | None
    exit_code: int | None
    token: SecretStr
    dagster_run_id: str | None
    placed_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    stop_reason: str | None


class TaskState(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One container of a run, on one node; a gang has one a node, by rank."""

    run_id: str
    rank: int
    node_id: str
    node_name: str
    gpus: list[int]
    state: TaskState
    detail: str | None
    started_at: datetime | None
    ended_at: datetime | None
    ending: str | None
    exit_code: int | None
    message: str | None
    gpu_seconds: float
    """Metered so far: to the end, or to the last sign of life."""
