"""What is done to one container, step by step; each step may be the last before a crash."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

import structlog

from node_agent.errors import EngineError, StartFailed
from node_agent.operations import Operation
from node_agent.runtime import Container, ContainerRuntime
from node_agent.spool import Spool
from scalar.protocol import DesiredTask, TaskEnded, TaskEnding, TaskKey

_log = structlog.get_logger()


class TaskOperations:
    """Each method gives the operation to run, which raises nothing that the next pass can deal with."""

    def __init__(
        self, *, runtime: ContainerRuntime, spool: Spool, boot_id: str, when_reported: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._spool = spool
        self._boot_id = boot_id
        self._when_reported = when_reported

    def start(self, task: DesiredTask) -> Operation:
        def operation(cancelled: Event) -> None:
            try:
                self._runtime.fetch_image(task.image, cancelled)
                if cancelled.is_set():
                    return
                self._runtime.create(task)
                self._spool.mark_started(task.key, self._boot_id)
                self._runtime.start(task)
                _log.info("task started", run_id=task.run_id, rank=task.rank)
            except StartFailed as failure:
                self._report_failure(task, failure)

        return _retried_by_the_next_pass(task.key, "start", operation)

    def stop(self, container: Container, reason: TaskEnding) -> Operation:
        def operation(_: Event) -> None:
            self._spool.mark_stopped(container.key, reason)
            self._runtime.stop(container.id, self._grace(container, reason))
            _log.info("task stopped", run_id=container.key[0], rank=container.key[1], reason=reason.value)

        return _retried_by_the_next_pass(container.key, "stop", operation)

    def remove(self, container: Container) -> Operation:
        def operation(_: Event) -> None:
            self._runtime.remove(container.id)
            _log.info("container removed", run_id=container.key[0], rank=container.key[1])

        return _retried_by_the_next_pass(container.key, "remove", operation)

    def _grace(self, container: Container, reason: TaskEnding) -> int:
        # Whoever stops the agent waits only so long, and the reports need some of it.
        asked = container.stop_grace_seconds
        return min(asked, 8) if reason is TaskEnding.NODE_STOPPED else asked

    def _report_failure(self, task: DesiredTask, failure: StartFailed) -> None:
        _log.warning("task can't start", run_id=task.run_id, rank=task.rank, ending=failure.ending.value)
        ended = TaskEnded(
            run_id=task.run_id,
            rank=task.rank,
            token=task.token,
            at=datetime.now(UTC),
            ending=failure.ending,
            started_at=None,
            message=failure.message,
        )
        self._spool.add([ended])
        self._when_reported()


def _retried_by_the_next_pass(key: TaskKey, what: str, operation: Operation) -> Operation:
    def retried(cancelled: Event) -> None:
        try:
            operation(cancelled)
        except EngineError as problem:
            _log.warning("operation failed", what=what, run_id=key[0], rank=key[1], problem=str(problem))
            # Not at once: the end of an operation wakes the loop, and it would only fail again.
            time.sleep(1.0)

    return retried
