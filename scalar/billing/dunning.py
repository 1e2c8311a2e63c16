"""What follows when an invoice can't be collected: it is tried again by a schedule, and the customer is told each time.

declined ─► told, tried again after 1, 3, 5, 7 days ─► left open, or uncollectible
                          └─► paid, in whatever way, however late: it ends
"""

from datetime import datetime, timedelta

from scalar.accounts.store import audit
from scalar.billing import collection_store, invoice_store, invoices
from scalar.billing import dunning_store as store
from scalar.billing.invoice_events import tell
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.payment_model import Attempt, AttemptState
from scalar.billing.stripe_settings import DunningSettings
from scalar.database import Transaction
from scalar.webhooks.model import EventType
from scalar.webhooks.outbox import moment

_ACTOR = "dunning"


def next_try(failures: int, failed_at: datetime, waits: tuple[timedelta, ...]) -> datetime | None:
    """After so many failures, the last of them then; None: that was the last try."""
    return failed_at + waits[failures - 1] if failures <= len(waits) else None


def declined(
    tx: Transaction, attempt: Attempt, *, decline_code: str, message: str, settings: DunningSettings, now: datetime
) -> None:
    """The customer's card, or the lack of one, is why it isn't paid."""
    if not store.end_attempt(tx, attempt.id, AttemptState.DECLINED, now, decline_code=decline_code, message=message):
        return
    again = _after_failure(tx, attempt, settings, now)
    invoice = invoices.existing(invoice_store.invoice(tx, attempt.invoice_id))
    if invoice.state is not InvoiceState.OPEN:
        store.end_dunning(tx, invoice.id, "paid" if invoice.state is InvoiceState.PAID else "stopped", now)
        return
    tell(
        tx,
        invoice,
        EventType.INVOICE_PAYMENT_FAILED,
        now,
        attempt=attempt.number,
        decline_code=decline_code,
        next_attempt_at=moment(again) if again else None,
        pay_at=collection_store.hosted_url(tx, invoice.id),
    )
    audit(tx, _ACTOR, "invoice.payment_failed", invoice.id, attempt=attempt.number, decline_code=decline_code)
    if again is None:
        _give_up(tx, invoice.id, settings, now)


def refused(tx: Transaction, attempt: Attempt, *, message: str, settings: DunningSettings, now: datetime) -> None:
    """Stripe would not even try, which is ours to mend: the customer isn't told, and nothing is written off."""
    if not store.end_attempt(tx, attempt.id, AttemptState.REFUSED, now, message=message):
        return
    audit(tx, _ACTOR, "invoice.payment_refused", attempt.invoice_id, attempt=attempt.number, message=message)
    if _after_failure(tx, attempt, settings, now) is None:
        store.end_dunning(tx, attempt.invoice_id, "left_open", now)


def end_if_paid(tx: Transaction, invoice_id: str, at: datetime) -> None:
    invoice = invoice_store.invoice(tx, invoice_id)
    if invoice is not None and invoice.state is InvoiceState.PAID and store.end_dunning(tx, invoice_id, "paid", at):
        audit(tx, _ACTOR, "dunning.ended", invoice_id, outcome="paid")


def _after_failure(tx: Transaction, attempt: Attempt, settings: DunningSettings, now: datetime) -> datetime | None:
    failures = store.another_failure(tx, attempt.invoice_id, now)
    again = next_try(failures, now, settings.waits)
    if again is not None:
        store.schedule(tx, attempt.invoice_id, again)
    return again


def _give_up(tx: Transaction, invoice_id: str, settings: DunningSettings, now: datetime) -> None:
    if settings.after_dunning == "uncollectible":
        store.end_dunning(tx, invoice_id, "uncollectible", now)
        invoices.mark_uncollectible(tx, invoice_id, actor=_ACTOR, reason="Every try to collect it failed", now=now)
    else:
        store.end_dunning(tx, invoice_id, "left_open", now)
    audit(tx, _ACTOR, "dunning.ended", invoice_id, outcome=settings.after_dunning)
