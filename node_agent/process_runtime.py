"""Tasks as plain processes, for development where no Docker engine is at hand. Linux only.

NOT ISOLATED: a task can read and kill whatever the agent's user can; images, limits of memory, CPUs and processes are
ignored. Each task has a directory, `<state_dir>/processes/<run_id>-<rank>/`:

    labels.json   who it is                       home/            its working directory and HOME
    claimed/      made by whoever runs it, once   stdout, stderr   its output
    started       "pid  proc-start-ticks  ns"     exit             "ns  exit-code"

One that is being removed is renamed to `….removed` first, and no task any more.

A shell beside each task writes `started` and `exit`, so that its end is known even if it came while no agent was alive.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from node_agent.errors import ContainerGone, EngineUnavailable, StartFailed
from node_agent.process_table import has_pid, session_members
from node_agent.runtime import Container, ContainerState, Output
from scalar.protocol import DesiredTask, LogStream, RuntimeKind, TaskEnding

# The trap keeps this shell alive through a SIGTERM to the group, and (unlike an ignored signal) isn't inherited.
# The last line ends what the task left behind, as the end of a container would.
_BESIDE_THE_TASK = r"""
trap : TERM INT HUP
task=$1; shift
mkdir "$task/claimed" 2>/dev/null || exit 0
printf '%s %s %s\n' $$ "$(cut -d ' ' -f 22 /proc/$$/stat)" "$(date +%s%N)" > "$task/started.new"
mv "$task/started.new" "$task/started"
echo started
exec >/dev/null
"$@" >"$task/stdout" 2>"$task/stderr" </dev/null
code=$?
printf '%s %s\n' "$(date +%s%N)" "$code" > "$task/exit.new"
mv "$task/exit.new" "$task/exit"
kill -KILL 0
"""
_LOOK_SECONDS = 0.02
_SHELL_ENDS_SECONDS = 5.0
_REMOVED = ".removed"
_PIECE_BYTES = 16 * 1024


def has_tasks(directory: Path) -> bool:
    """Whether there is a task that ran there, or still does, and is not removed yet: of whichever node id."""
    return bool(_tasks(directory))


class ProcessRuntime:
    """Processes of the tasks in one directory that carry this node's id."""

    kind = RuntimeKind.PROCESS

    def __init__(self, *, node_id: str, directory: Path) -> None:
        self._node_id = node_id
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half_removed in directory.glob(f"*{_REMOVED}"):
            shutil.rmtree(half_removed, ignore_errors=True)

    def containers(self) -> list[Container]:
        try:
            seen = [self._look(task) for task in _tasks(self._directory)]
        except OSError as error:
            raise EngineUnavailable(str(error)) from error
        return [container for container in seen if container]

    def fetch_image(self, image: str, cancelled: Event) -> None:
        """Nothing to do: processes have no image."""

    def create(self, task: DesiredTask) -> None:
        directory = self._task_directory(task)
        (directory / "home").mkdir(mode=0o700, parents=True, exist_ok=True)
        labels = {
            "run_id": task.run_id,
            "rank": task.rank,
            "job_id": task.job_id,
            "node_id": self._node_id,
            "stop_grace_seconds": task.stop_grace_seconds,
        }
        _write(directory / "labels.json", json.dumps(labels))

    def start(self, task: DesiredTask) -> None:
        directory = self._task_directory(task)
        if not (directory / "labels.json").exists():
            raise ContainerGone(directory.name)
        if _read_started(directory):
            return
        environment = _environment(task, home=directory / "home")
        child = subprocess.Popen(  # noqa: S603 - running what it is told to is what this module is for
            ["/bin/sh", "-c", _BESIDE_THE_TASK, "scalar-task", directory, *_command(task, environment)],
            cwd=directory / "home",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._children[directory.name] = child
        # The shell says when it has begun, or ends.
        if child.stdout:
            with child.stdout as started:
                started.readline()

    def stop(self, container_id: str, grace_seconds: int) -> None:
        directory = self._directory / container_id
        run = _read_started(directory)
        if run is None or _read_exit(directory):
            return
        pid, ticks, _ = run
        if has_pid(pid, ticks):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        if self.ended(container_id, grace_seconds):
            return
        # Not the shell itself (the session's leader): it has to write down the end.
        for member in session_members(pid):
            if member != pid:
                # It may have ended since it was listed.
                with suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
        self.ended(container_id, grace_seconds + 5.0)

    def remove(self, container_id: str) -> None:
        if child := self._children.pop(container_id, None):
            # Its shell ends as soon as it has written down the end.
            with suppress(subprocess.TimeoutExpired):
                child.wait(_SHELL_ENDS_SECONDS)
        directory = self._directory / container_id
        removed = directory.with_suffix(_REMOVED)
        # Out of sight at once: another thread that looks at it meanwhile would write its end into it again.
        with suppress(FileNotFoundError):
            directory.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def output(self, container_id: str, *, follow: bool) -> Output:
        directory = self._directory / container_id
        if not directory.exists():
            raise ContainerGone(container_id)
        return _ProcessOutput(self, directory, follow=follow)

    def ended(self, container_id: str, within_seconds: float) -> bool:
        deadline = time.monotonic() + within_seconds
        while True:
            seen = self._look(self._directory / container_id)
            if seen is None:
                raise ContainerGone(container_id)
            if seen.state is ContainerState.EXITED:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Takes leave of its ended children."""
        for child in self._children.values():
            child.wait()

    def _task_directory(self, task: DesiredTask) -> Path:
        return self._directory / f"{task.run_id}-{task.rank}"

    def _look(self, directory: Path) -> Container | None:
        labels = _read_labels(directory)
        if labels is None or labels["node_id"] != self._node_id:
            return None
        run = _read_started(directory)
        end = _read_exit(directory) if run is None else self._end(directory, *run[:2])
        return Container(
            id=directory.name,
            key=(labels["run_id"], labels["rank"]),
            state=ContainerState.EXITED if end else ContainerState.RUNNING if run else ContainerState.CREATED,
            started_at=_time(run[2]) if run else None,
            finished_at=_time(end[0]) if end else None,
            exit_code=end[1] if end else None,
            stop_grace_seconds=labels["stop_grace_seconds"],
        )

    def _end(self, directory: Path, pid: int, ticks: int) -> tuple[int, int] | None:
        """(ns, exit code), or None while it runs."""
        if child := self._children.get(directory.name):
            child.poll()
        alive = has_pid(pid, ticks)
        if (end := _read_exit(directory)) or alive:
            return end
        # The shell was killed, or the machine restarted: nobody wrote the end, and it must not change any more.
        with suppress(FileNotFoundError):  # it is being removed
            _write(directory / "exit", f"{time.time_ns()} 137\n")
        return _read_exit(directory)


class _ProcessOutput:
    def __init__(self, runtime: ProcessRuntime, directory: Path, *, follow: bool) -> None:
        self._runtime = runtime
        self._directory = directory
        self._follow = follow
        self._closed = Event()

    def __iter__(self) -> Iterator[tuple[LogStream, bytes]]:
        read = dict.fromkeys(LogStream, 0)
        while not self._closed.is_set():
            # Asked before reading: what is written between the two is read, so nothing comes after the last look.
            last = not self._follow or self._runtime.ended(self._directory.name, 0)
            for stream in LogStream:
                for piece in _pieces(self._directory / stream.value, read[stream]):
                    read[stream] += len(piece)
                    yield stream, piece
            if last:
                return
            self._closed.wait(_LOOK_SECONDS)

    def close(self) -> None:
        self._closed.set()


def _tasks(directory: Path) -> list[Path]:
    return sorted(path.parent for path in directory.glob("*/labels.json") if path.parent.suffix != _REMOVED)


def _pieces(path: Path, start: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except FileNotFoundError:
        return


def _command(task: DesiredTask, environment: Mapping[str, str]) -> list[str]:
    command = [*(task.command or []), *(task.args or [])]
    if not command:
        message = "The process runtime has no images: give a `command`."
        raise StartFailed(TaskEnding.START_FAILED, message)
    if shutil.which(command[0], path=environment["PATH"]) is None:
        message = f"There is no executable {command[0]!r} on this machine: check `command` and `args`."
        raise StartFailed(TaskEnding.COMMAND_NOT_FOUND, message)
    return command


def _environment(task: DesiredTask, *, home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        **{name: value.get_secret_value() for name, value in task.env.items()},
        "SCALAR_JOB_ID": task.job_id,
        "SCALAR_RUN_ID": task.run_id,
        "SCALAR_NODE_RANK": str(task.rank),
        "SCALAR_GPU_INDICES": ",".join(map(str, task.gpus)),
    }


def _read_labels(directory: Path) -> dict[str, Any] | None:
    try:
        labels: dict[str, Any] = json.loads((directory / "labels.json").read_text())
    except FileNotFoundError:
        return None
    return labels


def _read_started(directory: Path) -> tuple[int, int, int] | None:
    """(pid, start in ticks since boot, ns since 1970)"""
    try:
        pid, ticks, ns = (directory / "started").read_text().split()
    except FileNotFoundError:
        return None
    return int(pid), int(ticks), int(ns)


def _read_exit(directory: Path) -> tuple[int, int] | None:
    """(ns since 1970, exit code)"""
    try:
        ns, code = (directory / "exit").read_text().split()
    except FileNotFoundError:
        return None
    return int(ns), int(code)


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1_000_000_000, UTC)
