"""What the agent needs of a container runtime, and the values that it sees through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from threading import Event
from typing import Protocol

from scalar.protocol import DesiredTask, LogStream, RuntimeKind, TaskKey


class ContainerState(StrEnum):
    """CREATED -> RUNNING -> EXITED, and never back."""

    CREATED = "created"
    """It exists and its command has never run: the agent died in between, or the start failed."""
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, kw_only=True)
class Container:
    """One task's container as the engine shows it. Times are the engine's own, aware, UTC."""

    id: str
    key: TaskKey
    state: ContainerState
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    """A signal N counts as 128+N."""
    out_of_memory: bool = False
    command_missing: str | None = None
    """Why the command couldn't be executed, where the container had started before that was known."""
    stop_grace_seconds: int = 10


class Output(Protocol):
    """The log of one container from its first byte, in pieces; ends when the container's output does.

    Iterating raises `EngineUnavailable` where the stream broke off.
    """

    def __iter__(self) -> Iterator[tuple[LogStream, bytes]]: ...

    def close(self) -> None:
        """Ends the iteration, from any thread."""


class ContainerRuntime(Protocol):
    """Containers of one node. Every method may raise `EngineUnavailable`, and may be called from any thread."""

    kind: RuntimeKind

    def containers(self) -> list[Container]:
        """All of this node's, in whatever state."""

    def fetch_image(self, image: str, cancelled: Event) -> None:
        """Makes the image local, in minutes or never; returns without it once `cancelled`. Raises `StartFailed`."""

    def create(self, task: DesiredTask) -> None:
        """Makes the task's container, unless it is there already. Raises `StartFailed`."""

    def start(self, task: DesiredTask) -> None:
        """Starts the created container; nothing happens if it runs already. Raises `StartFailed`, `ContainerGone`."""

    def stop(self, container_id: str, grace_seconds: int) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when it has ended (or is gone)."""

    def remove(self, container_id: str) -> None:
        """Removes an ended or created container with its log, if it is still there."""

    def output(self, container_id: str, *, follow: bool) -> Output:
        """The log from its first byte. Raises `ContainerGone`."""

    def ended(self, container_id: str, within_seconds: float) -> bool:
        """Whether the container ends in that time (or has). Raises `ContainerGone`."""
