"""What Stripe has of ours is fetched as it is now, and our books follow: whoever has heard of it, and however late.

Nothing that an event says is believed but what it is about. What is not ours is left alone.
"""

from collections.abc import Callable

from scalar.billing import collection_store as store
from scalar.billing import invoice_store, payment_store, top_up_store
from scalar.billing.payment_model import SyncState, TopUpState
from scalar.billing.payments import Purpose, absorb
from scalar.billing.stripe_answers import Charge, StripeIntent, StripeInvoice
from scalar.billing.stripe_customer_store import forget_customer
from scalar.billing.stripe_errors import StripeMissing
from scalar.billing.till import Till
from scalar.database import Transaction

NOT_OURS = "not ours"
NOTHING_TO_DO = "nothing to do"
_HEARD = (
    "charge.",
    "refund.",
    "invoice.paid",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "customer.deleted",
)
"""Types of events, or how they begin, after which there may be something to book."""


def follow(till: Till, kind: str, id: str | None, type: str = "") -> str:
    """What became of it, in words. Raises: `StripeError`, where it must be tried again."""
    look = _forget_customer if type == "customer.deleted" else _LOOKS.get(kind)
    if look is None or id is None or not (type == "" or type.startswith(_HEARD)):
        return NOTHING_TO_DO
    try:
        return look(till, id)
    except StripeMissing:
        return "gone"


def follow_invoice(till: Till, invoice_id: str, theirs: StripeInvoice) -> bool:
    """Book its charges, and note where it is; True where all that moved is booked."""
    complete = True
    for charge_id in theirs.charges:
        charge = till.stripe.charge(charge_id)
        with till.transact() as tx:
            absorb(tx, charge, _purpose(tx, invoice_id), till.clock())
        complete = complete and (not charge.paid or charge.movement is not None)
    with till.transact() as tx:
        state = SyncState(theirs.status)
        store.keep_stripe_invoice(tx, invoice_id, state, stripe_id=theirs.id, hosted_url=theirs.hosted_url)
    return complete


def follow_intent(till: Till, intent: StripeIntent) -> str:
    """Of a top-up of ours, or of an invoice."""
    wanted = intent.metadata.get("scalar_top_up")
    if wanted is not None:
        with till.transact() as tx:
            top_up = top_up_store.top_up(tx, wanted)
        if top_up is not None:
            return _follow_top_up(till, wanted, intent)
    return _follow_charge_named(till, intent.charge) if intent.charge else NOTHING_TO_DO


def _follow_invoice_named(till: Till, id: str) -> str:
    theirs = till.stripe.invoice(id)
    with till.transact() as tx:
        ours = store.invoice_at_stripe(tx, theirs.id)
    if ours is None:
        # One that we have made and not written down yet is found by whoever makes it.
        return "on its way" if "scalar_invoice" in theirs.metadata else NOT_OURS
    follow_invoice(till, ours, theirs)
    return f"{ours} is {theirs.status}"


def _follow_charge_named(till: Till, id: str) -> str:
    charge = till.stripe.charge(id)
    purpose = _purpose_of(till, charge)
    if purpose is None:
        return NOT_OURS
    with till.transact() as tx:
        booked = absorb(tx, charge, purpose, till.clock())
    return f"{booked} movement(s) booked"


def _purpose_of(till: Till, charge: Charge) -> Purpose | None:
    """None: it is for nothing of ours."""
    with till.transact() as tx:
        known = payment_store.payment_of_charge(tx, charge.id)
    if known is not None:
        return Purpose(organisation_id=known.organisation_id, invoice_id=known.invoice_id, top_up_id=known.top_up_id)
    if charge.intent is None:
        return None
    theirs = till.stripe.invoice_of_intent(charge.intent)
    if theirs is not None:
        with till.transact() as tx:
            ours = store.invoice_at_stripe(tx, theirs)
            return _purpose(tx, ours) if ours is not None else None
    wanted = till.stripe.intent(charge.intent).metadata.get("scalar_top_up")
    with till.transact() as tx:
        top_up = top_up_store.top_up(tx, wanted) if wanted else None
    return Purpose(organisation_id=top_up.organisation_id, top_up_id=top_up.id) if top_up else None


def _purpose(tx: Transaction, invoice_id: str) -> Purpose:
    invoice = invoice_store.invoice(tx, invoice_id)
    assert invoice is not None  # noqa: S101 - a foreign key says so
    return Purpose(organisation_id=invoice.organisation_id, invoice_id=invoice_id)


def _follow_top_up(till: Till, top_up_id: str, intent: StripeIntent) -> str:
    charge = till.stripe.charge(intent.charge) if intent.charge and intent.status == "succeeded" else None
    with till.transact() as tx:
        top_up = top_up_store.top_up(tx, top_up_id, for_update=True)
        assert top_up is not None  # noqa: S101 - top-ups stay
        if charge is not None:
            absorb(tx, charge, Purpose(organisation_id=top_up.organisation_id, top_up_id=top_up_id), till.clock())
        state = TopUpState.FAILED if intent.status == "canceled" else TopUpState.PENDING
        why = "It was not confirmed." if state is TopUpState.FAILED else None
        if charge is None or charge.movement is None:
            top_up_store.move_top_up(tx, top_up_id, state, stripe_id=intent.id, now=till.clock(), message=why)
    return f"{top_up_id}: {intent.status}"


def _forget_customer(till: Till, id: str) -> str:
    """Invoices to come have a new one."""
    with till.transact() as tx:
        organisation = forget_customer(tx, id, till.clock())
    return f"{organisation} has no customer any more" if organisation else NOT_OURS


def _follow_refund(till: Till, id: str) -> str:
    charge = till.stripe.refund_charge(id)
    return _follow_charge_named(till, charge) if charge else NOT_OURS


_LOOKS: dict[str, Callable[[Till, str], str]] = {
    "invoice": _follow_invoice_named,
    "charge": _follow_charge_named,
    "refund": _follow_refund,
    "dispute": lambda till, du: _follow_charge_named(till, till.stripe.dispute_charge(du)),
    "payment_intent": lambda till, pi: follow_intent(till, till.stripe.intent(pi)),
}
