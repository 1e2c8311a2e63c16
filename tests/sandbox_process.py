"""The sandbox market as a process of its own, for tests of whatever talks to a market."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.served_sandbox import ServedSandbox

PREVIEW = "/preview/v2"


class SandboxMarket(ServedSandbox):
    """Started with the defaults a test wants: a clock that the test moves, and no machines.

        with SandboxMarket(tmp_path / "market") as market:
            market.advance(3600)
            market.call("GET", "/preview/v2/pools")

    `options` are the command line's, `{"machines": "agent", "rule": ["fill_latency=2"], "no-traders": True}`. With
    `clock="real"` it runs in real time.
    """

    module = "sandbox.market"

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
        super().__init__(data, env=env, clock=clock, machines=machines, start=start, **options)

    @property
    def token_file(self) -> Path:
        return self.data / "token"

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    def request(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """`path` from the root; the customer's own token unless another is given."""
        headers = {"Authorization": f"Bearer {token or self.token}", **more.pop("headers", {})}
        return self._http.request(method, self.url + path, headers=headers, **more)

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
