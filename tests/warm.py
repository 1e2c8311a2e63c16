"""Processes of a Python module that start in a blink: forked from one that has imported it already.

    process = warm_process("sandbox.market", ["--port", "0"], env={}, log=tmp_path / "log")

Importing a web framework takes over a second, and several hundred tests start a server of their own. What is forked is
a process as any other, with its own memory, files, signals and death; it runs the module's `main()`.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


class WarmProcess:
    """As `subprocess.Popen`: whoever forked it is its parent, and is asked what became of it."""

    def __init__(self, nursery: "_Nursery", pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative where a signal killed it; None: it runs."""
        if self._status is None:
            self._status = self._nursery.ask(poll=self.pid)
        return self._status

    def wait(self, timeout: float) -> int:
        """Raises: subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def warm_process(module: str, arguments: Sequence[str], *, env: Mapping[str, str], log: Path) -> WarmProcess:
    """`python -m module arguments`, with what it says added to `log`."""
    nursery = _nursery(module)
    return WarmProcess(nursery, nursery.ask(start=list(arguments), env=dict(env), log=str(log)))


class _Nursery:
    """Asked one thing at a time, a line of JSON each way; it ends with whoever asks it."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", module],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=10)


@cache
def _nursery(module: str) -> _Nursery:
    return _Nursery(module)


def _fork(module: Any, asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stands_for in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(number, stands_for)
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = [module.__name__, *asked["start"]]
    sys.exit(module.main())


def _poll(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _serve(module_name: str) -> None:
    module = importlib.import_module(f"{module_name}.__main__")
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(_fork(module, asked) if "start" in asked else _poll(asked["poll"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
