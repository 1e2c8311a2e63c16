"""Our invoices at Stripe. One call of `sync` is one tick of a sensor; `charge_due` (charging.py) collects them.

    1. write    each open invoice that Stripe is to collect
    2. ask      customers for their accounts; each invoice: a draft, its lines, finalized
    3. ask      what has changed with us since: credit notes, void, written off, paid in another way
    4. write    where it is, and what has moved

No transaction is open while Stripe is asked, so it can die between any two steps: the lease runs out, and whoever takes
it up next looks what is there before it asks again, under the same keys.
"""

from datetime import timedelta

from scalar.billing import collection_store as store
from scalar.billing import invoice_store, invoices, turns
from scalar.billing.collection_store import InvoiceWork
from scalar.billing.invoice_model import Invoice, InvoiceLine, InvoiceState
from scalar.billing.payment_model import SyncState
from scalar.billing.stripe_answers import StripeInvoice
from scalar.billing.stripe_customer_store import forget_customer
from scalar.billing.stripe_customers import sync_customers
from scalar.billing.stripe_errors import StripeRefused, burnt
from scalar.billing.stripe_following import follow_invoice
from scalar.billing.stripe_lines import items_of
from scalar.billing.till import Done, Till, described, pause_after

_AT_ONCE = 20
_CLOCKS_DIFFER_BY = timedelta(hours=1)
_LOOK_AGAIN, _LOOK_SOON = timedelta(hours=1), timedelta(minutes=1)
_DAY = timedelta(days=1)


def sync(till: Till, *, seconds: float = turns.SECONDS) -> Done:
    with till.transact() as tx:
        store.intend_invoices(tx, till.clock())
    done = sync_customers(till, seconds=seconds / 2)
    done.add(turns.take(till, _INVOICES, seconds=seconds / 2))
    return done


def _sync(till: Till, work: InvoiceWork) -> None:
    with till.transact() as tx:
        ours = invoices.existing(invoice_store.invoice(tx, work.invoice_id))
        lines = invoice_store.lines(tx, work.invoice_id)
    theirs = _there(till, work)
    if theirs is None or theirs.status == "draft":
        theirs = _finalized(till, work, ours, lines, theirs)
        if theirs is None:
            return
    _book(till, work, theirs)
    theirs = _as_ours_is(till, work, theirs)
    complete = _book(till, work, theirs)
    with till.transact() as tx:
        look_at = None if theirs.status in {"paid", "void"} else till.clock() + _LOOK_AGAIN
        look_at = look_at if complete else till.clock() + _LOOK_SOON
        store.done_with_invoice(tx, work.invoice_id, look_at=look_at)


def _book(till: Till, work: InvoiceWork, theirs: StripeInvoice) -> bool:
    return follow_invoice(till, work.invoice_id, theirs)


def _there(till: Till, work: InvoiceWork) -> StripeInvoice | None:
    """The invoice at Stripe that this one has become, if it has."""
    if work.stripe_id is not None:
        return till.stripe.invoice(work.stripe_id)
    if work.tries == 1:
        return None
    since = work.intended_at - _CLOCKS_DIFFER_BY
    found = [
        each.id
        for each in till.stripe.invoices_of(work.customer, since)
        if each.metadata.get("scalar_invoice") == work.invoice_id
    ]
    return till.stripe.invoice(found[0]) if found else None


def _finalized(
    till: Till, work: InvoiceWork, ours: Invoice, lines: list[InvoiceLine], draft: StripeInvoice | None
) -> StripeInvoice | None:
    """None: it was over before there was anything to collect."""
    if ours.state in {InvoiceState.VOID, InvoiceState.PAID}:
        if draft is not None:
            till.stripe.delete_draft(draft.id, key=work.key("delete"))
        with till.transact() as tx:
            store.keep_stripe_invoice(tx, ours.id, SyncState.DROPPED)
            store.done_with_invoice(tx, ours.id)
        return None
    draft = draft or _draft(till, work, ours)
    with till.transact() as tx:
        store.keep_stripe_invoice(tx, ours.id, SyncState.DRAFT, stripe_id=draft.id)
        invoice_store.set_stripe_invoice(tx, ours.id, draft.id)
    _put_lines(till, work, ours, lines, draft)
    whole = till.stripe.invoice(draft.id)
    if (whole.total, whole.amount_due) != (ours.due, ours.due):
        raise StripeRefused(
            f"Its draft is {whole.total}, and {whole.amount_due} to be paid, but {ours.due} is due: not finalized.",
            status=None,
            code="differs",
        )
    opened = till.stripe.finalize if work.auto_pay else till.stripe.send
    return opened(draft.id, key=work.key("finalize"))


