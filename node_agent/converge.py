"""The one decision of the agent: from what should be and what is to what to do next.

Pure and level-triggered: the same sight gives the same actions, whatever happened before, so a pass that comes twice,
late or after a crash does no harm. The order for one task is the order of its life:

    nothing ─Start─► created ─Start─► running ─Stop─► exited ─log shipped: TaskEnded─► dropped ─► Remove, Forget
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from node_agent.record import NOTHING, TaskRecord
from node_agent.runtime import Container, ContainerState
from scalar.protocol import (
    DesiredTask,
    TaskAlive,
    TaskEnded,
    TaskEnding,
    TaskKey,
    TaskReport,
    TaskRunning,
    TaskStarting,
    Want,
)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Everything that a decision depends on."""

    desired: tuple[DesiredTask, ...]
    containers: Mapping[TaskKey, Container]
    records: Mapping[TaskKey, TaskRecord]
    busy: frozenset[TaskKey]
    """Keys with an operation under way at some time since before `containers` was read: their sight may be old."""
    shipped: frozenset[TaskKey]
    """Keys whose log the API has wholly, or doesn't want."""
    closing: bool
    """The agent is about to exit together with what it runs."""
    boot_id: str
    """The machine's present boot."""
    now: datetime
    alive_interval: timedelta


@dataclass(frozen=True, kw_only=True)
class Report:
    report: TaskReport


@dataclass(frozen=True, kw_only=True)
class Start:
    """Fetch the image, create the container unless it is there, start it."""

    task: DesiredTask


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Give up an operation under way, if it is a start."""

    key: TaskKey


@dataclass(frozen=True, kw_only=True)
class Follow:
    """Ship the container's log, unless that is under way."""

    task: DesiredTask
    container: Container


@dataclass(frozen=True, kw_only=True)
class Stop:
    container: Container
    reason: TaskEnding


@dataclass(frozen=True, kw_only=True)
class Remove:
    container: Container


@dataclass(frozen=True, kw_only=True)
class Forget:
    key: TaskKey


Action = Report | Start | Cancel | Follow | Stop | Remove | Forget


def converge(sight: Sight) -> list[Action]:
    """What to do now: reports first in the order they must arrive in, at most one operation a key."""
    actions: list[Action] = []
    for task in sight.desired:
        actions += _for_desired(task, sight)
    desired = {task.key for task in sight.desired}
    for key in (sight.containers.keys() | sight.records.keys() | sight.busy) - desired:
        actions += _for_unwanted(key, sight)
    return actions


def next_timeout(sight: Sight) -> datetime | None:
    """When the first running container reaches its `max_runtime_seconds`."""
    running = ((task, sight.containers.get(task.key)) for task in sight.desired)
    return min(
        (
            container.started_at + timedelta(seconds=task.max_runtime_seconds)
            for task, container in running
            if container and container.state is ContainerState.RUNNING
            if container.started_at and task.max_runtime_seconds is not None
        ),
        default=None,
    )


def _for_desired(task: DesiredTask, sight: Sight) -> Iterator[Action]:
    record = sight.records.get(task.key, NOTHING)
    container = sight.containers.get(task.key)
    if task.key in sight.busy and (task.want is Want.STOP or sight.closing):
        yield Cancel(key=task.key)
    started_at = container.started_at if container else None
    if container is None or started_at is None:
        if task.key not in sight.busy and not record.ended:
            yield from _not_running(task, record, container, sight)
    elif record.ended:
        yield from _stop(container, TaskEnding.STOPPED, sight)
    else:
        yield from _life(task, record, container, started_at, sight)
        if container.state is ContainerState.RUNNING:
            if reason := _reason_to_stop(task, record, started_at, sight):
                yield from _stop(container, reason, sight)
        elif task.key in sight.shipped:
            yield Report(report=_ending(task, record, container, started_at, sight))


def _for_unwanted(key: TaskKey, sight: Sight) -> Iterator[Action]:
    container = sight.containers.get(key)
    if key in sight.busy:
        yield Cancel(key=key)
    elif container is None:
        yield Forget(key=key)
    elif container.state is ContainerState.RUNNING:
        yield from _stop(container, TaskEnding.STOPPED, sight)
    else:
        yield Remove(container=container)


