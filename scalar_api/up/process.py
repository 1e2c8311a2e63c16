"""One service as a child process: started, waited for, started again when it dies, stopped."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scalar_api.up.errors import UpError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, kw_only=True)
class Service:
    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[], bool]
    ready_within: float = 60
    stop_within: float = 10


class Process:
    """Its output goes to a log file. Thread-safe."""

    def __init__(self, service: Service, log: Path, on_restart: Callable[[str, int], None]) -> None:
        self.service = service
        self.log = log
        self._on_restart = on_restart
        self._stopping = threading.Event()
        self._spawning = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError(f"{self.service.name} was not started")
        return self._child.pid

    def start(self) -> None:
        """Start it and come back at once; `wait_ready` follows."""
        self._child = self._spawn()
        self._keeper = threading.Thread(target=self._keep, name=f"keep-{self.service.name}", daemon=True)
        self._keeper.start()

    def wait_ready(self) -> None:
        """Raises: `UpError` with the end of its log where it isn't ready in time."""
        deadline = time.monotonic() + self.service.ready_within
        while not self.service.ready():
            if time.monotonic() > deadline:
                raise UpError(
                    f"{self.service.name} was not ready within {self.service.ready_within:.0f} s. The end of its log,"
                    f" {self.log}:\n{self.last_words()}"
                )
            self._stopping.wait(0.1)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after its time."""
        # Not between a child's death and the start of the next, which nobody would stop.
        with self._spawning:
            self._stopping.set()
            child = self._child
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(self.service.stop_within)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait(5)

    def last_words(self, lines: int = 15) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def _keep(self) -> None:
        """Start it again whenever it dies, at most once a second."""
        while not self._stopping.is_set():
            assert self._child is not None  # noqa: S101 - start() has set it
            code = self._child.wait()
            if self._stopping.wait(1):
                return
            with self._spawning:
                if self._stopping.is_set():
                    return
                self._on_restart(self.service.name, code)
                self._child = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own commands
                list(self.service.argv),
                env=dict(self.service.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no other way to ask for it
            )


def die_with_parent() -> None:
    """Even if this process is killed, no service of it is left behind (Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
