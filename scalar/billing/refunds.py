"""Money back to a card: paid from the credit that a correction of the invoice has put in the wallet.

asked for   wallet ─► refunds        in one transaction with the credit note, where lines are corrected with it
sent        under its own key
moved       refunds ─► cash:stripe   (payments.py); refused: refunds ─► wallet
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from scalar.accounts.store import audit
from scalar.billing import crediting, invoice_store, invoices, refund_store, turns, wallet_store, wallets
from scalar.billing import payment_store as store
from scalar.billing.credit_notes import Correction
from scalar.billing.invoice_model import Invoice
from scalar.billing.ledger import Posting, move, wallet
from scalar.billing.ledger_store import post
from scalar.billing.money import MICROS_A_CENT
from scalar.billing.payment_model import PaymentSum, Refund, RefundState
from scalar.billing.payments import REFUNDS, Purpose, absorb, give_back
from scalar.billing.stripe_errors import StripeRefused, burnt
from scalar.billing.till import Done, Till, pause_after
from scalar.database import Transaction
from scalar.errors import Conflict, IdempotencyConflict, InvalidRequest
from scalar.ids import new_id

_AT_ONCE = 20
_LOOK_AGAIN = timedelta(hours=1)


def request(
    tx: Transaction,
    invoice_id: str,
    *,
    corrections: Sequence[Correction] = (),
    cents: int | None = None,
    reason: str,
    actor: str,
    now: datetime,
    key: str | None = None,
) -> Refund:
    """Give back what these lines were too much; or so much (all, if None) of the credit that came of this invoice.

    Raises: `NotFound`; `Conflict` where there is no such credit, or no payment that it could go back to;
    `InvalidRequest`; `IdempotencyConflict`.
    """
    invoice = invoices.existing(invoice_store.invoice(tx, invoice_id))
    if corrections and cents is not None:
        raise InvalidRequest("amount: it follows from the lines; say one of the two.")
    asked = sha256(repr((sorted(corrections, key=lambda each: each.position), cents, reason)).encode()).digest()
    earlier = refund_store.refund_of_key(tx, invoice.id, key) if key else None
    if earlier is not None:
        if earlier[1] != asked:
            raise IdempotencyConflict("This idempotency key belongs to another refund of the invoice.")
        return earlier[0]
    paid = store.payments(tx, invoice_id=invoice.id, limit=1000, for_update=True)
    if corrections:
        note = crediting.credit(
            tx, invoice.id, corrections, reason=reason, actor=actor, now=now, key=f"refund/{key}" if key else None
        )
        cents = note.to_wallet
    made = _made(tx, invoice, paid, cents, reason=reason, actor=actor, now=now)
    refund_store.insert_refund(tx, made, idempotency_key=key, request_hash=asked if key else None)
    audit(tx, actor, "invoice.refund", invoice.id, refund=made.id, cents=made.cents, reason=reason)
    return made


def send(till: Till, *, seconds: float = turns.SECONDS) -> Done:
    """Refunds that were asked for, to Stripe; those on their way are looked at every hour, told of or not."""
    return turns.take(till, _ASKED_FOR, seconds=seconds)


def _made(
    tx: Transaction,
    invoice: Invoice,
    paid: Sequence[PaymentSum],
    cents: int | None,
    *,
    reason: str,
    actor: str,
    now: datetime,
) -> Refund:
    lots = store.lots_of_invoice(tx, invoice.id)
    left = sum(micros for _, micros in lots) // MICROS_A_CENT
    wanted = left if cents is None else cents
    if not 0 < wanted <= left:
        raise Conflict(
            f"Of {invoice.number or invoice.id}, {_dollars(left)} of credit are left to be refunded: correct its lines"
            " to give back more."
        )
    payment = next((each.payment for each in paid if each.refundable >= wanted), None)
    if payment is None:
        raise Conflict(f"No payment of {invoice.number or invoice.id} has {_dollars(wanted)} left to be refunded.")
    refund = Refund(
        id=new_id("ref"),
        invoice_id=invoice.id,
        organisation_id=invoice.organisation_id,
        payment_id=payment.id,
        cents=wanted,
        reason=reason,
        state=RefundState.INTENDED,
        stripe_refund_id=None,
        version=1,
        tries=0,
        created_at=now,
        created_by=actor,
        ended_at=None,
        message=None,
    )
    _take(tx, refund, lots, now)
    return refund


def _take(tx: Transaction, refund: Refund, lots: Sequence[tuple[str, int]], now: datetime) -> None:
    micros = wanted = refund.cents * MICROS_A_CENT
    for lot_id, left in lots:
        taken = min(left, wanted)
        if taken:
            wallet_store.write_off(tx, lot_id, taken)
        wanted -= taken
    entries = move(micros, debit=wallet(refund.organisation_id), credit=REFUNDS)
    post(tx, Posting(source=f"refund/{refund.id}/asked", kind="refund", at=now, entries=entries))
    wallets.watch(tx, refund.organisation_id, now)


def _send(till: Till, refund: Refund) -> None:
    with till.transact() as tx:
        payment = store.payment(tx, refund.payment_id)
    charge = till.stripe.charge(payment.stripe_charge_id)
    known = any(each.metadata.get("scalar_refund") == refund.id for each in charge.refunds)
    if refund.state is RefundState.INTENDED and not known:
        metadata = {"scalar_refund": refund.id, "scalar_invoice": refund.invoice_id}
        till.stripe.create_refund(charge.id, refund.cents, metadata=metadata, key=refund.key)
        charge = till.stripe.charge(charge.id)
    with till.transact() as tx:
        purpose = Purpose(organisation_id=payment.organisation_id, invoice_id=payment.invoice_id)
        absorb(tx, charge, purpose, till.clock())
        refund_store.put_refund_off(tx, refund.id, till.clock() + _LOOK_AGAIN, new_key=False)


def _put_off(till: Till, refund: Refund, error: Exception) -> None:
    with till.transact() as tx:
        if isinstance(error, StripeRefused) and refund.state is RefundState.INTENDED:
            give_back(tx, refund.id, error.message, till.clock())
        else:
            refund_store.put_refund_off(tx, refund.id, till.clock() + pause_after(refund.tries), new_key=burnt(error))


_ASKED_FOR = turns.Waiting(
    lease=refund_store.lease_refunds, work=_send, put_off=_put_off, name=lambda refund: refund.id, at_most=_AT_ONCE
)


def _dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"
