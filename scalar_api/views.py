"""What goes over the wire about jobs: the body of a submission, and what is shown of a job.

An environment variable's value is never shown: it may be a secret.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from scalar.billing.holds import JobCost
from scalar.billing.money import dollars, micros
from scalar.jobs.model import (
    Job,
    JobRun,
    JobSpec,
    JobState,
    Requirements,
    RetryOn,
    RetryPolicy,
    RunState,
    Task,
    TaskState,
    Tier,
)

_GIB = 1024**3
_DAY = 86_400


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a NUL character can't be part of it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair can't be part of it") from None
    return text


def in_dollars(micros: int) -> Decimal:
    """As amounts go over the wire: `1.250000`."""
    return dollars(micros).quantize(Decimal("1e-6"))


Text = Annotated[str, AfterValidator(_storable)]
Argument = Annotated[Text, Field(max_length=32_768)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
EnvValue = Annotated[Text, Field(max_length=32_768)]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$", max_length=63)]
LabelValue = Annotated[Text, Field(max_length=255)]
Image = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$", min_length=1, max_length=255)]


class _Body(BaseModel):
    """A misspelled field is an error: silently ignored, it would be found out at the end of a night's training."""

    model_config = ConfigDict(extra="forbid")


class Resources(_Body):
    gpus: int = Field(ge=1, le=64, description="GPUs on each node.")
    gpu_type: Annotated[Text, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="As `GET /v1/nodes` spells it, such as `H100`; any, if left out."
    )
    nodes: int = Field(default=1, ge=1, le=64, description="Nodes that it gets all at once, or not at all.")
    cpus: float | None = Field(
        default=None, gt=0, le=1024, description="On each node; its GPUs' share of the node's, if left out."
    )
    memory_gib: float | None = Field(default=None, gt=0.005, le=65_536, description="On each node, likewise.")


class Retries(_Body):
    max_attempts: int = Field(ge=1, le=10, description="Tries in all, the first included.")
    on: list[RetryOn] = Field(
        default=[RetryOn.ERROR],
        max_length=3,
        description="Which ends to try again after; the platform's faults always.",
    )


