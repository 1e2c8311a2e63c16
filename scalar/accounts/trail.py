"""The audit log, read: what was done to one thing, and by whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scalar.database import Transaction


@dataclass(frozen=True, kw_only=True)
class Deed:
    at: datetime
    actor: str
    action: str
    details: dict[str, Any]


def trail(tx: Transaction, subject: str) -> list[Deed]:
    """Oldest first."""
    rows = tx.execute("select at, actor, action, details from audit_log where subject = %s order by id", [subject])
    return [Deed(**row) for row in rows]


def last_actor(tx: Transaction, action: str, subject: str) -> str | None:
    """Who did this to it last."""
    query = "select actor from audit_log where subject = %s and action = %s order by id desc limit 1"
    row = tx.execute(query, [subject, action]).fetchone()
    return str(row["actor"]) if row else None
