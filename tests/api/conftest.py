"""A real API server over a real database, and clients of it by role."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn

from scalar.accounts import store as accounts
from scalar.accounts.keys import Role, new_key
from scalar.capacity.placing import run_pass
from scalar.database import Database
from scalar.jobs import life, store
from scalar.jobs.model import JobRun
from scalar.market.call_log import CallLog
from scalar.market.desk import Desk
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute
from scalar.settings import Settings
from scalar.tls import trusted
from scalar_api.app import create_app
from tests.api.calls import NodeAgent, a_body
from tests.api.trading import Trading
from tests.conftest import a_copy
from tests.made_up import a_key, facts
from tests.sandbox_process import SandboxMarket

_numbers = itertools.count(1)


class Api:
    """A running server. Every client that it hands out is closed with it."""

    def __init__(self, url: str, database_url: str, database: Database, open_: ExitStack) -> None:
        self.url = url
        self.database_url = database_url
        self.database = database
        self._open = open_

    def client(self, secret: str | None = None, **options: Any) -> httpx.Client:
        """One that sends this key, or none."""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=trusted(), **options)
        return self._open.enter_context(client)

    def customer(self, organisation: str | None = None) -> httpx.Client:
        """One with a new key of an organisation, a new one if none is named."""
        name = organisation or f"org-{next(_numbers)}"
        with self.database.transaction() as tx:
            org = accounts.organisation_named(tx, name) or accounts.create_organisation(tx, name)
            key, _ = a_key(tx, organisation_id=org.id)
        return self.client(key.secret)

    def operator(self) -> httpx.Client:
        with self.database.transaction() as tx:
            key, _ = a_key(tx, Role.OPERATOR)
        return self.client(key.secret)

    def node(self, name: str | None = None, gpus: int = 8, **changes: Any) -> NodeAgent:
        """A machine that has joined over HTTP."""
        token = self.operator().post("/v1/join-tokens", json={}).raise_for_status().json()["token"]
        body = {"facts": facts(name or f"node-{next(_numbers)}", gpus, **changes).model_dump(mode="json")}
        reply = self.client(token).post("/v1/nodes/join", json=body).raise_for_status().json()
        return NodeAgent(reply["node_id"], self.client(reply["credential"]))

    def launch(self, job_id: str) -> JobRun:
        """Have the job placed, if it isn't, and claimed by a Dagster run."""
        now = datetime.now(UTC)
        with self.database.transaction() as tx:
            run_pass(tx, now)
            run = store.runs_of_job(tx, job_id)[-1]
            assert life.launch(tx, run.id, str(uuid4()), now)
            launched = store.run(tx, run.id)
        assert launched is not None
        return launched

    def launched(self, customer: httpx.Client, **body: Any) -> tuple[str, JobRun]:
        """A job's id and its run, once both are on their way to a node."""
        job_id = customer.post("/v1/jobs", json=a_body(**body)).raise_for_status().json()["id"]
        return job_id, self.launch(job_id)

    def expired_key(self) -> str:
        with self.database.transaction() as tx:
            org = accounts.create_organisation(tx, f"org-{next(_numbers)}")
            key, long_ago = new_key(Role.CUSTOMER), datetime(2020, 1, 1, tzinfo=UTC)
            accounts.create_key(tx, key, Role.CUSTOMER, name="old", organisation_id=org.id, expires_at=long_ago)
        return key.secret


@contextmanager
def serving(database_url: str, market: MarketSettings | None = None, **options: Any) -> Iterator[str]:
    """The URL of a server over this database; it has no market unless it is given one."""
    settings = Settings(_env_file=None, database_url=database_url, dagster_url=None, **options)
    app = create_app(settings, market or MarketSettings(_env_file=None, url=None))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="api under test")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def an_api(database_url: str, market: MarketSettings | None = None) -> Iterator[Api]:
    with Database(database_url) as database, serving(database_url, market) as url, ExitStack() as open_:
        yield Api(url, database_url, database, open_)


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """A server of the test's own."""
    with an_api(database_url) as api:
        yield api


@pytest.fixture(scope="module")
def shared_api(postgres: str, template: str) -> Iterator[Api]:
    """A server for tests that don't mind each other: a table of requests that change nothing, mostly."""
    with a_copy(postgres, template) as url, an_api(url) as api:
        yield api


@pytest.fixture
def customer(api: Api) -> httpx.Client:
    return api.customer()


@pytest.fixture
def node(api: Api) -> NodeAgent:
    """A node of eight GPUs."""
    return api.node()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    """A market in real time, with traders and without machines; each test has a pool of its own there."""
    with SandboxMarket(tmp_path_factory.mktemp("market") / "data", clock="real", start=None) as market:
        yield market


@pytest.fixture
def trading(database_url: str, sandbox: SandboxMarket) -> Iterator[Trading]:
    """A server with a market."""
    sandbox.no_faults()
    # Quoted anew, with enough at the best price: what earlier tests bought would have an order filled in stretches.
    sandbox.call("PATCH", "/sandbox/traders", json={"supply": 4})
    settings = MarketSettings(
        _env_file=None, url=sandbox.url, token_file=sandbox.token_file, pool=f"pool-{next(_numbers)}"
    )
    with (
        an_api(database_url, settings) as api,
        SfCompute(sandbox.url, settings.read_token, observe=CallLog(api.database.transaction)) as market,
    ):
        desk = Desk(
            market=market,
            settings=settings,
            transact=api.database.transaction,
            clock=lambda: datetime.now(UTC),
        )
        yield Trading(api, desk, sandbox)
    sandbox.no_faults()
