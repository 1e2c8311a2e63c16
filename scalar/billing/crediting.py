"""Correcting an invoice: a credit note, in the caller's transaction. It takes off what is due; the rest is credit."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from scalar.accounts.store import audit
from scalar.billing import correction_store, wallets
from scalar.billing import credit_note_store as notes
from scalar.billing import invoice_store as store
from scalar.billing.credit_notes import Correction, CreditNote, CreditNoteDraft, as_they_stand, corrected
from scalar.billing.invoice_events import tell
from scalar.billing.invoice_model import Invoice, InvoiceLine, InvoiceState, LineKind
from scalar.billing.invoice_postings import credit_note_posting
from scalar.billing.invoices import existing, pay_if_nothing_is_left
from scalar.billing.ledger import receivable
from scalar.billing.ledger_store import post
from scalar.billing.money import MICROS_A_CENT, usd
from scalar.database import Transaction
from scalar.errors import Conflict, IdempotencyConflict, InvalidRequest
from scalar.ids import new_id
from scalar.webhooks.model import EventType


def credit(
    tx: Transaction,
    invoice_id: str,
    corrections: Sequence[Correction],
    *,
    reason: str,
    actor: str,
    now: datetime,
    key: str | None = None,
) -> CreditNote:
    """What these lines should have been. `key`: the same key is the same credit note.

    Raises: `NotFound`; `Conflict` where the invoice is neither open nor paid; `InvalidRequest` where nothing, or more
    than was charged, would be given back; `IdempotencyConflict`.
    """
    invoice = existing(store.invoice(tx, invoice_id, for_update=True))
    asked = sha256(repr((sorted(corrections, key=lambda each: each.position), reason)).encode()).digest()
    earlier = _earlier(tx, invoice, key, asked)
    if earlier is not None:
        return earlier
    if invoice.state not in {InvoiceState.OPEN, InvoiceState.PAID}:
        raise Conflict(
            f"{invoice.number or invoice.id} is {invoice.state}: only one that is open or paid is corrected."
        )
    before = [each for note in notes_of(tx, invoice.id) for each in note.differences]
    lines = as_they_stand(store.lines(tx, invoice.id), before)
    draft = corrected(lines, corrections)
    _refuse_twice(tx, invoice, lines, draft)
    made = _made(tx, invoice, draft, reason=reason, actor=actor, now=now)
    notes.insert_note(tx, made, idempotency_key=key, request_hash=asked if key else None)
    _take_off(tx, invoice, made, now)
    audit(tx, actor, "invoice.credit", invoice.id, credit_note=made.number, cents=made.total, reason=reason)
    return made


def notes_of(tx: Transaction, invoice_id: str) -> list[CreditNote]:
    """Oldest first."""
    return notes.notes_of(tx, [invoice_id]).get(invoice_id, [])


def _earlier(tx: Transaction, invoice: Invoice, key: str | None, asked: bytes) -> CreditNote | None:
    found = notes.note_of_key(tx, invoice.id, key) if key else None
    if found is None:
        return None
    note_id, hash_of_it = found
    if hash_of_it != asked:
        raise IdempotencyConflict("This idempotency key belongs to another credit note of the invoice.")
    return next(each for each in notes_of(tx, invoice.id) if each.id == note_id)


def _refuse_twice(tx: Transaction, invoice: Invoice, lines: Sequence[InvoiceLine], draft: CreditNoteDraft) -> None:
    """What the platform lost is credited by itself, on whatever invoice: it isn't given back once more."""
    of_jobs = {line.position: line for line in lines if line.kind is LineKind.USAGE}
    given = {each.position: -each.cents * MICROS_A_CENT for each in draft.differences if each.position in of_jobs}
    left = correction_store.left_of(tx, invoice.organisation_id, [of_jobs[position] for position in given])
    for position, micros in given.items():
        if micros >= left[position] + MICROS_A_CENT:
            raise InvalidRequest(f"Line {position}: of its job {usd(max(left[position], 0))} is left to give back.")


def _made(
    tx: Transaction, invoice: Invoice, draft: CreditNoteDraft, *, reason: str, actor: str, now: datetime
) -> CreditNote:
    off_due = min(draft.total, invoice.outstanding)
    return CreditNote(
        id=new_id("cn"),
        number=store.next_number(tx, "CN", now.year),
        invoice_id=invoice.id,
        reason=reason,
        subtotal=draft.subtotal,
        tax=draft.tax,
        total=draft.total,
        off_due=off_due,
        to_wallet=draft.total - off_due,
        created_at=now,
        created_by=actor,
        differences=draft.differences,
    )


def _take_off(tx: Transaction, invoice: Invoice, note: CreditNote, now: datetime) -> None:
    """All of it off the receivable; what of that was paid already is put into the wallet from there."""
    post(tx, credit_note_posting(note, invoice.organisation_id, now))
    if note.to_wallet:
        wallets.top_up(
            tx,
            invoice.organisation_id,
            note.to_wallet * MICROS_A_CENT,
            f"credit_note/{note.id}",
            now,
            paid_into=receivable(invoice.organisation_id),
            note=f"Credit note {note.number}",
        )
    if note.off_due:
        store.add_credited(tx, invoice.id, note.off_due)
    now_is = existing(store.invoice(tx, invoice.id))
    tell(tx, now_is, EventType.INVOICE_CREDITED, now, credit_note=note.number, credited_cents=note.total)
    if note.off_due:
        pay_if_nothing_is_left(tx, invoice.id, now)
