"""A stand-in for the API, agents as real processes, and the machine's Docker engine where one answers."""

import gc
import os
import signal
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.utils import kwargs_from_env
from stand_in_api import JOIN_TOKEN, StandInApi

REPOSITORY = Path(__file__).parents[2]


class AgentProcess:
    """`python -m node_agent`, with its log in a file."""

    def __init__(self, api: StandInApi, state_dir: Path, *, docker_host: str = "", **settings: str) -> None:
        self.state_dir = state_dir
        self.log_file = state_dir.with_suffix(".log")
        self._environment = {
            "PATH": os.environ["PATH"],
            "SCALAR_AGENT_API_URL": api.url,
            "SCALAR_AGENT_JOIN_TOKEN": JOIN_TOKEN,
            "SCALAR_AGENT_STATE_DIR": str(state_dir),
            "SCALAR_AGENT_GPUS": "2",
            "DOCKER_HOST": docker_host or os.environ.get("DOCKER_HOST", ""),
            **{f"SCALAR_AGENT_{name.upper()}": value for name, value in settings.items()},
        }
        self.start()

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node_agent"], cwd=REPOSITORY, env=self._environment, stderr=log
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def kill(self) -> None:
        """SIGKILL: no chance to clean up."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def api() -> Iterator[StandInApi]:
    stand_in = StandInApi()
    stand_in.start()
    yield stand_in
    stand_in.stop()
    for clean_up in stand_in.afterwards:
        clean_up()


@pytest.fixture
def run_id() -> str:
    """Another for each test: container names are unique on the engine."""
    return f"run-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def start_agent(api: StandInApi, tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Starts an agent with these settings; all of a test have the same state directory."""
    agents: list[AgentProcess] = []

    def start(**settings: str) -> AgentProcess:
        agents.append(AgentProcess(api, tmp_path / "agent", **settings))
        return agents[-1]

    yield start
    for agent in agents:
        agent.kill()


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.APIClient]:
    # docker-py leaves the socket open that it could not connect; here is where that is forgiven.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        client, problem = connect_to_docker()
        gc.collect()
    if client is None and os.environ.get("SCALAR_REQUIRE_DOCKER") == "1":
        pytest.fail(f"SCALAR_REQUIRE_DOCKER=1, but no engine with busybox:local answers: {problem}")
    if client is None:
        pytest.skip(f"no Docker engine with busybox:local answers: {problem}")
    yield client
    client.close()


def connect_to_docker() -> tuple[docker.APIClient | None, str]:
    """A client, or None and why there is none."""
    try:
        client = docker.APIClient(version="auto", timeout=30, **kwargs_from_env())
        client.inspect_image("busybox:local")
    except (docker.errors.DockerException, OSError) as error:
        return None, str(error)
    return client, ""


def remove_for_good(client: docker.APIClient, container_id: str) -> None:
    """The engine may still be at a removal that a killed agent asked for: that one will do."""
    try:
        client.remove_container(container_id, force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code not in {404, 409}:
            raise


@pytest.fixture
def node_id() -> str:
    return f"node-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def docker_engine(docker_client: docker.APIClient, api: StandInApi, node_id: str) -> docker.APIClient:
    """The real engine. What this test's nodes leave on it is removed after the last agent is gone."""

    def clean_up() -> None:
        for each in [node_id, *api.all_nodes]:
            for container in docker_client.containers(all=True, filters={"label": f"scalar.node_id={each}"}):
                remove_for_good(docker_client, container["Id"])

    api.afterwards.append(clean_up)
    return docker_client
