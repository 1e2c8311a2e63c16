"""What happens to an invoice: each function is one deed, inside the caller's transaction.

draft_month ─► open_invoice ─► mark_paid | void | mark_uncollectible
                                  └─► take_back (a dispute, a debit that bounced) ─► open again
corrections: `crediting.credit`

Nobody waits for another in a circle: a deed takes the invoices first, and posts to the ledger after it. Who posts
themselves what a deed is about (a payment) calls the deed first.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from scalar.accounts.store import audit
from scalar.billing import invoice_checks as checks
from scalar.billing import invoice_sources as sources
from scalar.billing import invoice_store as store
from scalar.billing import wallet_store, wallets
from scalar.billing.invoice_drafts import draft_month
from scalar.billing.invoice_events import tell
from scalar.billing.invoice_model import Invoice, InvoiceDraft, InvoiceLine, InvoiceState, LineKind
from scalar.billing.invoice_postings import bad_debt_posting, month_posting, open_posting, tax_posting, void_posting
from scalar.billing.invoicing import paid_from_credit
from scalar.billing.ledger import receivable
from scalar.billing.ledger_store import closed_periods, post, post_all
from scalar.billing.money import MICROS_A_CENT
from scalar.billing.months import last_moment_of
from scalar.billing.tax import TaxRate
from scalar.database import Transaction
from scalar.errors import Conflict, IllegalMove, InvalidRequest, NotFound
from scalar.webhooks.model import EventType

_POSTINGS = ("month", "tax", "open")


def open_invoice(tx: Transaction, invoice_id: str, *, actor: str, now: datetime, due_in: timedelta) -> Invoice:
    """Give a draft its number and put it in the books, as it is with all that has come until now. Repeats are no-ops.

    Credit that is left is drawn for it, its tax included. One with nothing left to be paid is paid at once.
    Raises: `NotFound`, `IllegalMove` where it is void or written off; `Conflict` with all that is wrong with it.
    """
    store.lock_invoices(tx)
    found = existing(store.invoice(tx, invoice_id))
    if found.state in {InvoiceState.OPEN, InvoiceState.PAID}:
        return found
    if found.state is not InvoiceState.DRAFT:
        raise IllegalMove(f"{found.number} is {found.state}: it can't be opened.")
    draft_month(tx, found.month, now, organisation_id=found.organisation_id)
    _refuse_wrong(tx, found.month, organisation_id=found.organisation_id)
    (opened,) = _open(tx, [existing(store.invoice(tx, found.id))], actor=actor, now=now, due_in=due_in)
    return opened


def open_month(tx: Transaction, month: date, *, actor: str, now: datetime, due_in: timedelta) -> list[Invoice]:
    """Open every draft of a month, as it is after it was made again; those that are open now.

    Raises: `Conflict` with all that is wrong with one of them: then none is opened.
    """
    draft_month(tx, month, now)
    found = store.drafts_of(tx, month)
    if found:
        _refuse_wrong(tx, month)
    return _open(tx, found, actor=actor, now=now, due_in=due_in)


def void(tx: Transaction, invoice_id: str, *, actor: str, reason: str, now: datetime) -> Invoice:
    """Take an open invoice back: the books are as before it, and what was on it goes to the next draft that takes it.

    Raises: `NotFound`, `IllegalMove`; `Conflict` where something was paid of it or credited: a credit note is for that.
    """
    store.lock_invoices(tx)
    found = existing(store.invoice(tx, invoice_id))
    if found.state is InvoiceState.VOID:
        return found
    if found.state is InvoiceState.OPEN and (found.paid or found.credited):
        raise Conflict(f"{found.number} is paid or credited in part: correct it with a credit note.")
    store.move(tx, found.id, InvoiceState.VOID, now)
    opening = store.posted(tx, [f"invoice/{found.id}/{what}" for what in _POSTINGS])
    post(tx, void_posting(found.id, opening, now))
    store.free_lines(tx, found.id)
    store.give_carried_back(tx, found.id)
    audit(tx, actor, "invoice.void", found.id, reason=reason)
    return _told(tx, found.id, EventType.INVOICE_VOIDED, now)


def mark_paid(
    tx: Transaction, invoice_id: str, cents: int, *, source: str, at: datetime, actor: str = "payments"
) -> Invoice:
    """Money has come for it, once a source; the ledger's posting of it is the caller's. Paid in part it stays open.

    One that was written off is a receivable again by as much.
    Raises: `NotFound`; `InvalidRequest` where nothing is paid; `Conflict` where it is more than is left, or the invoice
    is neither open nor written off.
    """
    found = existing(store.invoice(tx, invoice_id, for_update=True))
    if not store.insert_payment(tx, source, found.id, _above_zero(cents), at):
        return found
    if found.state not in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE} or cents > found.outstanding:
        raise Conflict(f"{found.number or found.id} is {found.state}, with {found.outstanding} cents left to be paid.")
    store.add_paid(tx, found.id, cents)
    if found.state is InvoiceState.UNCOLLECTIBLE:
        post(tx, bad_debt_posting(found.id, found.organisation_id, -cents, at, key=source))
    audit(tx, actor, "invoice.payment", found.id, cents=cents, source=source)
    pay_if_nothing_is_left(tx, found.id, at)
    return existing(store.invoice(tx, found.id))


def take_back(
    tx: Transaction, invoice_id: str, cents: int, *, source: str, at: datetime, reason: str, actor: str = "payments"
) -> Invoice:
    """Money that had come for it went back (a dispute, a bounced debit): it is to be paid again. Once a source.

    The ledger's posting of it is the caller's. Raises: `NotFound`, `InvalidRequest`; `Conflict` where less was paid.
    """
    found = existing(store.invoice(tx, invoice_id, for_update=True))
    if not store.insert_payment(tx, source, found.id, -_above_zero(cents), at):
        return found
    if cents > found.paid or found.state not in {InvoiceState.OPEN, InvoiceState.PAID}:
        raise Conflict(f"{found.number or found.id} is {found.state}, and {found.paid} cents of it are paid.")
    store.take_back(tx, found.id, cents)
    audit(tx, actor, "invoice.payment_taken_back", found.id, cents=cents, source=source, reason=reason)
    return existing(store.invoice(tx, found.id))


def mark_uncollectible(tx: Transaction, invoice_id: str, *, actor: str, reason: str, now: datetime) -> Invoice:
    """What is left to be paid is a bad debt. Repeats are no-ops. Raises: `NotFound`, `IllegalMove`."""
    found = existing(store.invoice(tx, invoice_id, for_update=True))
    if found.state is InvoiceState.UNCOLLECTIBLE:
        return found
    store.move(tx, found.id, InvoiceState.UNCOLLECTIBLE, now)
    key = f"{now:%Y-%m-%dT%H:%M:%S.%f}"
    post(tx, bad_debt_posting(found.id, found.organisation_id, found.outstanding, now, key=key))
    audit(tx, actor, "invoice.uncollectible", found.id, cents=found.outstanding, reason=reason)
    return _told(tx, found.id, EventType.INVOICE_UNCOLLECTIBLE, now)


def pay_if_nothing_is_left(tx: Transaction, invoice_id: str, at: datetime) -> None:
    """Its last cent has come, in whatever way."""
    if existing(store.invoice(tx, invoice_id)).outstanding == 0:
        store.move(tx, invoice_id, InvoiceState.PAID, at)
        _told(tx, invoice_id, EventType.INVOICE_PAID, at)


def existing(invoice: Invoice | None) -> Invoice:
    """Raises: `NotFound`."""
    if invoice is None:
        raise NotFound("There is no such invoice.")
    return invoice


def _refuse_wrong(tx: Transaction, month: date, *, organisation_id: str | None = None) -> None:
    reasons = checks.before_opening(tx, month, organisation_id=organisation_id)
    if reasons:
        raise Conflict(f"{month:%Y-%m} can't be opened: {'; '.join(reasons[:5])}.", reasons=reasons)


def _open(tx: Transaction, found: Sequence[Invoice], *, actor: str, now: datetime, due_in: timedelta) -> list[Invoice]:
    """Of drafts of one month that are as they would be now."""
    _put_in_the_books(tx, found, now)
    return [_opened(tx, each, actor=actor, now=now, due_in=due_in) for each in found]


def _opened(tx: Transaction, found: Invoice, *, actor: str, now: datetime, due_in: timedelta) -> Invoice:
    number = store.next_number(tx, "INV", now.year)
    store.open_draft(tx, found.id, number, now=now, due_in=due_in)
    store.take_carried(tx, found.organisation_id, found.id)
    audit(tx, actor, "invoice.open", found.id, number=number)
    _told(tx, found.id, EventType.INVOICE_OPENED, now)
    pay_if_nothing_is_left(tx, found.id, now)
    wallets.watch(tx, found.organisation_id, now)
    return existing(store.invoice(tx, found.id))


def _put_in_the_books(tx: Transaction, found: Sequence[Invoice], now: datetime) -> None:
    """What belongs to the month, and the tax, are unbilled first; credit is drawn for all; then it is owed."""
    closed, drafts = closed_periods(tx), _drafts_of(tx, found)
    months = (
        month_posting(each.id, drafts[each.id], now if each.month in closed else last_moment_of(each.month))
        for each in found
    )
    post_all(tx, [*months, *(tax_posting(each.id, drafts[each.id], now) for each in found)])
    customers = [each.organisation_id for each in found]
    for organisation_id in wallet_store.organisations_to_draw(tx, now, among=customers):
        wallets.draw(tx, organisation_id, now)
    credit = sources.credit_to_apply(tx, customers)
    paid = {each.id: paid_from_credit(drafts[each.id], max(credit.get(each.organisation_id, 0), 0)) for each in found}
    store.set_totals(tx, [(each.id, paid[each.id], each.bill_to) for each in found], now)
    post_all(tx, [open_posting(each.id, paid[each.id], now) for each in found])
    for invoice_id, draft in paid.items():
        _to_wallet(tx, invoice_id, draft, now)


def _to_wallet(tx: Transaction, invoice_id: str, draft: InvoiceDraft, now: datetime) -> None:
    over = draft.cents(LineKind.TO_WALLET)
    if over:
        wallets.top_up(
            tx,
            draft.organisation_id,
            over * MICROS_A_CENT,
            f"invoice/{invoice_id}/to_wallet",
            now,
            paid_into=receivable(draft.organisation_id),
            note="Credits of an invoice that were more than its charges",
        )


def _drafts_of(tx: Transaction, found: Sequence[Invoice]) -> dict[str, InvoiceDraft]:
    """By invoice, as they are kept."""
    lines = store.lines_of(tx, [each.id for each in found])
    return {each.id: _draft_of(each, lines[each.id]) for each in found}


def _draft_of(found: Invoice, lines: Sequence[InvoiceLine]) -> InvoiceDraft:
    """Its tax rate is known by name and percentage alone."""
    rate = None
    if found.tax_name is not None and found.tax_percent is not None:
        rate = TaxRate(
            country="", region=None, name=found.tax_name, percent=found.tax_percent, effective_from=found.month
        )
    return InvoiceDraft(organisation_id=found.organisation_id, month=found.month, lines=tuple(lines), tax_rate=rate)


def _told(tx: Transaction, invoice_id: str, type: EventType, at: datetime) -> Invoice:
    """The invoice as it is now, of which this was told."""
    invoice = existing(store.invoice(tx, invoice_id))
    tell(tx, invoice, type, at)
    return invoice


def _above_zero(cents: int) -> int:
    if cents <= 0:
        raise InvalidRequest("A payment is above zero.")
    return cents
