"""Scalar's Postgres and its market, as Dagster resources."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import dagster as dg

from scalar.database import Database, Transaction
from scalar.market.call_log import CallLog
from scalar.market.desk import Desk
from scalar.market.patience import CircuitBreaker
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute
from scalar_orchestration.clock import utc_now


class PostgresResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`with database.transaction() as tx:` is all there is to it."""

    url: str

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with shared_database(self.url).transaction() as tx:
            yield tx


class MarketResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The market of the settings (`SCALAR_MARKET_*`)."""

    url: str | None
    """None: there is no market."""

    def desk(self, database: PostgresResource) -> Desk:
        """Raises: `dg.Failure` where no market is configured."""
        if self.url is None:
            raise dg.Failure(NO_MARKET, allow_retries=False)
        return Desk(
            market=_shared_market(self.url, database.url),
            settings=self.settings,
            transact=database.transaction,
            clock=utc_now,
        )

    @property
    def settings(self) -> MarketSettings:
        return _settings()

    @property
    def configured(self) -> bool:
        return self.url is not None


NO_MARKET = "No market is configured: set SCALAR_MARKET_URL and SCALAR_MARKET_TOKEN_FILE."


@cache
def shared_database(url: str) -> Database:
    """One small pool a process and URL: sensors tick every few seconds, and each would open its own."""
    return Database(url, max_connections=4, application="scalar-dagster")


@cache
def _settings() -> MarketSettings:
    return MarketSettings()


@cache
def _shared_market(url: str, database_url: str) -> SfCompute:
    """One client a process: its connections stay open, and its circuit breaker remembers."""
    return SfCompute(
        url,
        _settings().read_token,
        observe=CallLog(shared_database(database_url).transaction),
        breaker=CircuitBreaker(),
    )