def _draft(till: Till, work: InvoiceWork, ours: Invoice) -> StripeInvoice:
    details: dict[str, object] = {
        "customer": work.customer,
        "number": ours.number,
        "metadata": {"scalar_invoice": ours.id, "scalar_organisation": ours.organisation_id},
    }
    if work.auto_pay:
        details["collection_method"] = "charge_automatically"
    else:
        # A time that is over would be refused.
        left = max((ours.due_at or till.clock()) - till.clock(), _DAY)
        details |= {"collection_method": "send_invoice", "days_until_due": left // _DAY}
    try:
        return till.stripe.create_invoice(details, key=work.key("draft"))
    except StripeRefused as error:
        if error.code == "resource_missing" and till.stripe.customer(work.customer).deleted:
            with till.transact() as tx:
                forget_customer(tx, work.customer, till.clock())
        raise


def _put_lines(till: Till, work: InvoiceWork, ours: Invoice, lines: list[InvoiceLine], draft: StripeInvoice) -> None:
    there = {each.metadata.get("scalar_line") for each in till.stripe.items(draft.id)} if work.tries > 1 else set()
    for item in items_of(ours, lines):
        if item.name not in there:
            till.stripe.add_item(
                work.customer,
                draft.id,
                item.cents,
                item.description,
                metadata={"scalar_line": item.name},
                key=work.key(f"item:{item.name}"),
            )


def _as_ours_is(till: Till, work: InvoiceWork, theirs: StripeInvoice) -> StripeInvoice:
    """What has changed with us changes there: credit notes first, then how it ended."""
    with till.transact() as tx:
        ours = invoices.existing(invoice_store.invoice(tx, work.invoice_id))
        notes = store.untold_notes(tx, work.invoice_id)
    for note_id, cents in notes:
        _tell_note(till, work, theirs, note_id, cents)
        theirs = till.stripe.invoice(theirs.id)
    if ours.state is InvoiceState.VOID and theirs.status in {"open", "uncollectible"}:
        return till.stripe.void_invoice(theirs.id, key=work.key("void"))
    if ours.state is InvoiceState.UNCOLLECTIBLE and theirs.status == "open":
        return till.stripe.mark_uncollectible(theirs.id, key=work.key("uncollectible"))
    if ours.state is InvoiceState.PAID and theirs.status in {"open", "uncollectible"}:
        return till.stripe.paid_elsewhere(theirs.id, key=work.key("elsewhere"))
    return theirs


def _tell_note(till: Till, work: InvoiceWork, theirs: StripeInvoice, note_id: str, cents: int) -> None:
    """One that comes after the payment was given back as credit here, which Stripe is only told."""
    stripe_id = till.stripe.credit_notes(theirs.id).get(note_id) if work.tries > 1 else None
    if stripe_id is None and theirs.status in {"open", "paid"}:
        elsewhere = cents if theirs.status == "paid" else 0
        key = f"scalar:note:{note_id}:{theirs.status}:{work.version}"
        stripe_id = till.stripe.create_credit_note(theirs.id, cents, elsewhere=elsewhere, note=note_id, key=key)
    with till.transact() as tx:
        store.keep_note(tx, note_id, work.invoice_id, stripe_id, till.clock())


def _put_off(till: Till, work: InvoiceWork, error: Exception) -> None:
    with till.transact() as tx:
        now = till.clock()
        store.done_with_invoice(
            tx,
            work.invoice_id,
            not_before=now + pause_after(work.tries),
            look_at=now + _LOOK_AGAIN,
            problem=described(error),
            new_key=burnt(error),
        )


_INVOICES = turns.Waiting(
    lease=store.lease_invoices, work=_sync, put_off=_put_off, name=lambda work: work.invoice_id, at_most=_AT_ONCE
)
