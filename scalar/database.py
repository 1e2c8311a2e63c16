"""Postgres: short transactions, advisory locks that end with them, and notifications.

Everything but `Listener` works behind a transaction pooler (pgbouncer, Supabase's): no prepared statements, no session
state. A `Listener` has its own direct connection; what waits on one must also poll, since notifications can be lost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Self

import psycopg
import structlog
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.rows import DictRow, dict_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg_pool import ConnectionPool, PoolTimeout

from scalar.errors import Unavailable

Transaction = psycopg.Connection[DictRow]
"""A connection inside a transaction: the first argument of everything in a `store` module. Rows are dicts."""

log = structlog.get_logger(__name__)


_LOCAL = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT) or TimestamptzLoader


class _InUtc(Loader):
    """Moments in UTC, whatever zone the server is set to: Python subtracts two of one local zone by their clocks, and
    is off by an hour where those change in between.
    """

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._local = _LOCAL(oid, context)

    def load(self, data: Buffer) -> datetime:
        moment: datetime = self._local.load(data)
        return moment.astimezone(UTC)


_ADAPTERS = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_loader("timestamptz", _InUtc)


class Lock(IntEnum):
    """Keys of the transaction-level advisory locks, all of them, so that none is used twice."""

    MIGRATIONS = 7201
    SCHEDULING_PASS = 7202
    BOOTSTRAP = 7203
    MARKET_ORDERS = 7204
    USAGE_EVENTS = 7205
    MARKET_SEATS = 7206


class Channel:
    """Names of the notification channels and what their payload is."""

    NODES = "scalar_nodes"
    """A node's id: its desired state has changed."""
    RUNS = "scalar_runs"
    """A job's id: a run of it has come, gone on or ended."""
    LOGS = "scalar_logs"
    """A run's id: output has arrived."""
    QUEUE = "scalar_queue"
    """A job's id: a scheduling pass might find something to do."""
    MARKET = "scalar_market"
    """An order's id: there is something to send, cancel or follow."""


class Database:
    """A pool of connections to one database. Close it, or use it as a context manager."""

    def __init__(self, url: str, *, max_connections: int = 8, application: str = "scalar") -> None:
        self._pool = ConnectionPool(
            url,
            min_size=0,
            max_size=max_connections,
            max_idle=60,
            open=True,
            timeout=10,
            check=ConnectionPool.check_connection,
            kwargs={
                "row_factory": dict_row,
                "prepare_threshold": None,
                "application_name": application,
                "connect_timeout": 5,
                "context": _ADAPTERS,
            },
            connection_class=psycopg.Connection[DictRow],
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commits at the end of the block, or rolls back if it raises.

        Raises: `Unavailable` where Postgres can't be reached.
        """
        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            if not _is_outage(error):
                raise
            log.warning("database.unavailable", error=type(error).__name__)
            raise Unavailable("The database does not answer. Try again in a moment.") from error

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_outage(error: psycopg.OperationalError) -> bool:
    """No SQLSTATE: the connection was lost. 08, 53, 57P: refused, out of resources, shutting down."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "53", "57P"))


def lock(tx: Transaction, key: Lock, *, shared: bool = False) -> None:
    """Wait for an advisory lock; it is held until the transaction ends."""
    suffix = "_shared" if shared else ""
    tx.execute(f"select pg_advisory_xact_lock{suffix}(%s)", [int(key)])


def notify(tx: Transaction, channel: str, payload: str) -> None:
    """Tell listeners, once this transaction has committed."""
    tx.execute("select pg_notify(%s, %s)", [channel, payload])


def one(tx: Transaction, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> DictRow:
    """The one row of a query that always has one."""
    row = tx.execute(query, parameters).fetchone()
    if row is None:
        raise LookupError("a query that always has a row had none")
    return row


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Of many rows, for `unnest(%b::…[], …)`: one statement for all. Binary ones take a third of the time to write."""
    return [list(column) for column in zip(*rows, strict=True)]


class Listener:
    """Notifications of some channels, on a direct connection of its own."""

    def __init__(self, url: str, *channels: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="scalar-listener")
        for channel in channels:
            self._connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(channel)))

    def payloads(self, timeout: float) -> list[str]:
        """What has been notified, after at most `timeout` seconds; empty if nothing was.

        Raises: `psycopg.OperationalError` where the connection is gone.
        """
        return [note.payload for note in self._connection.notifies(timeout=timeout, stop_after=1)]

    def close(self) -> None:
        self._connection.close()
