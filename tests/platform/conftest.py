"""One platform for the session, every service of it a real process; and the machine's Docker engine."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from outside import Customer, Dagster, Engine, World, eventually

from scalar.capacity import fleet
from scalar.database import Database
from scalar.metering.model import HOUR, hour_of
from scalar_api.up.platform import Options, Platform
from scalar_api.up.ports import free_port
from tests import made_up


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        client = docker.APIClient(version="auto", timeout=30)
        client.ping()
        client.inspect_image("busybox:local")
    except (docker.errors.DockerException, OSError) as error:
        if os.environ.get("SCALAR_REQUIRE_DOCKER") == "1":
            pytest.fail(f"SCALAR_REQUIRE_DOCKER=1, but no engine with busybox:local answers: {error}")
        pytest.skip(f"no Docker engine with busybox:local answers: {error}")
    engine = Engine(client)
    yield engine
    engine.close()
    client.close()


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="scalar-"))
    yield folder / "d"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def start_world(engine: Engine) -> Callable[..., Any]:
    """`with start_world(**options) as world:` is a platform of one's own."""

    @contextmanager
    def start(**options: Any) -> Iterator[World]:
        folder = Path(tempfile.mkdtemp(prefix="scalar-"))
        restarts: list[str] = []
        platform = Platform(
            Options(
                data=folder / "d",
                api_port=free_port(),
                dagster_port=free_port(),
                runtime="docker",
                node_name=f"test-{uuid.uuid4().hex[:8]}",
                **options,
            ),
            progress=lambda _: None,
            restarted=lambda name, _: restarts.append(name),
        )
        try:
            platform.start()
            keys = platform.credentials
            customer = Customer(platform.api_url, keys.customer_key)
            operator = Customer(platform.api_url, keys.operator_key)
            dagster = Dagster(platform.dagster_url)
            world = World(platform, customer, operator, dagster, engine, restarts)
            node_id = world.node["id"]
            yield world
            for each in (customer, operator, dagster):
                each.close()
        finally:
            platform.stop()
        assert engine.left_of(node_id) == []
        shutil.rmtree(folder, ignore_errors=True)

    return start


@pytest.fixture(scope="session")
def world(start_world: Callable[..., Any]) -> Iterator[World]:
    """The one that most tests share: 8 declared GPUs, the nudge on, and some usage in the last whole hour."""
    with start_world() as world:
        use_gpus_in(world, hour_of(datetime.now(UTC)) - HOUR)
        yield world


@pytest.fixture(scope="session")
def metered_hour(world: World) -> datetime:
    """The hour in which the world's runs used GPUs, once the `usage_hours` sensor has had it built."""

    def look() -> list[dict[str, Any]]:
        return world.dagster.materializations("hourly_usage")

    *_, built = eventually(look, within_seconds=100, what="usage_hours has had the hour built")
    world.dagster.finished(built["runId"])
    return datetime.strptime(built["partition"], "%Y-%m-%d-%H:%M").replace(tzinfo=UTC)


def use_gpus_in(world: World, hour: datetime) -> None:
    """Two customers' runs of ten minutes, on 8 and on 2 GPUs of a node that has gone since."""
    with Database(world.platform.database_url) as database, database.transaction() as tx:
        node = made_up.a_node(tx, "earlier", now=hour + HOUR)
        for name, gpus, minutes in (("acme", 8, 12), ("globex", 2, 40)):
            # Of the node's own type, so that it isn't placed on the one that is real.
            job = made_up.a_job_of(tx, made_up.a_customer(tx, name), now=hour, gpus=gpus, gpu_type="H100")
            run = made_up.launch(tx, job.id, now=hour + timedelta(minutes=minutes))
            started_at = run.placed_at + timedelta(seconds=1)
            made_up.told(tx, run, made_up.running(run, at=started_at))
            ended_at = started_at + timedelta(minutes=10)
            made_up.told(tx, run, made_up.ended(run, started_at=started_at, at=ended_at))
        fleet.mark_gone(tx, node.id, "test", datetime.now(UTC))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """A failure is shown with the end of each service's log."""
    report = yield
    shared = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.failed and shared is not None:
        for name, process in shared.platform.processes.items():
            report.sections.append((f"end of {name}'s log", process.last_words(30)))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts services."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.platform)
            # Whatever waits in a test has its own deadline; a machine that is busy otherwise starts services slowly.
            item.add_marker(pytest.mark.timeout(400))
            if "engine" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.docker)
