"""What is done with the database itself, before there is a key for anything else: `scalar admin`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from scalar.accounts import store
from scalar.accounts.keys import Role, new_key
from scalar.accounts.model import ApiKey
from scalar.database import Database
from scalar.errors import InvalidRequest, NotFound
from scalar.migrations import migrate
from scalar.settings import settings

__all__ = ["create_key", "create_organisation", "keys", "migrate", "open_database", "revoke_key"]


@contextmanager
def open_database() -> Iterator[Database]:
    with Database(settings().database_url.get_secret_value(), application="scalar-admin") as database:
        yield database


def create_organisation(database: Database, name: str, max_gpus: int | None) -> str:
    """Its id. Raises: `Conflict` where the name is taken."""
    with database.transaction() as tx:
        organisation = store.create_organisation(tx, name, max_gpus=max_gpus)
        store.audit(tx, "admin", "organisation.create", organisation.id, name=name)
    return organisation.id


def create_key(database: Database, role: Role, organisation: str | None, name: str, days: int | None) -> str:
    """The secret, which is kept nowhere. Raises: `NotFound`, `InvalidRequest`."""
    if role is Role.NODE:
        raise InvalidRequest("a node gets its key when it joins: `scalar join-token`.")
    key = new_key(role)
    with database.transaction() as tx:
        found = store.organisation_named(tx, organisation) if organisation else None
        if organisation and found is None:
            raise NotFound(f"there is no organisation named {organisation!r}.")
        if role is Role.CUSTOMER and found is None:
            raise InvalidRequest("a customer's key belongs to an organisation: --organisation NAME.")
        expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
        made = store.create_key(
            tx, key, role, name=name, organisation_id=found.id if found else None, expires_at=expires_at
        )
        store.audit(tx, "admin", "key.create", made.id, prefix=key.prefix, role=role)
    return key.secret


def keys(database: Database) -> list[ApiKey]:
    with database.transaction() as tx:
        return store.keys(tx)


def revoke_key(database: Database, prefix: str) -> None:
    """Raises: `NotFound`."""
    with database.transaction() as tx:
        if not store.revoke_key(tx, prefix, datetime.now(UTC)):
            raise NotFound(f"there is no valid key with the prefix {prefix}.")
        store.audit(tx, "admin", "key.revoke", prefix)
