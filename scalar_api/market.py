"""The one market client of an API process, and what its errors become for whoever asked us."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import SecretStr

from scalar.database import Database
from scalar.errors import Conflict, InvalidRequest, Unavailable
from scalar.market.call_log import CallLog
from scalar.market.desk import Desk
from scalar.market.errors import MarketNotAuthenticated, MarketRefused
from scalar.market.patience import Backoff, CircuitBreaker
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute

# Somebody waits for the answer: better to say soon that the market is away.
_SECONDS, _ATTEMPTS = 10.0, 2
_BACKOFF = Backoff(first=0.2, most=1.0, patience=2.0)


def open_desk(settings: MarketSettings, database: Database) -> Desk | None:
    """None where no market is configured. Close its `market`."""
    if settings.url is None:
        return None
    market = SfCompute(
        settings.url,
        lambda: _token(settings),
        observe=CallLog(database.transaction),
        timeout=_SECONDS,
        attempts=_ATTEMPTS,
        backoff=_BACKOFF,
        breaker=CircuitBreaker(),
    )
    return Desk(market=market, settings=settings, transact=database.transaction, clock=lambda: datetime.now(UTC))


@contextmanager
def answered() -> Iterator[None]:
    """Around what asks the market: its refusals, whose status and type are for us, become ours.

    Raises: `Conflict` with the market's words; `Unavailable` where it doesn't take our token.
    """
    try:
        yield
    except MarketNotAuthenticated as error:
        raise Unavailable("The market does not take the platform's token: an operator renews it.") from error
    except MarketRefused as error:
        raise Conflict(f"The market refuses: {error.message}") from error


def _token(settings: MarketSettings) -> SecretStr:
    try:
        return settings.read_token()
    except InvalidRequest as error:
        # Nothing is wrong with the request that we were sent.
        raise Unavailable(error.message) from error
