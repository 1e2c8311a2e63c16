"""What a node agent and the API say to each other: the one module of `scalar` that the agent imports.

The agent calls out; nothing calls in. Five requests, the first with a join token, the rest with the
node's own bearer credential:

1. `POST /v1/nodes/join`   (join token)  `JoinRequest` -> `JoinReply`
2. `GET  /v1/node/desired?version=N&wait=S`  -> `DesiredState`, as soon as its version differs from N or after S seconds
3. `POST /v1/node/reports` `ReportBatch` -> `ReportReceipt`, idempotent, in the order of the batch
4. `POST /v1/node/logs`    `LogBatch` -> `LogReceipt`, idempotent by offset
5. `PUT  /v1/node/facts`   `NodeFacts` -> 204, after each start of the agent

All times are aware, UTC, and of the node's own container runtime where it has one: a second is billed from the
container's start to its end, not from when somebody heard of it.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
)

LOG_BATCH_BYTES = 256 * 1024
"""Most bytes of output in one `LogBatch`; the API refuses larger bodies."""


Secret = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value, when_used="json")]
"""Masked in every repr and log line; itself only in the JSON of a request or reply."""


def _storable(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


Text = Annotated[str, AfterValidator(_storable)]
"""What a machine or a container said: Postgres takes any character of it but NUL."""


class Message(BaseModel):
    """Unknown fields are ignored, so that a newer API can talk to an older agent and the reverse."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class RuntimeKind(StrEnum):
    """What runs a task's command on a node."""

    DOCKER = "docker"
    PROCESS = "process"
    """Plain processes: development only, not isolated."""

    @property
    def notice(self) -> str:
        """What to show wherever the runtime is shown."""
        return "docker" if self is RuntimeKind.DOCKER else "process (development only, not isolated)"


class Gpu(Message):
    """One accelerator of a node, by the index that the scheduler assigns."""

    index: int = Field(ge=0)
    type: Text = Field(min_length=1, max_length=64)
    uuid: Text | None = None
    memory_bytes: int | None = Field(default=None, ge=0)


class NodeFacts(Message):
    """What a node is: told at joining and again at each start of its agent."""

    name: Text = Field(min_length=1, max_length=100)
    gpus: list[Gpu] = Field(max_length=64)
    cpus: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)
    runtime: RuntimeKind
    agent_version: Text = Field(max_length=40)
    boot_id: Text = Field(max_length=64)
    address: Text | None = Field(default=None, max_length=255)
    """Where the other nodes of a gang reach this one."""


class JoinRequest(Message):
    facts: NodeFacts


class JoinReply(Message):
    """The node's own credential: shown once, kept by the agent in a file of mode 0600."""

    node_id: str
    credential: Secret


class Want(StrEnum):
    RUN = "run"
    STOP = "stop"


class LogOffsets(Message):
    """How many bytes of each stream the API has: the next byte it wants."""

    stdout: int = Field(default=0, ge=0)
    stderr: int = Field(default=0, ge=0)


class DesiredTask(Message):
    """One container that this node should have: the part of a run that is placed here.

    It stays in the desired state until the API has acknowledged its end; once it is gone from there, the agent
    removes the container and forgets the task.
    """

    run_id: str
    rank: int = Field(ge=0)
    token: Secret
    """Fencing: the API ignores reports that carry another token."""
    job_id: str
    organisation_id: str
    want: Want
    image: str
    command: list[str] | None = None
    args: list[str] | None = None
    env: dict[str, Secret] = {}
    gpus: list[int]
    cpus: float
    memory_bytes: int
    max_processes: int = 4096
    max_runtime_seconds: int | None = None
    stop_grace_seconds: int = 10
    log_offsets: LogOffsets = LogOffsets()

    @property
    def key(self) -> "TaskKey":
        return (self.run_id, self.rank)


TaskKey = tuple[str, int]
"""(run id, rank): names one container of one try of a job."""


class DesiredState(Message):
    version: int
    tasks: list[DesiredTask]
    server_time: AwareDatetime


class TaskEnding(StrEnum):
    """How a task ended, as seen on its node. The API turns it into a termination reason of the run."""

    EXITED = "exited"
    """By itself, with an exit code (a signal N from elsewhere counts as 128+N)."""
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    """Stopped by the agent at its `max_runtime_seconds`."""
    STOPPED = "stopped"
    """Stopped by the agent, or never started, because the API wanted it stopped."""
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_UNAVAILABLE = "image_unavailable"
    """The registry could not be reached or kept failing, after several tries."""
    COMMAND_NOT_FOUND = "command_not_found"
    START_FAILED = "start_failed"
    CONTAINER_LOST = "container_lost"
    """It had started and is gone: removed by somebody else, or the machine was restarted."""
    NODE_STOPPED = "node_stopped"
    """The agent was asked to shut down together with what it runs."""


class _TaskReport(Message):
    run_id: Text
    rank: int = Field(ge=0)
    token: Secret
    at: AwareDatetime


class TaskStarting(_TaskReport):
    """The node has taken the task up: the image is being fetched, then the container is created."""

    kind: Literal["starting"] = "starting"
    detail: Text | None = Field(default=None, max_length=500)


class TaskRunning(_TaskReport):
    """`at`: the container's own start."""

    kind: Literal["running"] = "running"
    container_id: Text = Field(max_length=200)


class TaskAlive(_TaskReport):
    """Still running at `at`, which is the start plus `sequence` times the alive interval (60 s)."""

    kind: Literal["alive"] = "alive"
    sequence: int = Field(ge=1)


class TaskEnded(_TaskReport):
    """`at`: the container's own end. Sent after the last byte of the log has been acknowledged."""

    kind: Literal["ended"] = "ended"
    ending: TaskEnding
    started_at: AwareDatetime | None
    """None: it never started."""
    exit_code: int | None = None
    message: Text | None = Field(default=None, max_length=2000)


TaskReport = Annotated[TaskStarting | TaskRunning | TaskAlive | TaskEnded, Field(discriminator="kind")]


class ReportBatch(Message):
    reports: list[TaskReport] = Field(max_length=500)


class ReportOutcome(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    STALE = "stale"
    """The run has ended, belongs to another node or has another token: nothing was changed, don't send it again."""


class ReportReceipt(Message):
    """One outcome a report, in the order of the batch. Whatever the outcome, the report need not be sent again."""

    outcomes: list[ReportOutcome]


class LogStream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


class LogFrame(Message):
    """`data` stands at byte `start` of its stream."""

    stream: LogStream
    start: int = Field(ge=0)
    data: Base64Bytes
    """Base64 in JSON, and so when constructed: `LogFrame(..., data=base64.b64encode(raw))`; reads back as raw bytes."""


class LogBatch(Message):
    run_id: Text
    rank: int = Field(ge=0)
    token: Secret
    frames: list[LogFrame] = Field(max_length=1000)


class LogReceipt(Message):
    """What the API has now. The agent goes on from there, backwards too if a frame left a gap.

    Past the limit of bytes kept for a task the API counts on without keeping (`truncated`); the agent goes on as ever.
    """

    offsets: LogOffsets
    stale: bool = False
    truncated: bool = False