class JobSubmission(_Body):
    """A job to be run."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "hello",
                    "image": "busybox:1.37",
                    "command": ["echo", "hello from a GPU"],
                    "resources": {"gpus": 1},
                    "tier": "fast",
                }
            ]
        },
    )

    name: Annotated[Text, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="For people; the image's name, if left out."
    )
    image: Image
    command: list[Argument] | None = Field(
        default=None, min_length=1, max_length=512, description="Replaces the image's ENTRYPOINT."
    )
    args: list[Argument] | None = Field(default=None, max_length=512, description="Replaces the image's CMD.")
    env: dict[EnvName, EnvValue] = Field(default={}, max_length=256, description="Shown to nobody afterwards.")
    resources: Resources
    tier: Tier
    priority: int = Field(default=0, ge=-100, le=100, description="Higher goes first within a tier.")
    max_runtime_seconds: int | None = Field(default=None, ge=1, le=30 * _DAY)
    max_price_per_gpu_hour: Decimal | None = Field(
        default=None,
        gt=0,
        max_digits=12,
        decimal_places=6,
        description="Dollars: no node is bought for this job while the market asks more; it waits for room."
        " Left out: a `fast` job takes what the platform's limits allow, a `flex` one what is no dearer than usual.",
    )
    max_cost: Decimal | None = Field(
        default=None,
        gt=0,
        max_digits=18,
        decimal_places=6,
        description="Dollars that it may cost you in all its runs: it is stopped then, and no more is held for it.",
    )
    deadline: AwareDatetime | None = Field(
        default=None,
        description="By when it is to be done: only of a `flex` job with `max_runtime_seconds`. While it can still be"
        " done in time it waits for idle GPUs or a cheaper hour; then a node is bought for it, at what the platform's"
        " limits and its own `max_price_per_gpu_hour` allow.",
    )
    retries: Retries | None = None
    labels: dict[LabelName, LabelValue] = Field(default={}, max_length=32)

    @model_validator(mode="after")
    def _fits_on_a_command_line(self) -> "JobSubmission":
        if sum(map(len, [*(self.command or []), *(self.args or []), *self.env, *self.env.values()])) > 256 * 1024:
            raise ValueError("command, args and env may have 256 KiB together")
        return self

    @model_validator(mode="after")
    def _can_be_late(self) -> "JobSubmission":
        if self.deadline is not None and (self.tier is not Tier.FLEX or self.max_runtime_seconds is None):
            raise ValueError(
                "a deadline needs the tier `flex`, and `max_runtime_seconds`: when it has to start follows"
            )
        return self

    def spec(self) -> JobSpec:
        memory = self.resources.memory_gib
        return JobSpec(
            name=self.name or _name_of(self.image),
            image=self.image,
            command=self.command,
            args=self.args,
            env=self.env,
            requirements=Requirements(
                gpus=self.resources.gpus,
                gpu_type=self.resources.gpu_type,
                nodes=self.resources.nodes,
                cpus=self.resources.cpus,
                memory_bytes=math.ceil(memory * _GIB) if memory else None,
            ),
            tier=self.tier,
            priority=self.priority,
            max_runtime_seconds=self.max_runtime_seconds,
            max_price_per_gpu_hour=self.max_price_per_gpu_hour,
            max_cost=self.max_cost,
            deadline=self.deadline,
            retries=RetryPolicy(max_attempts=self.retries.max_attempts, on=frozenset(self.retries.on))
            if self.retries
            else RetryPolicy(),
            labels=self.labels,
        )


class CostView(BaseModel):
    """Dollars."""

    so_far: Decimal = Field(
        description="Of all its runs, to the last sign of life; what we owe you for is left out. An estimate for"
        " hours that are not rated yet: the last one or two."
    )
    held: Decimal = Field(description="What it may still cost, and other jobs can't spend; 0 once it has ended.")


class JobView(BaseModel):
    """What a list shows of a job."""

    id: str
    name: str
    organisation_id: str
    state: JobState
    reason: str | None = Field(description="Why its last run ended.")
    tier: Tier
    priority: int
    resources: Resources
    image: str
    labels: dict[str, str]
    submitted_at: datetime
    queued_at: datetime
    started_at: datetime | None = Field(description="Of its last run.")
    ended_at: datetime | None
    exit_code: int | None
    cost: CostView


class TaskView(BaseModel):
    """One container of a run."""

    rank: int
    node: str
    node_id: str
    gpus: list[int]
    state: TaskState
    exit_code: int | None
    message: str | None
    started_at: datetime | None
    ended_at: datetime | None
    gpu_seconds: float


class RunView(BaseModel):
    """One try of a job."""

    id: str
    attempt: int
    state: RunState
    reason: str | None
    message: str | None
    exit_code: int | None
    node: str = Field(description="Where it runs: the nodes' names, comma-separated, by rank.")
    placed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    gpu_seconds: float = Field(description="Metered so far.")
    dagster_run_id: str | None
    dagster_url: str | None
    tasks: list[TaskView]


class JobDetail(JobView):
    command: list[str] | None
    args: list[str] | None
    env_names: list[str]
    max_runtime_seconds: int | None
    max_price_per_gpu_hour: Decimal | None
    max_cost: Decimal | None
    deadline: datetime | None
    max_attempts: int
    gpu_seconds: float = Field(description="Of all its runs, metered so far.")
    runs: list[RunView] = Field(description="Oldest first.")


class JobPage(BaseModel):
    data: list[JobView]
    next_cursor: str | None


class ExplanationView(BaseModel):
    state: JobState
    summary: str
    details: list[str]
    advice: str | None


def view_of(job: Job, last: JobRun | None, cost: JobCost) -> JobView:
    return JobView.model_validate(_fields(job, last, cost))


def detail_of(
    job: Job, runs: Sequence[JobRun], tasks: Sequence[Task], cost: JobCost, dagster_url: str | None
) -> JobDetail:
    views = [_run_view(run, [task for task in tasks if task.run_id == run.id], dagster_url) for run in runs]
    return JobDetail(
        **_fields(job, runs[-1] if runs else None, cost),  # type: ignore[arg-type]
        command=job.spec.command,
        args=job.spec.args,
        env_names=sorted(job.spec.env),
        max_runtime_seconds=job.spec.max_runtime_seconds,
        max_price_per_gpu_hour=job.spec.max_price_per_gpu_hour,
        max_cost=job.spec.max_cost,
        deadline=job.spec.deadline,
        max_attempts=job.spec.retries.max_attempts,
        gpu_seconds=round(sum(view.gpu_seconds for view in views), 6),
        runs=views,
    )


def _fields(job: Job, last: JobRun | None, cost: JobCost) -> dict[str, object]:
    wanted = job.spec.requirements
    return {
        "id": job.id,
        "name": job.spec.name,
        "organisation_id": job.organisation_id,
        "state": job.state,
        "reason": job.reason,
        "tier": job.spec.tier,
        "priority": job.spec.priority,
        "resources": Resources(
            gpus=wanted.gpus,
            gpu_type=wanted.gpu_type,
            nodes=wanted.nodes,
            cpus=wanted.cpus,
            memory_gib=wanted.memory_bytes / _GIB if wanted.memory_bytes else None,
        ),
        "image": job.spec.image,
        "labels": job.spec.labels,
        "submitted_at": job.submitted_at,
        "queued_at": job.queued_at,
        "started_at": last.started_at if last else None,
        "ended_at": job.ended_at,
        "exit_code": last.exit_code if last else None,
        "cost": CostView(so_far=in_dollars(micros(cost.so_far)), held=in_dollars(cost.held)),
    }


def _run_view(run: JobRun, tasks: Sequence[Task], dagster_url: str | None) -> RunView:
    url = f"{dagster_url.rstrip('/')}/runs/{run.dagster_run_id}" if dagster_url and run.dagster_run_id else None
    return RunView(
        id=run.id,
        attempt=run.attempt,
        state=run.state,
        reason=run.reason,
        message=run.message,
        exit_code=run.exit_code,
        node=",".join(task.node_name for task in tasks),
        placed_at=run.placed_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        gpu_seconds=round(sum(task.gpu_seconds for task in tasks), 6),
        dagster_run_id=run.dagster_run_id,
        dagster_url=url,
        tasks=[
            TaskView(
                rank=task.rank,
                node=task.node_name,
                node_id=task.node_id,
                gpus=task.gpus,
                state=task.state,
                exit_code=task.exit_code,
                message=task.message,
                started_at=task.started_at,
                ended_at=task.ended_at,
                gpu_seconds=round(task.gpu_seconds, 6),
            )
            for task in tasks
        ],
    )


def _name_of(image: str) -> str:
    """`registry.example/team/train:3` is named `train`."""
    return re.split(r"[:@]", image.rsplit("/", 1)[-1])[0][:100] or image[:100]
