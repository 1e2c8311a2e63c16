"""What the platform on one machine consists of, and in which order it starts and stops.

    Postgres ─► migrations ─► keys ─► code server, Stripe's stand-in ─► API, webserver, daemon ─► market | node agent

With the sandbox market there is no node at first: the platform buys one, and the market starts its agent. It stops the
other way round: first what would start jobs, then the agents, whose last reports the API still takes.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from scalar.database import Database
from scalar.migrations import migrate
from scalar.tls import trusted
from scalar_api.up import bootstrap
from scalar_api.up.errors import UpError
from scalar_api.up.folder import Credentials, DataFolder
from scalar_api.up.ports import answers, free_port, refuse_taken
from scalar_api.up.postgres import EmbeddedPostgres
from scalar_api.up.process import Process, Service

_DAGSTER_SCHEMA = "dagster"
_STOP_FIRST = ("daemon", "webserver", "code-server")
"""Before the API and the market: the code server evaluates sensors, and one that asks what is gone is waited for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Path
    api_port: int = 8000
    dagster_port: int = 3000
    gpus: int = 8
    gpu_type: str = "declared"
    database_url: str | None = None
    """None: the embedded server."""
    market: bool = False
    """Buy nodes on a sandbox market; else this machine is a node."""
    nudge: bool = True
    runtime: str = "auto"
    node_name: str = "local"
    extra_env: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Step:
    """One line of progress."""

    name: str
    detail: str = ""


