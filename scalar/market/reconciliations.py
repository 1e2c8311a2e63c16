"""The verdicts of reconciliation, kept: the last one decides whether anything may be bought."""

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from scalar.database import Transaction
from scalar.market.reconciling import Finding


def record(tx: Transaction, findings: list[Finding], figures: dict[str, Any], now: datetime) -> None:
    tx.execute(
        "insert into reconciliations (at, findings, figures) values (%s, %s, %s)",
        [now, Jsonb([{"kind": each.kind, "what": each.what, "do": each.do} for each in findings]), Jsonb(figures)],
    )


def last(tx: Transaction) -> dict[str, Any] | None:
    query = "select at, findings, agrees, figures from reconciliations order by id desc limit 1"
    return tx.execute(query).fetchone()


def disagreement(tx: Transaction) -> str | None:
    """What the last reconciliation found, in a line; None: both books agreed, or never were compared."""
    row = last(tx)
    if row is None or row["agrees"]:
        return None
    first, *others = row["findings"]
    return str(first["what"]) + (f" (and {len(others)} more)" if others else "")
