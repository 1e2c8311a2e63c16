"""The sandbox market as a process of its own, for tests of whatever talks to a market."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.warm import WarmProcess, warm_process

_READY_SECONDS = 30.0
PREVIEW = "/preview/v2"


class SandboxMarket:
    """Started with the defaults a test wants: a clock that the test moves, and no machines.

        with SandboxMarket(tmp_path / "market") as market:
            market.advance(3600)
            market.call("GET", "/preview/v2/pools")

    `options` are the command line's, `{"machines": "agent", "rule": ["fill_latency=2"], "no-traders": True}`. With
    `clock="real"` it runs in real time. The port is the kernel's choice, and kept over `kill` and `start`.
    """

    def __init__(
        self,
        data: Path,
        *,
        clock: str = "manual",
        start: str | None = "2026-11-02T00:00Z",
        machines: str = "none",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.data = data
        self.port = 0
        self._env = dict(env or {})
        self._options = {"clock": clock, "machines": machines, **({"start": start} if start else {}), **options}
        self._process: WarmProcess | None = None
        self._client = httpx.Client(timeout=60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._client.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token_file(self) -> Path:
        return self.data / "token"

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    @property
    def log(self) -> Path:
        return self.data / "sandbox.log"

    def start(self) -> None:
        """Comes back when it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        port_file = self.data / "port"
        port_file.unlink(missing_ok=True)
        environment = {**os.environ, **self._env}
        self._process = warm_process("sandbox.market", self._arguments(port_file), env=environment, log=self.log)
        deadline = time.monotonic() + _READY_SECONDS
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the sandbox market did not start:\n{self.log.read_text()[-3000:]}")
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

    def request(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """`path` from the root; the customer's own token unless another is given."""
        headers = {"Authorization": f"Bearer {token or self.token}", **more.pop("headers", {})}
        return self._client.request(method, self.url + path, headers=headers, **more)

    def call(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.request(method, path, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def preview(self, method: str, path: str, **more: Any) -> Any:
        """As `call`, within preview v2."""
        return self.call(method, PREVIEW + path, **more)

    def behind(self, path: str) -> Any:
        """As `preview` with GET, and no fault hits it."""
        return self.preview("GET", path, headers={"X-Sandbox-No-Faults": "1"})

    def advance(self, seconds: float) -> float:
        """Move the clock; the market's time then."""
        return float(self.call("POST", "/sandbox/clock", json={"advance_seconds": seconds})["now"])

    @property
    def now(self) -> float:
        return float(self.call("GET", "/sandbox/clock")["now"])

    def fault(self, kind: str, **more: Any) -> dict[str, Any]:
        return dict(self.call("POST", "/sandbox/faults", json={"kind": kind, **more}))

    def no_faults(self) -> None:
        self.call("DELETE", "/sandbox/faults")

    def a_pool(self, name: str | None = None) -> str:
        """The id of a new pool in the default workspace."""
        workspace = self.preview("GET", "/workspaces")["data"][0]["id"]
        return str(self.preview("POST", "/pools", json={"workspace": workspace, "name": name})["id"])

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
