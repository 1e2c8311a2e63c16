"""What an invoice's life means in the ledger. Pure.

month        coupons: credits ─► unbilled          a commitment's shortfall: unbilled ─► revenue
             what was credited twice: unbilled ─► credits
tax          unbilled ─► tax
open         receivable ─► unbilled, to the last micro-dollar; what cents can't say goes to rounding
to wallet    receivable ─► wallet                  (posted by `wallets.top_up`)
void         all of these the other way round
uncollectible, and paid after all                  bad_debt ─► receivable, receivable ─► bad_debt
a credit note                                      credits, tax ─► receivable, wallet
"""

from datetime import datetime

from scalar.billing.credit_notes import CreditNote
from scalar.billing.invoice_model import InvoiceDraft, LineKind
from scalar.billing.ledger import (
    BAD_DEBT,
    CREDITS,
    REVENUE,
    ROUNDING,
    TAX,
    Entry,
    Posting,
    move,
    netted,
    receivable,
    unbilled,
)
from scalar.billing.money import MICROS_A_CENT


def month_posting(invoice_id: str, draft: InvoiceDraft, at: datetime) -> Posting:
    """What belongs to the month itself: it is earned, or given away, then and not when the invoice is opened."""
    mine = unbilled(draft.organisation_id)
    entries = [
        *move(-draft.micros(LineKind.COUPON), debit=CREDITS, credit=mine),
        *move(draft.micros(LineKind.COMMITMENT), debit=mine, credit=REVENUE),
        *move(draft.micros(LineKind.ALREADY_CREDITED), debit=mine, credit=CREDITS),
    ]
    return _posting(invoice_id, "month", at, entries)


def tax_posting(invoice_id: str, draft: InvoiceDraft, at: datetime) -> Posting:
    """Before credit is drawn, so that it pays for the tax too."""
    entries = move(draft.micros(LineKind.TAX), debit=unbilled(draft.organisation_id), credit=TAX)
    return _posting(invoice_id, "tax", at, entries)


def open_posting(invoice_id: str, draft: InvoiceDraft, at: datetime) -> Posting:
    """What its lines have in `unbilled` leaves it exactly; what came from an earlier invoice is receivable already."""
    owed = (draft.charged - draft.from_credit) * MICROS_A_CENT
    billed = draft.charged_micros - draft.credit_applied
    entries = [
        Entry(account=receivable(draft.organisation_id), amount=owed),
        Entry(account=unbilled(draft.organisation_id), amount=-billed),
        Entry(account=ROUNDING, amount=billed - owed),
    ]
    return _posting(invoice_id, "open", at, entries)


def void_posting(invoice_id: str, posted: list[Entry], at: datetime) -> Posting:
    """`posted`: the entries of the postings that opened it."""
    entries = [Entry(account=entry.account, amount=-entry.amount) for entry in posted]
    return _posting(invoice_id, "void", at, entries)


def bad_debt_posting(invoice_id: str, organisation_id: str, cents: int, at: datetime, *, key: str) -> Posting:
    """Written off; below zero: it was paid after all. `key`: which time."""
    entries = move(cents * MICROS_A_CENT, debit=BAD_DEBT, credit=receivable(organisation_id))
    return _posting(invoice_id, f"bad_debt/{key}", at, entries)


def credit_note_posting(note: CreditNote, organisation_id: str, at: datetime) -> Posting:
    """All of it off what is owed; of what was paid already, `wallets.top_up` makes credit from there."""
    entries = [
        *move(note.subtotal * MICROS_A_CENT, debit=CREDITS, credit=receivable(organisation_id)),
        *move(note.tax * MICROS_A_CENT, debit=TAX, credit=receivable(organisation_id)),
    ]
    return Posting(
        source=f"credit_note/{note.id}",
        kind="credit_note",
        at=at,
        entries=netted(entries),
        description=f"{note.number}: {note.reason}",
    )


def _posting(invoice_id: str, what: str, at: datetime, entries: list[Entry] | tuple[Entry, ...]) -> Posting:
    kind = f"invoice.{what.partition('/')[0]}"
    return Posting(source=f"invoice/{invoice_id}/{what}", kind=kind, at=at, entries=netted(entries))
