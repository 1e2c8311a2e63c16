"""Invoices that nobody charges by themselves, and that are overdue: the customer is told, by the schedule of dunning.

due ─► told 1 day later, and 3, 5, 7 days after the notice before ─► open still: a person decides what follows
             └─► paid, void or written off: told no more
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from scalar.accounts.store import audit
from scalar.billing import collection_store, invoice_store
from scalar.billing import dunning_store as store
from scalar.billing.invoice_events import tell
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.stripe_settings import DunningSettings
from scalar.database import Transaction
from scalar.webhooks.model import EventType

_ACTOR = "dunning"
_AT_ONCE = 200


def tell_overdue(
    transact: Callable[[], AbstractContextManager[Transaction]], settings: DunningSettings, now: datetime
) -> int:
    """How many customers were told of an invoice. It needs no Stripe: they may pay by transfer."""
    with transact() as tx:
        found = store.overdue(tx, now, settings.waits, _AT_ONCE)
    told = 0
    for invoice_id, notice in found:
        with transact() as tx:
            told += _tell(tx, invoice_id, notice, now)
    return told


def _tell(tx: Transaction, invoice_id: str, notice: int, now: datetime) -> bool:
    """False where it was told by somebody else, or ended, meanwhile."""
    invoice = invoice_store.invoice(tx, invoice_id, for_update=True)
    if invoice is None or invoice.state is not InvoiceState.OPEN or invoice.due_at is None:
        return False
    if not store.keep_notice(tx, invoice_id, notice, now):
        return False
    days = (now - invoice.due_at).days
    pay_at = collection_store.hosted_url(tx, invoice_id)
    tell(tx, invoice, EventType.INVOICE_OVERDUE, now, notice=notice, days_overdue=days, pay_at=pay_at)
    audit(tx, _ACTOR, "invoice.overdue", invoice_id, notice=notice, days_overdue=days)
    return True
