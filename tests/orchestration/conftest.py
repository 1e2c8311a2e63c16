"""Dagster in this very process: definitions against a real database, and an instance as `dagster.yaml` describes it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import psycopg
import pytest
import yaml

from scalar.settings import settings
from scalar_orchestration import resources
from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import MarketResource, PostgresResource, shared_database
from tests.conftest import a_copy
from tests.sandbox_process import SandboxMarket

ROOT = Path(__file__).parents[2]


@pytest.fixture
def resource(database_url: str) -> Iterator[PostgresResource]:
    """The resource of the definitions, over a database with every migration and no row."""
    yield PostgresResource(url=database_url)
    shared_database(database_url).close()
    shared_database.cache_clear()


@pytest.fixture(scope="session")
def dagsters_template(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with Dagster's tables, which it makes where there are none."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster.yaml", home)
    with a_copy(postgres, "template0") as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAGSTER_POSTGRES_URL", _for_sqlalchemy(url))
            patch.setenv("DAGSTER_COMPUTE_LOG_DIR", str(home / "logs"))
            with dg.DagsterInstance.from_config(str(home)) as instance:
                assert instance.get_runs() == []
        name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
        # Dagster's connections are closed when they are collected, and one that is open keeps a template from use.
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        yield name


@pytest.fixture
def dagsters_url(postgres: str, dagsters_template: str) -> Iterator[str]:
    with a_copy(postgres, dagsters_template) as url:
        yield url


@pytest.fixture
def instance_of(
    resource: PostgresResource, dagsters_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., dg.DagsterInstance]]:
    """Makes the instance of `dagster.yaml`, with some values changed: `run_launcher={"asset_runs": "docker"}`."""
    monkeypatch.setenv("SCALAR_DATABASE_URL", resource.url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", _for_sqlalchemy(dagsters_url))
    monkeypatch.setenv("DAGSTER_COMPUTE_LOG_DIR", str(tmp_path / "logs"))
    settings.cache_clear()
    with ExitStack() as made:

        def make(**changes: dict[str, Any]) -> dg.DagsterInstance:
            home = tmp_path / f"home-{len(list(tmp_path.iterdir()))}"
            home.mkdir()
            shutil.copy(ROOT / "dagster.yaml", home)
            if changes:
                config = yaml.safe_load((home / "dagster.yaml").read_text())
                for part, values in changes.items():
                    config[part]["config"].update(values)
                (home / "dagster.yaml").write_text(yaml.safe_dump(config))
            return made.enter_context(dg.DagsterInstance.from_config(str(home)))

        yield make
    settings.cache_clear()


@pytest.fixture
def instance(instance_of: Callable[..., dg.DagsterInstance]) -> dg.DagsterInstance:
    return instance_of()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    """A market whose clock is ours, and in which others have traded for two days."""
    start = (utc_now() - timedelta(days=2)).strftime("%Y-%m-%dT%H:%MZ")
    with SandboxMarket(Path(tmp_path_factory.mktemp("market")), start=start) as running:
        running.advance(2 * 86_400)
        yield running


@pytest.fixture
def market(
    monkeypatch: pytest.MonkeyPatch, sandbox: SandboxMarket, resource: PostgresResource
) -> Iterator[MarketResource]:
    monkeypatch.setenv("SCALAR_MARKET_URL", sandbox.url)
    monkeypatch.setenv("SCALAR_MARKET_TOKEN_FILE", str(sandbox.token_file))
    monkeypatch.setenv("SCALAR_MARKET_DRY_RUN", "false")
    forget_settings()
    market = MarketResource(url=sandbox.url)
    yield market
    market.desk(resource).market.close()
    resources._shared_market.cache_clear()
    forget_settings()


@pytest.fixture
def no_market() -> MarketResource:
    return MarketResource(url=None)


def forget_settings() -> None:
    resources._settings.cache_clear()


def materialized(resource, market: MarketResource, *assets, **how) -> dg.ExecuteInProcessResult:
    return dg.materialize([*assets], resources={"database": resource, "market": market}, raise_on_error=False, **how)


def _for_sqlalchemy(conninfo: str) -> str:
    of = psycopg.conninfo.conninfo_to_dict(conninfo)
    login = quote(str(of["user"])) + (f":{quote(str(of['password']))}" if "password" in of else "")
    query = f"?host={quote(str(of['host']))}" + (f"&port={of['port']}" if "port" in of else "")
    return f"postgresql+psycopg2://{login}@/{of['dbname']}{query}"