class Platform:
    """Start it, use it, stop it. `progress` is told each step as it begins, `restarted` each service that died.

    With its exit code, where it was a child.
    """

    def __init__(
        self, options: Options, progress: Callable[[Step], None], restarted: Callable[[str, int | None], None]
    ) -> None:
        self.options = options
        self.folder = DataFolder(options.data)
        self.processes: dict[str, Process] = {}
        self._progress = progress
        self._restarted = restarted
        self._postgres: EmbeddedPostgres | None = None
        self._credentials: Credentials | None = None
        self._database_url = ""
        self._market_port = 0
        self._stripe_port = 0

    @property
    def market_url(self) -> str:
        return f"http://127.0.0.1:{self._market_port}"

    @property
    def _stripe_url(self) -> str:
        return f"http://127.0.0.1:{self._stripe_port}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.options.api_port}"

    @property
    def dagster_url(self) -> str:
        return f"http://127.0.0.1:{self.options.dagster_port}"

    @property
    def database_url(self) -> str:
        return self._database_url

    @property
    def credentials(self) -> Credentials:
        if self._credentials is None:
            raise RuntimeError("the platform was not started")
        return self._credentials

    def start(self) -> None:
        """Raises: `UpError` with what to do about it."""
        refuse_taken(self.options.api_port, "the API", "--api-port")
        refuse_taken(self.options.dagster_port, "Dagster's webserver", "--dagster-port")
        self.folder.open()
        self._market_port = free_port()
        self._stripe_port = free_port()
        self._start_postgres()
        token = self._prepare_database()
        code_port = free_port()
        self._write_dagster_home(code_port)
        market = [self._market()] if self.options.market else []
        self._launch([self._code_server(code_port), self._api(), *market, self._stripe()])
        self._wait_for("api")
        if self.options.market:
            self._wait_for("market")
            self._buy_first_node()
        self._wait_for("stripe", "code-server")
        late = [self._webserver(), self._daemon(), *([] if self.options.market else [self._agent(token)])]
        self._launch(late)
        self._wait_for(*(service.name for service in late))

    def stop(self) -> None:
        """Everything that was started; first what would start jobs, then the newest first."""
        newest_first = [*reversed(self.processes.values())]
        for process in sorted(newest_first, key=lambda each: each.service.name not in _STOP_FIRST):
            self._progress(Step("stopping", process.service.name))
            process.stop()
        if self._postgres is not None:
            self._progress(Step("stopping", "postgres"))
            self._postgres.stop()
        self.folder.close()

    def _start_postgres(self) -> None:
        if self.options.database_url is None:
            self._progress(Step("postgres", f"embedded, data in {self.folder.postgres}"))
            self._postgres = EmbeddedPostgres(self.folder.postgres, lambda: self._restarted("postgres", None))
            self._database_url = self._postgres.url("scalar")
        else:
            self._progress(Step("postgres", "the one that you named"))
            self._database_url = self.options.database_url

    def _prepare_database(self) -> str:
        with Database(self._database_url, application="scalar-up") as database:
            applied = migrate(database)
            if self._postgres is None:
                with database.transaction() as tx:
                    tx.execute(f"create schema if not exists {_DAGSTER_SCHEMA}")
            if not (self.folder.agent / "credential.json").exists():
                bootstrap.forget_node(database, self.options.node_name)
            self._progress(Step("migrations", f"{len(applied)} applied" if applied else "up to date"))
            self._credentials = bootstrap.ensure_credentials(database, self.folder, self.api_url)
            return bootstrap.join_token(database)

    def _write_dagster_home(self, code_port: int) -> None:
        home = self.folder.dagster_home
        shutil.copyfile(_dagster_yaml(), home / "dagster.yaml")
        (home / "workspace.yaml").write_text(
            "load_from:\n  - grpc_server:\n      host: 127.0.0.1\n"
            f"      port: {code_port}\n      location_name: scalar\n"
        )

    def _launch(self, services: list[Service]) -> None:
        for service in services:
            process = Process(service, self.folder.logs / f"{service.name}.log", self._restarted)
            self.processes[service.name] = process
            process.start()

    def _wait_for(self, *names: str) -> None:
        for name in names:
            self._progress(Step(name))
            self.processes[name].wait_ready()

    def _buy_first_node(self) -> None:
        """The market sells from the next whole minute on: that is awaited while Dagster starts."""
        buyer = subprocess.run(
            [sys.executable, "-m", "scalar_api.up.first_purchase"],
            env=self._env(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        (self.folder.logs / "first-purchase.log").write_text(buyer.stdout + buyer.stderr)
        for line in buyer.stdout.splitlines():
            self._progress(Step("plan", line))

    def _code_server(self, port: int) -> Service:
        module = ["-m", "scalar_orchestration.definitions", "--location-name", "scalar"]
        argv = [_bin("dagster"), "api", "grpc", *module, "--host", "127.0.0.1", "--port", str(port)]
        return Service(name="code-server", argv=argv, env=self._dagster_env(), ready=lambda: answers(port))

    def _webserver(self) -> Service:
        argv = [_bin("dagster-webserver"), "--host", "127.0.0.1", "--port", str(self.options.dagster_port)]
        return Service(
            name="webserver",
            argv=[*argv, "-w", str(self.folder.dagster_home / "workspace.yaml"), "--log-level", "warning"],
            env=self._dagster_env(),
            ready=lambda: is_up(f"{self.dagster_url}/server_info"),
        )

    def _daemon(self) -> Service:
        argv = [_bin("dagster-daemon"), "run", "-w", str(self.folder.dagster_home / "workspace.yaml")]
        return Service(name="daemon", argv=argv, env=self._dagster_env(), ready=lambda: True)

    def _api(self) -> Service:
        env = self._env()
        if self.options.nudge:
            env["SCALAR_DAGSTER_URL"] = self.dagster_url
        argv = [sys.executable, "-m", "scalar_api", "--port", str(self.options.api_port)]
        return Service(name="api", argv=argv, env=env, ready=lambda: is_up(f"{self.api_url}/readyz"))

    def _agent(self, token: str) -> Service:
        env = {
            **inherited(),
            "SCALAR_AGENT_API_URL": self.api_url,
            "SCALAR_AGENT_JOIN_TOKEN": token,
            "SCALAR_AGENT_STATE_DIR": str(self.folder.agent),
            "SCALAR_AGENT_NAME": self.options.node_name,
            "SCALAR_AGENT_RUNTIME": self.options.runtime,
            "SCALAR_AGENT_GPUS": str(self.options.gpus),
            "SCALAR_AGENT_GPU_TYPE": self.options.gpu_type,
            "SCALAR_AGENT_ON_EXIT": "stop",
            **(self.options.extra_env or {}),
        }
        argv = [sys.executable, "-m", "node_agent"]
        return Service(name="node-agent", argv=argv, env=env, ready=self._node_has_joined, stop_within=25)

    def _market(self) -> Service:
        folder = self.folder.market
        argv = [sys.executable, "-m", "sandbox.market", "--data", str(folder), "--port", str(self._market_port)]
        return Service(
            name="market",
            # The port of the API may be another than when a machine was bought.
            argv=[*argv, "--machine-runtime", self.options.runtime, "--machine-api", self.api_url],
            env={**inherited(), **(self.options.extra_env or {})},
            ready=lambda: is_up(f"{self.market_url}/sandbox/clock"),
            stop_within=30,
        )

    def _stripe(self) -> Service:
        argv = [sys.executable, "-m", "sandbox.stripe", "--data", str(self.folder.stripe)]
        webhook = f"{self.api_url}/v1/stripe/webhook"
        return Service(
            name="stripe",
            argv=[*argv, "--port", str(self._stripe_port), "--webhook-url", webhook],
            env=inherited(),
            ready=lambda: is_up(f"{self._stripe_url}/sandbox/v1/clock"),
        )

    def _node_has_joined(self) -> bool:
        headers = {"Authorization": f"Bearer {self.credentials.operator_key}"}
        try:
            nodes = httpx.get(f"{self.api_url}/v1/nodes", headers=headers, timeout=5, verify=trusted()).json()["data"]
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        return any(node["name"] == self.options.node_name and not node["silent"] for node in nodes)

    def _env(self) -> dict[str, str]:
        return {
            **inherited(),
            "SCALAR_DATABASE_URL": self._database_url,
            "SCALAR_DAGSTER_PUBLIC_URL": self.dagster_url,
            # On one machine whoever listens for webhooks is on it too.
            "SCALAR_WEBHOOKS_ALLOW_PRIVATE": "true",
            "SCALAR_STRIPE_API_BASE": self._stripe_url,
            "SCALAR_STRIPE_API_KEY_FILE": str(self.folder.stripe / "key"),
            "SCALAR_STRIPE_WEBHOOK_SECRET_FILE": str(self.folder.stripe / "webhook_secret"),
            **(self._market_env() if self.options.market else {}),
            **(self.options.extra_env or {}),
        }

    def _market_env(self) -> dict[str, str]:
        """It is play money, so plans are carried out; and a machine of it may run jobs as plain processes."""
        return {
            "SCALAR_MARKET_URL": self.market_url,
            "SCALAR_MARKET_TOKEN_FILE": str(self.folder.market / "token"),
            "SCALAR_MARKET_AGENT_API_URL": self.api_url,
            "SCALAR_MARKET_PROCESS_RUNTIME": "true",
            "SCALAR_MARKET_DRY_RUN": "false",
            "SCALAR_PLAN_FAST_BUFFER_GPUS": '{"H100": 8}',
            "SCALAR_PLAN_BOOT_MINUTES": "1",
        }

    def _dagster_env(self) -> dict[str, str]:
        dagster = self._postgres.url("dagster") if self._postgres else _in_schema(self._database_url, _DAGSTER_SCHEMA)
        scheme, _, rest = dagster.partition("://")
        return {
            **self._env(),
            "DAGSTER_HOME": str(self.folder.dagster_home),
            "DAGSTER_POSTGRES_URL": f"{scheme.partition('+')[0]}+psycopg2://{rest}",
            "DAGSTER_COMPUTE_LOG_DIR": str(self.folder.root / "asset-logs"),
            "PYTHONWARNINGS": "ignore",
        }


def _in_schema(url: str, schema: str) -> str:
    """The same database, with tables of their own: both have a table named `jobs`."""
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"


def inherited() -> dict[str, str]:
    """The environment, less settings that were meant for another Scalar or Dagster."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SCALAR_", "DAGSTER_"))}


def _dagster_yaml() -> Path:
    """Beside this file in a wheel, at the top level in a checkout."""
    inside = Path(__file__).parent / "dagster.yaml"
    return inside if inside.exists() else Path(__file__).parents[2] / "dagster.yaml"


def _bin(name: str) -> str:
    """A command of this very environment."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise UpError(f"{name} is not installed beside {sys.executable}: pip install 'scalar-platform[local]'.")
    return str(path)


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, verify=trusted()).is_success
    except httpx.HTTPError:
        return False
