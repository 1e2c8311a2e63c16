"""What the Docker engine's answers mean. Pure: values in, values out."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from node_agent.errors import EngineUnavailable, StartFailed
from node_agent.runtime import Container, ContainerState
from scalar.protocol import LogStream, TaskEnding

LABEL_RUN = "scalar.run_id"
LABEL_RANK = "scalar.rank"
LABEL_JOB = "scalar.job_id"
LABEL_NODE = "scalar.node_id"
LABEL_GRACE = "scalar.stop_grace_seconds"

_STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "paused": ContainerState.RUNNING,
    "restarting": ContainerState.RUNNING,
}
_NEVER = "0001-01-01"
_FRAME_HEADER_BYTES = 8
_STREAMS = {1: LogStream.STDOUT, 2: LogStream.STDERR}
_ENGINES_OWN = 3
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) ")
_NO_COMMAND = ("executable file not found", "no such file or directory", "permission denied", "is a directory")
_NO_IMAGE = (
    "not found",
    "manifest unknown",
    "access denied",
    "does not exist",
    "unauthorized",
    "authentication required",
    "denied:",
    "invalid reference format",
    "no matching manifest",
)
_ILL = (
    "containerd.sock",
    "transport is closing",
    "client connection is closing",
    "context canceled",
    "deadline exceeded",
)


def container_from(inspected: dict[str, Any]) -> Container | None:
    """`GET /containers/{id}/json` as a value; None where its labels aren't ours."""
    labels, state = inspected["Config"]["Labels"] or {}, inspected["State"]
    if LABEL_RUN not in labels or not labels.get(LABEL_RANK, "").isdigit():
        return None
    status = _STATES.get(state["Status"], ContainerState.EXITED)
    started_at = _time(state["StartedAt"])
    if started_at is None and status is ContainerState.EXITED:
        # Newer engines show a failed start as exited.
        status = ContainerState.CREATED
    ended = status is ContainerState.EXITED
    return Container(
        id=inspected["Id"],
        key=(labels[LABEL_RUN], int(labels[LABEL_RANK])),
        state=status,
        started_at=started_at,
        finished_at=_time(state["FinishedAt"]) if ended else None,
        exit_code=state["ExitCode"] if ended else None,
        out_of_memory=bool(state["OOMKilled"]) and ended,
        stop_grace_seconds=int(labels.get(LABEL_GRACE, "10")),
    )


def missing_command(exit_code: int | None, last_words: bytes) -> str | None:
    """Why the command couldn't be executed, from what the engine's init printed when it tried to; None: it could."""
    lines = last_words.decode(errors="replace").splitlines()
    told = next((line for line in reversed(lines) if line.startswith("[FATAL tini")), None)
    if exit_code not in (126, 127) or told is None:
        return None
    return _command_message(told.partition("] ")[2])


def start_failure(explanation: str) -> StartFailed:
    """What the engine's refusal to start a container means for the task."""
    if "exec:" in explanation and any(sign in explanation for sign in _NO_COMMAND):
        return StartFailed(TaskEnding.COMMAND_NOT_FOUND, _command_message(explanation))
    return StartFailed(TaskEnding.START_FAILED, explanation[:2000])


def image_is_missing(explanation: str) -> bool:
    """Whether a failed pull says that the image can't be had, rather than that the registry had trouble."""
    return any(sign in explanation.lower() for sign in _NO_IMAGE)


def engine_is_ill(explanation: str) -> bool:
    """Whether the engine's refusal is about itself (it is restarting, containerd is away), not about the container."""
    return any(sign in explanation for sign in _ILL)


def discarded_limit(warnings: Iterable[str]) -> str | None:
    """The engine's words for a limit that it silently left out when it created a container."""
    return next((warning for warning in warnings if "discarded" in warning.lower()), None)


def frames(pieces: Iterable[bytes]) -> Iterator[tuple[LogStream, bytes]]:
    """The engine's multiplexed log: each frame has a header of 8 bytes (stream, 3 zeros, big-endian length).

    Raises `EngineUnavailable` where the engine itself says in between that it can't read the log.
    """
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        at = 0
        while len(buffer) - at >= _FRAME_HEADER_BYTES:
            end = at + _FRAME_HEADER_BYTES + int.from_bytes(buffer[at + 4 : at + 8])
            if len(buffer) < end:
                break
            data = bytes(buffer[at + _FRAME_HEADER_BYTES : end])
            if buffer[at] == _ENGINES_OWN:
                raise EngineUnavailable(data.decode(errors="replace"))
            if stream := _STREAMS.get(buffer[at]):
                yield stream, data
            at = end
        del buffer[:at]


def without_time(line: bytes) -> bytes:
    """What the container wrote, of a line that the engine was asked to put the time in front of."""
    time = _TIME.match(line)
    return line[time.end() :] if time else line


def _time(text: str) -> datetime | None:
    return None if text.startswith(_NEVER) else datetime.fromisoformat(text)


def _command_message(told: str) -> str:
    return f"The image can't execute the command: check `command` and `args`. {told}"[:2000]
