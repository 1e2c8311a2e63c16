"""Instances as local processes of the node agent."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox.market.machines import BadUserData, agent_environment
from tests.sandbox_process import SandboxMarket

H100 = "isku_sea3h100"
HOUR = 3600
_WITHIN_SECONDS = 20.0


class Doorman:
    """An API that agents knock at: it keeps what they say of themselves, and lets none in."""

    def __init__(self) -> None:
        self.knocks: list[tuple[str, dict[str, Any]]] = []
        doorman = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                doorman.knocks.append((self.headers["Authorization"], said))
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def doorman() -> Iterator[Doorman]:
    doorman = Doorman()
    yield doorman
    doorman.close()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(
        tmp_path_factory.mktemp("machines"),
        machines="agent",
        machine_runtime="process",
        machine_cpus=3,
        machine_memory_gib=2,
        rule=["boot_seconds=0"],
    ) as market:
        yield market


def user_data(url: str, name: str) -> str:
    text = f"""#cloud-config
write_files:
  - path: /etc/scalar/agent.env
    permissions: "0600"
    content: |
      # of this node
      SCALAR_AGENT_API_URL={url}
      SCALAR_AGENT_JOIN_TOKEN="join-me"
      SCALAR_AGENT_NAME={name}
runcmd:
  - [false]
"""
    return base64.b64encode(text.encode()).decode()


def boot(market: SandboxMarket, url: str) -> str:
    pool = market.a_pool()
    start = int(market.now)
    body = {
        "pool": pool,
        "side": "buy",
        "instance_sku": H100,
        "allocation_schedule_delta": [{"start_at": start, "end_at": start + HOUR, "node_count": 1}],
        "limit_price_dollars_per_node_hour": "100.0",
    }
    market.preview("POST", "/orders", json=body)
    wanted = {
        "pool": pool,
        "image": "image_scalarubuntu",
        "instance_sku": H100,
        "cloud_init_user_data": user_data(url, "n1"),
    }
    return str(market.preview("POST", "/instances", json=wanted)["id"])


def agents(market: SandboxMarket, id: str) -> list[int]:
    """The processes that have this instance's state directory in their environment."""
    marker = f"SCALAR_AGENT_STATE_DIR={(market.data / 'machines' / id).resolve()}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def eventually(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _WITHIN_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return result


def test_an_instance_boots_its_agent_which_is_started_again_and_ends_with_it(
    market: SandboxMarket, doorman: Doorman
) -> None:
    instance = boot(market, doorman.url)
    bearer, said = eventually(lambda: doorman.knocks)[0]
    assert bearer == "Bearer join-me"
    node = said["facts"]
    assert (node["name"], node["cpus"], node["runtime"]) == ("n1", 3, "process")
    assert [gpu["type"] for gpu in node["gpus"]] == ["H100"] * 8
    logs = eventually(lambda: market.preview("GET", f"/instances/{instance}/logs")["data"])
    assert base64.b64decode(logs[0]["data"])
    assert not (market.data / "machines" / instance / "agent.log").read_bytes().count(b"join-me")

    (first,) = agents(market, instance)
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: [pid for pid in agents(market, instance) if pid != first])
    assert len(second) == 1

    market.preview("POST", f"/instances/{instance}/terminate")
    eventually(lambda: not agents(market, instance))


def test_a_machine_dies_with_the_sandbox_and_boots_again_with_it(market: SandboxMarket, doorman: Doorman) -> None:
    instance = boot(market, doorman.url)
    eventually(lambda: agents(market, instance))
    market.kill()
    eventually(lambda: not agents(market, instance))
    market.start()
    eventually(lambda: agents(market, instance))
    assert market.fault("dies")["instance"] == instance
    eventually(lambda: not agents(market, instance))
    assert market.preview("GET", f"/instances/{instance}")["status"] == "failed"


def test_user_data_is_read_as_cloud_init_would() -> None:
    assert agent_environment(user_data("http://api", "n7")) == {
        "SCALAR_AGENT_API_URL": "http://api",
        "SCALAR_AGENT_JOIN_TOKEN": "join-me",
        "SCALAR_AGENT_NAME": "n7",
    }
    content = base64.b64encode(b"A=1\n").decode()
    encoded = f"#cloud-config\nwrite_files: [{{path: /etc/scalar/agent.env, encoding: b64, content: {content}}}]"
    assert agent_environment(base64.b64encode(encoded.encode()).decode()) == {"A": "1"}


@pytest.mark.parametrize(
    "text", ["", "#!/bin/sh\ntrue", "#cloud-config\n[", "#cloud-config\nwrite_files: []", "#cloud-config\n- a"]
)
def test_user_data_without_an_agent_is_said_to_be_so(text: str) -> None:
    with pytest.raises(BadUserData):
        agent_environment(base64.b64encode(text.encode()).decode())
