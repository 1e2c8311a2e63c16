"""A sandbox as a process of its own, for tests of whatever talks to it: started, stopped, killed, started again."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from scalar.tls import trusted
from tests.warm import WarmProcess, warm_process

_READY_SECONDS = 30.0


class ServedSandbox:
    """`options` are the command line's. The port is the kernel's choice, and kept over `kill` and `start`."""

    module: str
    """Of the sandbox: what `python -m` would start."""

    def __init__(self, data: Path, *, env: Mapping[str, str] | None = None, **options: Any) -> None:
        self.data = data
        self.port = 0
        self._env = dict(env or {})
        self._options = {name: value for name, value in options.items() if value is not None}
        self._process: WarmProcess | None = None
        self._http = httpx.Client(timeout=60, trust_env=False, verify=trusted())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._http.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data / "sandbox.log"

    def start(self) -> None:
        """Comes back when it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        port_file = self.data / "port"
        port_file.unlink(missing_ok=True)
        environment = {**os.environ, **self._env}
        self._process = warm_process(self.module, self._arguments(port_file), env=environment, log=self.log)
        deadline = time.monotonic() + _READY_SECONDS
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.module} did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)
        self.port = int(port_file.read_text())

    def stop(self) -> int | None:
        """Its exit status; None where it was never started."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def _arguments(self, port_file: Path) -> list[str]:
        arguments = ["--data", str(self.data), "--port", str(self.port), "--port-file", str(port_file)]
        for name, value in self._options.items():
            flag = "--" + name.replace("_", "-")
            if value is True:
                arguments.append(flag)
            else:
                for one in value if isinstance(value, list) else [value]:
                    arguments += [flag, str(one)]
        return arguments
