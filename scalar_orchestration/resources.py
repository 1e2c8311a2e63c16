"""Scalar's Postgres, as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import dagster as dg

from scalar.database import Database, Transaction


class PostgresResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`with database.transaction() as tx:` is all there is to it."""

    url: str

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with shared_database(self.url).transaction() as tx:
            yield tx


@cache
def shared_database(url: str) -> Database:
    """One small pool a process and URL: sensors tick every few seconds, and each would open its own."""
    return Database(url, max_connections=4, application="scalar-dagster")
