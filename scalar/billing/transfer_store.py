"""SQL of what was paid by transfer: one statement a function."""

from dataclasses import dataclass
from datetime import datetime

from scalar.database import Transaction


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Money that came for an invoice otherwise than by card."""

    invoice_id: str
    cents: int
    at: datetime
    """When it was entered."""
    note: str


def transfer(tx: Transaction, source: str) -> Transfer | None:
    """Entered under this source before."""
    return next(iter(_found(tx, "p.source = %s", source)), None)


def transfers_of(tx: Transaction, invoice_id: str) -> list[Transfer]:
    return _found(tx, "p.invoice_id = %s", invoice_id)


def _found(tx: Transaction, which: str, value: str) -> list[Transfer]:
    rows = tx.execute(
        f"""select p.invoice_id, p.cents, p.at, t.description as note
            from invoice_payments p join ledger_transactions t on t.source = p.source
            where t.kind = 'payment.transfer' and {which} order by p.at, p.source""",
        [value],
    )
    return [Transfer(**row) for row in rows]
