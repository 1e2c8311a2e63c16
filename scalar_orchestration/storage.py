"""Dagster's storage in Postgres, with its connections kept open.

`DagsterPostgresStorage` opens a connection for every statement, and asks the catalogue for the columns of `runs` at
each read and write of a run: most of what a launch costs (docs/performance.md). Here each storage has a small pool, and
a column that was there once stays there.
"""

from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import create_pg_engine, pg_url_from_config
from sqlalchemy import Engine

_KEPT, _MORE, _RECYCLE_SECONDS = 3, 20, 3600


class PooledPostgresStorage(DagsterPostgresStorage):
    """Configured as its parent is: `postgres_url`, or `postgres_db`."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(postgres_url, inst_data=inst_data)
        self._run_storage = _RunStorage(postgres_url)
        self._event_log_storage = _EventLogStorage(postgres_url)
        self._schedule_storage = _ScheduleStorage(postgres_url)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage.optimize_for_webserver()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(pg_url_from_config(config_value), inst_data)


class _RunStorage(PostgresRunStorage):
    _has_stats: bool = False
    _has_backfill: bool = False

    def optimize_for_webserver(self, *_: int, **__: int) -> None:
        self._engine = _pooled(self.postgres_url)

    def has_run_stats_index_cols(self) -> bool:
        self._has_stats = self._has_stats or super().has_run_stats_index_cols()
        return self._has_stats

    def has_backfill_id_column(self) -> bool:
        self._has_backfill = self._has_backfill or super().has_backfill_id_column()
        return self._has_backfill


class _EventLogStorage(PostgresEventLogStorage):
    def optimize_for_webserver(self, *_: int, **__: int) -> None:
        self._engine = _pooled(self.postgres_url)


class _ScheduleStorage(PostgresScheduleStorage):
    def optimize_for_webserver(self, *_: int, **__: int) -> None:
        self._engine = _pooled(self.postgres_url)


def _pooled(url: str) -> Engine:
    engine: Engine = create_pg_engine(
        url,
        None,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT,
        max_overflow=_MORE,
        pool_recycle=_RECYCLE_SECONDS,
        pool_pre_ping=True,
    )
    return engine
