"""SQL of accounts: one statement a function."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from scalar.accounts.keys import Key, Role
from scalar.accounts.model import ApiKey, Organisation, Principal
from scalar.database import Transaction, one
from scalar.errors import Conflict
from scalar.ids import new_id

_KEY_COLUMNS = "id, prefix, role, name, organisation_id, created_at, expires_at, revoked_at"


def create_organisation(tx: Transaction, name: str, *, max_gpus: int | None = None) -> Organisation:
    """Raises: `Conflict` where the name is taken."""
    try:
        row = one(
            tx,
            """insert into organisations (id, name, max_gpus) values (%s, %s, %s)
               returning id, name, max_gpus, created_at""",
            [new_id("org"), name, max_gpus],
        )
    except UniqueViolation as error:
        raise Conflict(f"There is an organisation named {name!r} already.") from error
    return Organisation(**row)


def organisation_named(tx: Transaction, name: str) -> Organisation | None:
    row = tx.execute("select id, name, max_gpus, created_at from organisations where name = %s", [name]).fetchone()
    return Organisation(**row) if row else None


def organisation_called(tx: Transaction, name_or_id: str) -> Organisation | None:
    """What people give where they say whose."""
    row = tx.execute(
        """select id, name, max_gpus, created_at from organisations where id = %(it)s or name = %(it)s
           order by name limit 1""",
        {"it": name_or_id},
    ).fetchone()
    return Organisation(**row) if row else None


def organisations(tx: Transaction) -> list[Organisation]:
    rows = tx.execute("select id, name, max_gpus, created_at from organisations order by name")
    return [Organisation(**row) for row in rows]


def create_user(tx: Transaction, organisation_id: str, email: str) -> str:
    """The new user's id. Raises: `Conflict` where the address is taken."""
    try:
        row = one(
            tx,
            "insert into users (id, organisation_id, email) values (%s, %s, %s) returning id",
            [new_id("user"), organisation_id, email],
        )
    except UniqueViolation as error:
        raise Conflict(f"{email} is a user already.") from error
    return str(row["id"])


def create_key(
    tx: Transaction,
    key: Key,
    role: Role,
    *,
    name: str,
    organisation_id: str | None = None,
    user_id: str | None = None,
    node_id: str | None = None,
    expires_at: datetime | None = None,
) -> ApiKey:
    row = one(
        tx,
        f"""insert into api_keys (id, prefix, hash, role, name, organisation_id, user_id, node_id, expires_at)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s) returning {_KEY_COLUMNS}""",
        [new_id("key"), key.prefix, key.hash, role, name, organisation_id, user_id, node_id, expires_at],
    )
    return _api_key(row)


def principal(tx: Transaction, hash: bytes, now: datetime) -> Principal | None:
    """The bearer of the key with this hash, if it is known, not revoked and not over its time."""
    row = tx.execute(
        """select id as key_id, prefix, role, organisation_id, node_id from api_keys
           where hash = %s and revoked_at is null and (expires_at is null or expires_at > %s)""",
        [hash, now],
    ).fetchone()
    return Principal(**{**row, "role": Role(row["role"])}) if row else None


def keys(tx: Transaction) -> list[ApiKey]:
    rows = tx.execute(f"select {_KEY_COLUMNS} from api_keys where role <> 'node' order by id")
    return [_api_key(row) for row in rows]


def revoke_key(tx: Transaction, prefix: str, now: datetime) -> bool:
    """False where no such key was valid."""
    update = "update api_keys set revoked_at = %s where prefix = %s and revoked_at is null"
    return tx.execute(update, [now, prefix]).rowcount == 1


def revoke_keys_of_node(tx: Transaction, node_id: str, now: datetime) -> None:
    tx.execute("update api_keys set revoked_at = %s where node_id = %s and revoked_at is null", [now, node_id])


def create_join_token(
    tx: Transaction, key: Key, *, max_uses: int, expires_at: datetime, instance_id: str | None = None
) -> str:
    """`instance_id`: the bought machine that it is for, if it is for one."""
    row = one(
        tx,
        """insert into join_tokens (id, prefix, hash, max_uses, expires_at, instance_id)
           values (%s, %s, %s, %s, %s, %s) returning id""",
        [new_id("join"), key.prefix, key.hash, max_uses, expires_at, instance_id],
    )
    return str(row["id"])


@dataclass(frozen=True, kw_only=True)
class Admission:
    instance_id: str | None
    """The bought machine that the join token was made for."""


def use_join_token(tx: Transaction, hash: bytes, now: datetime) -> Admission | None:
    """Count one use; None where the token is unknown, used up or over its time."""
    row = tx.execute(
        """update join_tokens set uses = uses + 1
           where hash = %s and expires_at > %s and uses < max_uses returning instance_id""",
        [hash, now],
    ).fetchone()
    return Admission(instance_id=row["instance_id"]) if row else None


def audit(tx: Transaction, actor: str, action: str, subject: str, **details: Any) -> None:
    """Who did what to what; in the same transaction as the deed."""
    tx.execute(
        "insert into audit_log (actor, action, subject, details) values (%s, %s, %s, %s)",
        [actor, action, subject, Jsonb(details)],
    )


def _api_key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "role": Role(row["role"])})
