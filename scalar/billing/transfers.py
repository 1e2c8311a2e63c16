"""Invoices that are paid by transfer: somebody has seen the money on our bank's statement, and enters it.

    a transfer    cash:bank ─► receivable

Stripe is told by `stripe_sync` that the invoice was paid elsewhere, and charges no card for it.
"""

from datetime import datetime

from scalar.billing import dunning, invoices, wallets
from scalar.billing import invoice_store as invoice_rows
from scalar.billing import transfer_store as store
from scalar.billing.invoice_model import Invoice
from scalar.billing.ledger import CASH_BANK, Posting, move, receivable
from scalar.billing.ledger_store import post
from scalar.billing.money import MICROS_A_CENT
from scalar.database import Transaction
from scalar.errors import IdempotencyConflict


def enter(
    tx: Transaction, invoice_id: str, cents: int, *, source: str, note: str, actor: str, now: datetime
) -> Invoice:
    """So much has come for an invoice, once a source; with its last cent it is paid, and is dunned no more.

    Raises: `NotFound`; `InvalidRequest` where nothing came; `Conflict` where it is more than is left to be paid, or the
    invoice is neither open nor written off; `IdempotencyConflict` where the source has another transfer.
    """
    invoice = invoices.existing(invoice_rows.invoice(tx, invoice_id, for_update=True))
    earlier = store.transfer(tx, source)
    if earlier is not None:
        if (earlier.invoice_id, earlier.cents, earlier.note) != (invoice.id, cents, note):
            raise _other()
        return invoice
    paid = invoices.mark_paid(tx, invoice.id, cents, source=source, at=now, actor=actor)
    entries = move(cents * MICROS_A_CENT, debit=CASH_BANK, credit=receivable(invoice.organisation_id))
    if not post(tx, Posting(source=source, kind="payment.transfer", at=now, entries=entries, description=note)):
        # Somebody has entered it for another invoice, in this very moment.
        raise _other()
    dunning.end_if_paid(tx, invoice.id, now)
    wallets.watch(tx, invoice.organisation_id, now)
    return paid


def _other() -> IdempotencyConflict:
    return IdempotencyConflict("This idempotency key belongs to another transfer.")