def _not_running(task: DesiredTask, record: TaskRecord, container: Container | None, sight: Sight) -> Iterator[Action]:
    if container is None and record.started:
        yield Report(report=_lost(task, record, record.running_at, "It had started, and its container is gone.", sight))
    elif task.want is Want.STOP:
        yield Report(report=_never_started(task, TaskEnding.STOPPED, sight.now))
    elif sight.closing:
        yield Report(report=_never_started(task, TaskEnding.NODE_STOPPED, sight.now))
    else:
        if not record.starting:
            yield Report(report=TaskStarting(run_id=task.run_id, rank=task.rank, token=task.token, at=sight.now))
        yield Start(task=task)


def _life(
    task: DesiredTask, record: TaskRecord, container: Container, started_at: datetime, sight: Sight
) -> Iterator[Action]:
    """Running, then alive each interval, up to the end; and its log."""
    if record.running_at is None:
        yield Report(
            report=TaskRunning(
                run_id=task.run_id, rank=task.rank, token=task.token, at=started_at, container_id=container.id
            )
        )
    seen_until = container.finished_at or sight.now
    known = (
        record.alive if _cut_off(record, container, sight) else int((seen_until - started_at) / sight.alive_interval)
    )
    for sequence in range(record.alive + 1, known + 1):
        at = started_at + sequence * sight.alive_interval
        yield Report(report=TaskAlive(run_id=task.run_id, rank=task.rank, token=task.token, at=at, sequence=sequence))
    if task.key not in sight.shipped:
        yield Follow(task=task, container=container)


def _stop(container: Container, reason: TaskEnding, sight: Sight) -> Iterator[Action]:
    if container.state is ContainerState.RUNNING and container.key not in sight.busy:
        yield Stop(container=container, reason=reason)


def _reason_to_stop(task: DesiredTask, record: TaskRecord, started_at: datetime, sight: Sight) -> TaskEnding | None:
    if record.stopped_for:
        return record.stopped_for
    if _timed_out(task, started_at, sight.now):
        return TaskEnding.TIMED_OUT
    if task.want is Want.STOP:
        return TaskEnding.STOPPED
    return TaskEnding.NODE_STOPPED if sight.closing else None


def _ending(
    task: DesiredTask, record: TaskRecord, container: Container, started_at: datetime, sight: Sight
) -> TaskEnded:
    if _cut_off(record, container, sight):
        return _lost(task, record, record.running_at or started_at, "Its machine restarted while it ran.", sight)
    ended_at = container.finished_at or sight.now
    message = None
    if container.command_missing:
        ending, message = TaskEnding.COMMAND_NOT_FOUND, container.command_missing
    elif record.stopped_for:
        ending = record.stopped_for
    elif _timed_out(task, started_at, ended_at):
        ending = TaskEnding.TIMED_OUT
    elif container.out_of_memory and container.exit_code != 0:
        ending = TaskEnding.OUT_OF_MEMORY
        message = f"Killed: it needed more than its {task.memory_bytes} bytes of memory."
    else:
        ending = TaskEnding.EXITED
    return TaskEnded(
        run_id=task.run_id,
        rank=task.rank,
        token=task.token,
        at=ended_at,
        ending=ending,
        started_at=started_at,
        exit_code=container.exit_code,
        message=message,
    )


def _cut_off(record: TaskRecord, container: Container, sight: Sight) -> bool:
    """A restart of the machine took the container along: its exit code and time are what the engine made up later."""
    return (
        container.state is ContainerState.EXITED
        and record.boot_id not in (None, sight.boot_id)
        and record.stopped_for is None
        and container.command_missing is None
    )


def _lost(task: DesiredTask, record: TaskRecord, running_at: datetime | None, message: str, sight: Sight) -> TaskEnded:
    # When it ended is unknown: a customer can only be asked to pay up to when it was last known to run.
    last_seen = running_at + record.alive * sight.alive_interval if running_at else sight.now
    return TaskEnded(
        run_id=task.run_id,
        rank=task.rank,
        token=task.token,
        at=last_seen,
        ending=TaskEnding.CONTAINER_LOST,
        started_at=running_at,
        message=message,
    )


def _never_started(task: DesiredTask, ending: TaskEnding, now: datetime) -> TaskEnded:
    return TaskEnded(run_id=task.run_id, rank=task.rank, token=task.token, at=now, ending=ending, started_at=None)


def _timed_out(task: DesiredTask, started_at: datetime, until: datetime) -> bool:
    limit = task.max_runtime_seconds
    return limit is not None and until - started_at >= timedelta(seconds=limit)
