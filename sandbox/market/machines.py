"""Instances as local processes: each that runs is a node agent, booted with what its user data says.

The sandbox reads the user data as cloud-init would (`#cloud-config`), takes the file /etc/scalar/agent.env from its
`write_files`, and starts `python -m node_agent` with it: a real machine would install that agent by `runcmd`, which
is not run here. GPUs are declared, not real.
"""

import base64
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

ENV_FILE = "/etc/scalar/agent.env"
_CLOUD_CONFIG = "#cloud-config"
# What a process needs of this one's surroundings; a secret in them is none of its business.
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "PYTHONPATH", "VIRTUAL_ENV", "DOCKER_HOST")
_TERM_SECONDS = 15.0
_LOOK_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BadUserData(ValueError):
    """Not a cloud-config; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    id: str
    user_data: str | None = field(repr=False)
    """As it was posted: base64."""
    gpus: int
    gpu_type: str


class Machines(Protocol):
    """Who makes instances run. Every call comes back at once."""

    def boot(self, machine: Machine) -> None: ...

    def halt(self, id: str) -> None:
        """As an operator would: ask, then kill."""

    def kill(self, id: str) -> None:
        """As a broken power supply would."""

    def log(self, id: str) -> Path | None: ...

    def close(self) -> None:
        """All of them, waited for."""


class NoMachines:
    def boot(self, machine: Machine) -> None:
        pass

    def halt(self, id: str) -> None:
        pass

    def kill(self, id: str) -> None:
        pass

    def log(self, id: str) -> Path | None:  # noqa: ARG002 - they have none
        return None

    def close(self) -> None:
        pass


class AgentMachines:
    """Folders under `folder`, one for each instance: the agent's state and its log, kept between boots."""

    def __init__(
        self,
        folder: Path,
        *,
        runtime: str = "auto",
        cpus: float | None = None,
        memory_gib: float | None = None,
        api_url: str | None = None,
    ) -> None:
        self._folder = folder
        self._shared = {"SCALAR_AGENT_ON_EXIT": "stop", "SCALAR_AGENT_RUNTIME": runtime}
        if cpus is not None:
            self._shared["SCALAR_AGENT_CPUS"] = str(cpus)
        if memory_gib is not None:
            self._shared["SCALAR_AGENT_MEMORY_GIB"] = str(memory_gib)
        if api_url is not None:
            self._shared["SCALAR_AGENT_API_URL"] = api_url
        self._running: dict[str, _Unit] = {}

    def boot(self, machine: Machine) -> None:
        state = self._folder / machine.id
        state.mkdir(parents=True, exist_ok=True)
        try:
            given = agent_environment(machine.user_data)
        except BadUserData as error:
            (state / "agent.log").write_text(f"cloud-init: {error}\n")
            return
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | given | self._shared
        environment["SCALAR_AGENT_STATE_DIR"] = str(state.resolve())
        environment["SCALAR_AGENT_GPUS"] = str(machine.gpus)
        environment["SCALAR_AGENT_GPU_TYPE"] = machine.gpu_type
        self._running[machine.id] = _Unit(machine.id, environment, state / "agent.log")

    def halt(self, id: str) -> None:
        unit = self._running.pop(id, None)
        if unit:
            unit.stop(within=_TERM_SECONDS)

    def kill(self, id: str) -> None:
        unit = self._running.pop(id, None)
        if unit:
            unit.stop(within=0.0)

    def log(self, id: str) -> Path | None:
        log = self._folder / id / "agent.log"
        return log if log.exists() else None

    def close(self) -> None:
        units, self._running = list(self._running.values()), {}
        for unit in units:
            unit.stop(within=_TERM_SECONDS)
        for unit in units:
            unit.join()


class _Unit:
    """One agent, kept running by a thread of its own, as systemd would.

    The thread lives as long as the machine does: the kernel ties a child's death signal to the thread that made it.
    """

    def __init__(self, id: str, environment: Mapping[str, str], log: Path) -> None:
        self._environment = dict(environment)
        self._log = log
        self._stopping = threading.Event()
        self._within = _TERM_SECONDS
        self._thread = threading.Thread(target=self._keep, name=f"machine-{id}", daemon=True)
        self._thread.start()

    def stop(self, *, within: float) -> None:
        self._within = within
        self._stopping.set()

    def join(self) -> None:
        self._thread.join()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            child = self._spawn()
            while child.poll() is None and not self._stopping.wait(_LOOK_SECONDS):
                pass
            if self._stopping.is_set():
                _end(child, self._within)
            else:
                self._stopping.wait(1)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "node_agent"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other way to ask for it
            )


def _end(child: subprocess.Popen[bytes], within: float) -> None:
    """Ask the agent to stop its tasks and itself, then kill what is left: a machine that is off runs nothing."""
    if within and child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(within)
    tasks = _descendants(child.pid)
    for pid in (child.pid, *tasks):
        _kill_group(pid)
    child.wait()


def _kill_group(pid: int) -> None:
    # It may lead no group, or be gone already.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Its children and theirs: tasks that are plain processes have sessions of their own."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def agent_environment(user_data: str | None) -> dict[str, str]:
    """The KEY=VALUE lines of /etc/scalar/agent.env. Raises: `BadUserData`."""
    if not user_data:
        raise BadUserData("no user data: nothing on this machine starts an agent")
    for entry in _files(user_data):
        if entry.get("path") == ENV_FILE:
            return _assignments(_content(entry))
    raise BadUserData(f"write_files has no {ENV_FILE}")


def _files(user_data: str) -> list[dict[str, Any]]:
    try:
        text = base64.b64decode(user_data, validate=True).decode()
        config = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise BadUserData(f"not a base64 text of YAML: {error}") from error
    if not text.startswith(_CLOUD_CONFIG) or not isinstance(config, dict):
        raise BadUserData(f"not a {_CLOUD_CONFIG}")
    return [entry for entry in config.get("write_files") or [] if isinstance(entry, dict)]


def _content(entry: Mapping[str, Any]) -> str:
    content = str(entry.get("content") or "")
    if entry.get("encoding") in {"b64", "base64"}:
        return base64.b64decode(content).decode()
    return content


def _assignments(text: str) -> dict[str, str]:
    """As systemd's EnvironmentFile: comments and blank lines are skipped, quotes are taken off."""
    pairs = (line.partition("=") for line in map(str.strip, text.splitlines()) if line and line[0] not in "#;")
    return {name.strip(): " ".join(shlex.split(value)) for name, equals, value in pairs if equals}


def _die_with_parent() -> None:
    """Even if the sandbox is killed, no machine of it runs on (Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
