"""What routes ask for: the database, the time, and who is calling."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from scalar.accounts.keys import Role, key_hash, looks_like_a_key
from scalar.accounts.model import Principal
from scalar.accounts.store import principal
from scalar.database import Database
from scalar.errors import Conflict, Forbidden, NotAuthenticated
from scalar.market.desk import Desk
from scalar.market.settings import MarketSettings
from scalar.settings import Settings
from scalar_api.notifications import Notifications

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`Authorization: Bearer sk_…`")


def _database(request: Request) -> Database:
    return request.app.state.database  # type: ignore[no-any-return]


def _notifications(request: Request) -> Notifications:
    return request.app.state.notifications  # type: ignore[no-any-return]


def _settings(request: Request) -> Settings:
    return request.app.state.settings  # type: ignore[no-any-return]


def _market(request: Request) -> MarketSettings:
    return request.app.state.market_settings  # type: ignore[no-any-return]


def _open_market(request: Request) -> Desk | None:
    return request.app.state.market  # type: ignore[no-any-return]


def _desk(market: Annotated[Desk | None, Depends(_open_market)]) -> Desk:
    if market is None:
        raise Conflict("No market is configured: set SCALAR_MARKET_URL and SCALAR_MARKET_TOKEN_FILE.")
    return market


def _now() -> datetime:
    return datetime.now(UTC)


Db = Annotated[Database, Depends(_database)]
Hub = Annotated[Notifications, Depends(_notifications)]
Config = Annotated[Settings, Depends(_settings)]
MarketConfig = Annotated[MarketSettings, Depends(_market)]
OpenMarket = Annotated[Desk | None, Depends(_open_market)]
"""None where no market is configured."""
MarketDesk = Annotated[Desk, Depends(_desk)]
Now = Annotated[datetime, Depends(_now)]


def bearer(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """The secret that the caller sent. Raises: `NotAuthenticated` where there is none, or no key of ours."""
    if credentials is None:
        raise NotAuthenticated("Send your API key: `Authorization: Bearer sk_…`.")
    if not looks_like_a_key(credentials.credentials):
        raise NotAuthenticated("That does not look like a key of ours: `sk_<role>_<prefix>_<secret>`.")
    return credentials.credentials


Bearer = Annotated[str, Depends(bearer)]


def _caller(secret: Bearer, database: Db, now: Now) -> Principal:
    with database.transaction() as tx:
        found = principal(tx, key_hash(secret), now)
    if found is None:
        raise NotAuthenticated("This key is unknown, was revoked, or is past its time.")
    return found


Caller = Annotated[Principal, Depends(_caller)]


def _person(caller: Caller) -> Principal:
    if caller.role is Role.NODE:
        raise Forbidden("A node's credential can't see or change jobs.")
    return caller


def _customer(caller: Caller) -> Principal:
    if caller.role is not Role.CUSTOMER:
        raise Forbidden("Jobs are submitted with a customer's key.")
    return caller


def _operator(caller: Caller) -> Principal:
    if caller.role is not Role.OPERATOR:
        raise Forbidden("This needs an operator's key.")
    return caller


def _node(caller: Caller) -> Principal:
    if caller.role is not Role.NODE:
        raise Forbidden("This is for nodes' agents.")
    return caller


Person = Annotated[Principal, Depends(_person)]
"""A customer, who sees their organisation's, or an operator, who sees everybody's."""
Customer = Annotated[Principal, Depends(_customer)]
Operator = Annotated[Principal, Depends(_operator)]
NodeCaller = Annotated[Principal, Depends(_node)]
