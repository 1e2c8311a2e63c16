"""Tasks and containers with defaults, and waiting with a deadline."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from node_agent.runtime import Container, ContainerState
from scalar.protocol import DesiredTask, Want

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MIB = 2**20

Seen = TypeVar("Seen")


def a_task(**given: Any) -> DesiredTask:
    return DesiredTask(
        **{
            "run_id": "run-1",
            "rank": 0,
            "token": "fencing-secret",
            "job_id": "job-1",
            "organisation_id": "org-1",
            "want": Want.RUN,
            "image": "busybox:local",
            "command": ["sh", "-c", "exit 0"],
            "gpus": [],
            "cpus": 0.5,
            "memory_bytes": 64 * MIB,
            **given,
        }
    )


def a_shell_task(script: str, **given: Any) -> DesiredTask:
    return a_task(command=["sh", "-c", script], **given)


def a_container(state: ContainerState = ContainerState.RUNNING, **given: Any) -> Container:
    started = state is not ContainerState.CREATED
    ended = state is ContainerState.EXITED
    return Container(
        **{
            "id": "container-1",
            "key": ("run-1", 0),
            "state": state,
            "started_at": NOON if started else None,
            "finished_at": NOON + timedelta(seconds=30) if ended else None,
            "exit_code": 0 if ended else None,
            **given,
        }
    )


def eventually(look: Callable[[], Seen | None], within_seconds: float = 20.0) -> Seen:
    """What `look` returns once that is true."""
    deadline = time.monotonic() + within_seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s")
        time.sleep(0.01)
    return seen
