"""What only a sandbox market can do for us: turn its clock, and show what its machines were started with."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from pydantic import SecretStr

_LIST = "/preview/v2/instances?limit=200&include=cloud_init_user_data&status=running"
_ENVIRONMENT = "/etc/scalar/agent.env"


@dataclass(frozen=True, kw_only=True)
class Running:
    """A machine that runs at the market. `environment`: what its agent is started with."""

    market_id: str
    environment: dict[str, str]


class Sandbox:
    """One connection, kept open: `with Sandbox(url, token) as sandbox`. Raises: `httpx.HTTPError`."""

    def __init__(self, url: str, token: SecretStr) -> None:
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=600)

    def close(self) -> None:
        self._client.close()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._client.get("/sandbox/clock").raise_for_status().json()["now"], UTC)

    def advance_to(self, moment: datetime) -> None:
        """All that falls due on the way is done when this comes back; to the past: nothing."""
        ahead = moment - self.now()
        if ahead > timedelta(0):
            turned = {"advance_seconds": ahead.total_seconds()}
            self._client.post("/sandbox/clock", json=turned).raise_for_status()

    def running(self) -> list[Running]:
        rows = self._client.get(_LIST).raise_for_status().json()["data"]
        return [Running(market_id=row["id"], environment=_environment(row["cloud_init_user_data"])) for row in rows]


def _environment(user_data: str) -> dict[str, str]:
    """Of a `#cloud-config` that is JSON, as Scalar writes it."""
    config = json.loads(base64.b64decode(user_data).decode().removeprefix("#cloud-config\n"))
    (file,) = [each for each in config["write_files"] if each["path"] == _ENVIRONMENT]
    return dict(line.split("=", 1) for line in file["content"].splitlines())
