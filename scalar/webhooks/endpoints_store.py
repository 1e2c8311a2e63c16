"""SQL of endpoints and their secrets: one statement a function."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from scalar.database import Transaction, one
from scalar.webhooks.model import Endpoint

_ENDPOINT = """id, organisation_id, url, description, event_types, enabled, created_at, disabled_at, disabled_reason,
    failing_since, (select max(s.expires_at) from webhook_secrets s where s.endpoint_id = webhook_endpoints.id
                    and s.expires_at is not null) as old_secret_until"""


def lock_organisation(tx: Transaction, organisation_id: str) -> None:
    """Whoever adds an endpoint waits for whoever else does."""
    tx.execute("select from organisations where id = %s for no key update", [organisation_id])


def count(tx: Transaction, organisation_id: str) -> int:
    query = "select count(*) as n from webhook_endpoints where organisation_id = %s"
    return int(one(tx, query, [organisation_id])["n"])


def insert(
    tx: Transaction,
    *,
    id: str,
    organisation_id: str,
    url: str,
    description: str,
    event_types: Sequence[str],
    now: datetime,
) -> None:
    tx.execute(
        """insert into webhook_endpoints (id, organisation_id, url, description, event_types, created_at)
           values (%s, %s, %s, %s, %s, %s)""",
        [id, organisation_id, url, description, list(event_types), now],
    )


def endpoint(
    tx: Transaction, endpoint_id: str, *, organisation_id: str | None = None, for_update: bool = False
) -> Endpoint | None:
    """`organisation_id`: only if it is theirs; None for operators."""
    row = tx.execute(
        f"""select {_ENDPOINT} from webhook_endpoints
            where id = %(id)s and organisation_id = coalesce(%(org)s, organisation_id)
            {"for no key update" if for_update else ""}""",
        {"id": endpoint_id, "org": organisation_id},
    ).fetchone()
    return _endpoint(row) if row else None


def endpoints(
    tx: Transaction, *, organisation_id: str | None, before: str | None = None, limit: int = 50
) -> list[Endpoint]:
    """Newest first."""
    rows = tx.execute(
        f"""select {_ENDPOINT} from webhook_endpoints
            where organisation_id = coalesce(%(org)s, organisation_id)
              and (%(before)s::text is null or id < %(before)s)
            order by id desc limit %(limit)s""",
        {"org": organisation_id, "before": before, "limit": limit},
    )
    return [_endpoint(row) for row in rows]


def change(
    tx: Transaction,
    endpoint_id: str,
    *,
    url: str | None = None,
    description: str | None = None,
    event_types: Sequence[str] | None = None,
) -> None:
    """What is None stays."""
    tx.execute(
        """update webhook_endpoints set url = coalesce(%s, url), description = coalesce(%s, description),
               event_types = coalesce(%s, event_types) where id = %s""",
        [url, description, None if event_types is None else list(event_types), endpoint_id],
    )


def enable(tx: Transaction, endpoint_id: str) -> None:
    tx.execute(
        """update webhook_endpoints set enabled = true, disabled_at = null, disabled_reason = null, failing_since = null
           where id = %s and not enabled""",
        [endpoint_id],
    )


def disable(tx: Transaction, endpoint_id: str, reason: str, now: datetime) -> bool:
    """False where it was disabled already."""
    update = """update webhook_endpoints set enabled = false, disabled_at = %s, disabled_reason = %s
                where id = %s and enabled"""
    return tx.execute(update, [now, reason, endpoint_id]).rowcount == 1


def mark_well(tx: Transaction, endpoint_id: str) -> None:
    tx.execute(
        "update webhook_endpoints set failing_since = null where id = %s and failing_since is not null", [endpoint_id]
    )


def mark_failing(tx: Transaction, endpoint_id: str, now: datetime) -> datetime | None:
    """Since when it has failed; None where it has been deleted."""
    row = tx.execute(
        """update webhook_endpoints set failing_since = coalesce(failing_since, %s) where id = %s
           returning failing_since""",
        [now, endpoint_id],
    ).fetchone()
    return row["failing_since"] if row else None


def delete(tx: Transaction, endpoint_id: str) -> None:
    """With its secrets and deliveries; the events stay."""
    tx.execute("delete from webhook_endpoints where id = %s", [endpoint_id])


def insert_secret(tx: Transaction, endpoint_id: str, seed: bytes, key_check: str, now: datetime) -> None:
    tx.execute(
        "insert into webhook_secrets (endpoint_id, seed, key_check, created_at) values (%s, %s, %s, %s)",
        [endpoint_id, seed, key_check, now],
    )


def delete_former_secrets(tx: Transaction, endpoint_id: str) -> None:
    tx.execute("delete from webhook_secrets where endpoint_id = %s and expires_at is not null", [endpoint_id])


def expire_secret(tx: Transaction, endpoint_id: str, at: datetime) -> None:
    """The newest becomes the former one."""
    tx.execute(
        "update webhook_secrets set expires_at = %s where endpoint_id = %s and expires_at is null", [at, endpoint_id]
    )


def delete_expired_secrets(tx: Transaction, now: datetime) -> int:
    return tx.execute("delete from webhook_secrets where expires_at <= %s", [now]).rowcount


def seeds(tx: Transaction, endpoint_id: str, key_check: str, now: datetime) -> list[bytes]:
    """Of the secrets that are valid and were made with that key; newest first."""
    rows = tx.execute(
        """select seed from webhook_secrets
           where endpoint_id = %s and key_check = %s and (expires_at is null or expires_at > %s)
           order by id desc""",
        [endpoint_id, key_check, now],
    )
    return [bytes(row["seed"]) for row in rows]


def _endpoint(row: dict[str, Any]) -> Endpoint:
    return Endpoint(**{**row, "event_types": tuple(row["event_types"])})
