"""The agent at work: a thread that listens to the API, one that reports to it, one a log, and the loop that converges.

Everything that could change what is to be done wakes the loop: a new desired state, the end of an operation, the end of
a log (so of a container), an acknowledged report. A pass every `_PASS_SECONDS` is the guarantee for what woke nobody.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Literal

import structlog

from node_agent.backoff import Backoff
from node_agent.converge import (
    Action,
    Cancel,
    Follow,
    Forget,
    Remove,
    Report,
    Sight,
    Start,
    Stop,
    converge,
    next_timeout,
)
from node_agent.errors import ApiRejected, ApiUnavailable, EngineError
from node_agent.gateway import Api
from node_agent.logs import LogShipper
from node_agent.operations import Operations
from node_agent.runtime import Container, ContainerRuntime, ContainerState
from node_agent.sender import Sender
from node_agent.spool import Spool
from node_agent.task_operations import TaskOperations
from scalar.protocol import DesiredState, TaskEnding, TaskKey

_PASS_SECONDS = 2.0
_CLOSING_SECONDS = 15.0
_CLOCK_SKEW = timedelta(seconds=5)

_log = structlog.get_logger()


class Agent:
    """One node's agent between joining and stopping."""

    def __init__(
        self, *, api: Api, runtime: ContainerRuntime, spool: Spool, boot_id: str, alive_interval: timedelta
    ) -> None:
        self._api = api
        self._runtime = runtime
        self._spool = spool
        self._boot_id = boot_id
        self._alive_interval = alive_interval
        self._wake = Event()
        self._leaving: Literal["leave", "stop"] | None = None
        self._desired: DesiredState | None = None
        self._failure: Exception | None = None
        self._shippers: dict[TaskKey, LogShipper] = {}
        self._operations = Operations(when_one_ends=self._wake.set)
        self._sender = Sender(api=api, spool=spool, when_acknowledged=self._wake.set)
        self._tasks = TaskOperations(runtime=runtime, spool=spool, boot_id=boot_id, when_reported=self._sender.nudge)

    def leave(self, how: Literal["leave", "stop"]) -> None:
        """Makes `run` return: at once, or after it has stopped its containers and reported that."""
        self._leaving = how
        self._wake.set()

    def run(self) -> None:
        """Until `leave`. Raises `CredentialRefused`, and whatever else ended one of its threads."""
        self._in_thread("desired-state", self._listen)
        self._in_thread("reports", self._sender.run)
        closing_ends = None
        while self._leaving != "leave":
            if self._leaving and closing_ends is None:
                closing_ends = time.monotonic() + _CLOSING_SECONDS
            until_next = self._try_pass()
            if self._failure:
                raise self._failure
            if closing_ends and (self._all_is_told() or time.monotonic() >= closing_ends):
                break
            self._wake.wait(until_next)
            self._wake.clear()
        _log.info("agent stops", containers=self._leaving, unacknowledged_reports=self._spool.waiting())

    def _listen(self) -> None:
        """Keeps the desired state: the last good answer stands, whatever comes after it."""
        backoff = Backoff()
        while True:
            try:
                answer = self._api.desired(self._desired.version if self._desired else -1)
                backoff.reset()
            except (ApiUnavailable, ApiRejected) as problem:
                seconds = backoff.next()
                _log.warning("no desired state", problem=str(problem), again_in_seconds=round(seconds, 1))
                time.sleep(seconds)
                continue
            if self._desired is None or answer.version != self._desired.version:
                _warn_of_skew(answer.server_time)
                self._desired = answer
                self._wake.set()

    def _try_pass(self) -> float:
        """One pass; returns after how many seconds the next one is due."""
        try:
            return self._pass()
        except EngineError as problem:
            _log.warning("the container engine doesn't answer", problem=str(problem))
            return _PASS_SECONDS

    def _pass(self) -> float:
        desired = self._desired
        # Busy first: what an operation changes between the two readings must not be taken for the truth.
        busy = self._operations.busy()
        if desired is None:
            if self._leaving:
                self._stop_unasked(self._runtime.containers())
            return _PASS_SECONDS
        sight = Sight(
            desired=tuple(desired.tasks),
            containers={container.key: container for container in self._runtime.containers()},
            records=self._spool.records(),
            busy=busy,
            shipped=frozenset(key for key, shipper in self._shippers.items() if shipper.done),
            closing=self._leaving == "stop",
            boot_id=self._boot_id,
            now=datetime.now(UTC),
            alive_interval=self._alive_interval,
        )
        self._apply(converge(sight))
        self._drop_shippers({task.key for task in desired.tasks})
        timeout = next_timeout(sight)
        return _PASS_SECONDS if timeout is None else _until(timeout, sight.now)

    def _apply(self, actions: list[Action]) -> None:
        # All reports first: each says what is about to be done, or what has happened.
        if self._spool.add(action.report for action in actions if isinstance(action, Report)):
            self._sender.nudge()
        for action in actions:
            match action:
                case Start(task=task):
                    self._operations.begin(task.key, self._tasks.start(task))
                case Stop(container=container, reason=reason):
                    self._operations.begin(container.key, self._tasks.stop(container, reason))
                case Remove(container=container):
                    self._operations.begin(container.key, self._tasks.remove(container))
                case Cancel(key=key):
                    self._operations.cancel(key)
                case Follow():
                    self._follow(action)
                case Forget(key=key):
                    self._spool.forget(key)

    def _follow(self, follow: Follow) -> None:
        task = follow.task
        if task.key not in self._shippers:
            shipper = LogShipper(
                api=self._api,
                runtime=self._runtime,
                task=task,
                container_id=follow.container.id,
                when_done=self._wake.set,
            )
            if follow.container.state is ContainerState.EXITED:
                shipper.container_ended()
            self._shippers[task.key] = shipper
            self._in_thread(f"log-{task.run_id}-{task.rank}", shipper.run)
        elif follow.container.state is ContainerState.EXITED:
            self._shippers[task.key].container_ended()

    def _drop_shippers(self, desired: set[TaskKey]) -> None:
        for key in self._shippers.keys() - desired:
            self._shippers.pop(key).close()

    def _stop_unasked(self, containers: list[Container]) -> None:
        """The API has never answered: without the tasks' tokens only the next agent can tell their ends."""
        for container in containers:
            if container.state is ContainerState.RUNNING:
                self._operations.begin(container.key, self._tasks.stop(container, TaskEnding.NODE_STOPPED))

    def _all_is_told(self) -> bool:
        """Nothing runs, and the API knows it and has dropped it, so that nothing is left behind here."""
        if self._operations.busy():
            return False
        if self._desired is None:
            return True
        return not self._desired.tasks and not self._spool.records() and not self._spool.waiting()

    def _in_thread(self, name: str, work: Callable[[], None]) -> None:
        Thread(target=self._guarded, args=(work,), name=name, daemon=True).start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised again by the loop
            # A thread that is gone would be a silent half of an agent: end the whole, start again, adopt.
            self._failure = error
            self._wake.set()


def _until(timeout: datetime, now: datetime) -> float:
    # A little later than the timeout, so that the pass that it wakes sees it as over.
    return min(_PASS_SECONDS, max(0.01, (timeout - now).total_seconds() + 0.002))


def _warn_of_skew(server_time: datetime) -> None:
    skew = datetime.now(UTC) - server_time
    if abs(skew) > _CLOCK_SKEW:
        _log.warning("this machine's clock and the API's differ", seconds=round(skew.total_seconds(), 1))
