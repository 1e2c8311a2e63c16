"""The events of a GPU run, as Dagster would have written them had it run the container itself.

Dagster has no public way to write a run's events from outside. With the launcher, the coordinator and the log manager,
this is where its private modules are used, and nowhere else (docs/decisions/0004).
"""

from collections.abc import Mapping
from datetime import datetime

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.events import ComputeLogsCaptureData, EngineEventData, JobFailureData, RunFailureReason
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.objects import StepFailureData, StepSuccessData
from dagster_shared.error import SerializableErrorInfo

from scalar.errors import ScalarError
from scalar.jobs.dagster import STEP_KEY
from scalar.jobs.mirroring import Untold
from scalar.jobs.model import RunState


def file_key(rank: int) -> str:
    """Names a container's log in the run page: one a node of a gang."""
    return STEP_KEY if rank == 0 else f"{STEP_KEY}-{rank}"


def rank_of(key: str) -> int | None:
    """The rank that a file key names; None where it is no container's."""
    if key == STEP_KEY:
        return 0
    rank = key.removeprefix(f"{STEP_KEY}-")
    return int(rank) if rank != key and rank.isdigit() else None


def run_began(instance: DagsterInstance, run: DagsterRun, message: str) -> None:
    _report(instance, run, DagsterEventType.RUN_START, message)


def step_began(instance: DagsterInstance, run: DagsterRun, told: Untold) -> None:
    """The container is up: where, and under which keys its output is found."""
    at = told.started_at
    instance.report_engine_event(f"The container runs on {told.nodes}.", run, EngineEventData({"node": told.nodes}))
    for rank in range(told.ranks):
        data = ComputeLogsCaptureData(file_key=file_key(rank), step_keys=[STEP_KEY] if rank == 0 else [])
        _report(instance, run, DagsterEventType.LOGS_CAPTURED, "The container's output.", data=data, at=at)
    _report(instance, run, DagsterEventType.STEP_START, "The container started.", step=True, at=at)


def run_ended(instance: DagsterInstance, run: DagsterRun, told: Untold) -> None:
    """The step, if it had begun, and then the run: as it really went."""
    match told.state:
        case RunState.SUCCEEDED:
            _succeeded(instance, run, told)
        case RunState.FAILED:
            _failed(instance, run, told)
        case _:
            _report(instance, run, DagsterEventType.RUN_CANCELED, told.text, at=told.ended_at)


def run_skipped(instance: DagsterInstance, run: DagsterRun, message: str) -> None:
    """A second request for a run that had been started: it ends without having done anything."""
    instance.report_run_canceled(run, message)


def run_refused(instance: DagsterInstance, run: DagsterRun, error: ScalarError) -> None:
    """It can't be launched, and nobody needs a stack trace to see why."""
    info = SerializableErrorInfo(message=error.message, stack=[], cls_name=error.title)
    failure = JobFailureData(error=info, failure_reason=RunFailureReason.UNKNOWN)
    _report(instance, run, DagsterEventType.RUN_FAILURE, error.message, data=failure)


def _succeeded(instance: DagsterInstance, run: DagsterRun, told: Untold) -> None:
    data = StepSuccessData(duration_ms=_milliseconds(told))  # type: ignore[no-untyped-call]
    at = told.ended_at
    _report(instance, run, DagsterEventType.STEP_SUCCESS, told.text, step=True, data=data, at=at)
    _report(instance, run, DagsterEventType.RUN_SUCCESS, told.text, at=at)


def _failed(instance: DagsterInstance, run: DagsterRun, told: Untold) -> None:
    error = SerializableErrorInfo(message=told.text, stack=[], cls_name=str(told.reason))
    if told.started_at is not None:
        data = StepFailureData(error=error, user_failure_data=None)  # type: ignore[no-untyped-call]
        _report(instance, run, DagsterEventType.STEP_FAILURE, told.text, step=True, data=data, at=told.ended_at)
    failure = JobFailureData(error=error, failure_reason=RunFailureReason.STEP_FAILURE)
    _report(instance, run, DagsterEventType.RUN_FAILURE, told.text, data=failure, at=told.ended_at)


def _milliseconds(told: Untold) -> float:
    if told.started_at is None or told.ended_at is None:
        return 0.0
    return (told.ended_at - told.started_at).total_seconds() * 1000


def _report(
    instance: DagsterInstance,
    run: DagsterRun,
    kind: DagsterEventType,
    message: str,
    *,
    step: bool = False,
    data: object = None,
    at: datetime | None = None,
) -> None:
    of_step: Mapping[str, object] = (
        {
            "step_handle": StepHandle(NodeHandle(STEP_KEY, None), STEP_KEY),
            "node_handle": NodeHandle(STEP_KEY, None),
            "step_kind_value": "COMPUTE",
            "logging_tags": {"step_key": STEP_KEY},
        }
        if step
        else {}
    )
    event = DagsterEvent(
        event_type_value=kind.value,
        job_name=run.job_name,
        message=message,
        event_specific_data=data,  # type: ignore[arg-type]
        **of_step,  # type: ignore[arg-type]
    )
    instance.report_dagster_event(event, run_id=run.run_id, timestamp=at.timestamp() if at else None)
