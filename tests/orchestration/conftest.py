"""Dagster in this very process: definitions against a real database, and an instance as `dagster.yaml` describes it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import psycopg
import pytest
import yaml

from scalar.settings import settings
from scalar_orchestration.resources import PostgresResource, shared_database

ROOT = Path(__file__).parents[2]


@pytest.fixture
def resource(database_url: str) -> Iterator[PostgresResource]:
    """The resource of the definitions, over a database with every migration and no row."""
    yield PostgresResource(url=database_url)
    shared_database(database_url).close()
    shared_database.cache_clear()


@pytest.fixture
def instance_of(
    resource: PostgresResource, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., dg.DagsterInstance]]:
    """Makes the instance of `dagster.yaml`, with some values changed: `run_launcher={"asset_runs": "docker"}`."""
    monkeypatch.setenv("SCALAR_DATABASE_URL", resource.url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", _for_sqlalchemy(empty_database_url))
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


def _for_sqlalchemy(conninfo: str) -> str:
    of = psycopg.conninfo.conninfo_to_dict(conninfo)
    login = quote(str(of["user"])) + (f":{quote(str(of['password']))}" if "password" in of else "")
    query = f"?host={quote(str(of['host']))}" + (f"&port={of['port']}" if "port" in of else "")
    return f"postgresql+psycopg2://{login}@/{of['dbname']}{query}"
