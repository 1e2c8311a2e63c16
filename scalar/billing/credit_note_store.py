"""SQL of credit notes: one statement a function."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from scalar.billing.credit_notes import CreditNote, Difference
from scalar.database import Transaction

_NOTE = "id, number, invoice_id, reason, subtotal, tax, total, off_due, to_wallet, created_at, created_by"
_DIFFERENCE = "position, description, seconds_before, seconds_after, cents_before, cents_after"


def insert_note(
    tx: Transaction,
    note: CreditNote,
    *,
    idempotency_key: str | None,
    request_hash: bytes | None,
) -> None:
    tx.execute(
        f"""insert into credit_notes ({_NOTE}, idempotency_key, request_hash)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            note.id,
            note.number,
            note.invoice_id,
            note.reason,
            note.subtotal,
            note.tax,
            note.total,
            note.off_due,
            note.to_wallet,
            note.created_at,
            note.created_by,
            idempotency_key,
            request_hash,
        ],
    )
    tx.cursor().executemany(
        f"""insert into credit_note_lines (credit_note_id, invoice_id, {_DIFFERENCE}, difference)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            (
                note.id,
                note.invoice_id,
                each.position,
                each.description,
                each.seconds_before,
                each.seconds_after,
                each.cents_before,
                each.cents_after,
                each.cents,
            )
            for each in note.differences
        ],
    )


def notes_of(tx: Transaction, invoices: Sequence[str]) -> dict[str, list[CreditNote]]:
    """Oldest first, by invoice, each with its differences."""
    rows = tx.execute(
        f"select {_NOTE} from credit_notes where invoice_id = any(%s) order by id", [list(invoices)]
    ).fetchall()
    differences = _differences(tx, [row["id"] for row in rows])
    found: dict[str, list[CreditNote]] = defaultdict(list)
    for row in rows:
        found[row["invoice_id"]].append(CreditNote(**row, differences=tuple(differences[row["id"]])))
    return found


def note_of_key(tx: Transaction, invoice_id: str, key: str) -> tuple[str, bytes] | None:
    """(id of the credit note that this key has made, the hash of its request)."""
    row = tx.execute(
        "select id, request_hash from credit_notes where invoice_id = %s and idempotency_key = %s", [invoice_id, key]
    ).fetchone()
    return (row["id"], bytes(row["request_hash"] or b"")) if row else None


def _differences(tx: Transaction, notes: Sequence[str]) -> dict[str, list[Difference]]:
    found: dict[str, list[Difference]] = defaultdict(list)
    rows: Any = tx.execute(
        f"select credit_note_id, {_DIFFERENCE} from credit_note_lines where credit_note_id = any(%s) order by position",
        [list(notes)],
    )
    for row in rows:
        found[row.pop("credit_note_id")].append(Difference(**row))
    return found
