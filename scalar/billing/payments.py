"""What a charge means for our books: each function is one deed, inside the caller's transaction.

    charge            cash:stripe  ─► receivable, or wallet     its fee: payment_fees ─► cash:stripe
    refund of ours    refunds      ─► cash:stripe               (wallet ─► refunds, when it was asked for)
    any other refund  receivable   ─► cash:stripe               the invoice is to be paid again
    dispute           receivable   ─► cash:stripe               the same; won: the other way round; lost: a bad debt

A charge is taken as Stripe has it now, with all that came of it. Each of its movements on Stripe's balance is booked
once, whoever told of it, however often and in whatever order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from scalar.accounts.store import audit
from scalar.billing import dunning, invoices, refund_store, top_up_store, wallet_store, wallets
from scalar.billing import invoice_store as invoice_rows
from scalar.billing import payment_store as store
from scalar.billing.invoice_model import Invoice, InvoiceState
from scalar.billing.ledger import (
    BAD_DEBT,
    CASH_STRIPE,
    PAYMENT_FEES,
    Account,
    Entry,
    Kind,
    Posting,
    move,
    netted,
    receivable,
    wallet,
)
from scalar.billing.ledger_store import closed_periods, post
from scalar.billing.money import MICROS_A_CENT
from scalar.billing.payment_model import Parts, Payment, RefundState, TopUpState, parts_of_income, parts_of_outgo
from scalar.billing.stripe_answers import Charge, Movement, StripeRefund
from scalar.database import Transaction

REFUNDS = Account(name="refunds", kind=Kind.LIABILITY)
"""Promised back to customers' cards, and not on its way there yet."""
_ACTOR = "stripe"
_PAYABLE = {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a charge is for: one of the two."""

    organisation_id: str
    invoice_id: str | None = None
    top_up_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A movement, and what it is of."""

    kind: str
    source: str
    movement: Movement
    refund: StripeRefund | None = None


def absorb(tx: Transaction, charge: Charge, purpose: Purpose, now: datetime) -> int:
    """Book what moved of a charge and is not booked; how many movements that was."""
    if not charge.paid:
        return 0
    payment = store.keep_payment(
        tx, charge, purpose.organisation_id, invoice_id=purpose.invoice_id, top_up_id=purpose.top_up_id
    )
    booked = 0
    for step in _steps(charge):
        if not store.movement_known(tx, step.movement.id):
            _book(tx, payment, step, now)
            booked += 1
    if payment.top_up_id is not None and charge.movement is not None:
        top_up_store.move_top_up(tx, payment.top_up_id, TopUpState.PAID, stripe_id=charge.intent, now=now, message=None)
    _follow_refunds(tx, charge, now)
    _follow_disputes(tx, payment, charge, now)
    return booked


def _steps(charge: Charge) -> Iterator[_Step]:
    """Money comes before it goes: where the charge itself is not worked out yet, all waits for it."""
    if charge.movement is None:
        return
    yield _Step(kind="charge", source=charge.id, movement=charge.movement)
    later = [
        _Step(kind="refund", source=each.id, movement=m, refund=each) for each in charge.refunds for m in each.movements
    ]
    later += [_Step(kind="dispute", source=each.id, movement=m) for each in charge.disputes for m in each.movements]
    # Stripe's time is whole seconds: what came back within one had gone before.
    yield from sorted(later, key=lambda step: (step.movement.at, step.movement.cents > 0))


def _book(tx: Transaction, payment: Payment, step: _Step, now: datetime) -> None:
    movement = step.movement
    at = now if movement.at.date().replace(day=1) in closed_periods(tx) else movement.at
    invoice = invoice_rows.invoice(tx, payment.invoice_id, for_update=True) if payment.invoice_id is not None else None
    parts = _parts(tx, payment, invoice, step)
    source = f"stripe/{movement.id}"
    entries = [
        *move(movement.fee * MICROS_A_CENT, debit=PAYMENT_FEES, credit=CASH_STRIPE),
        *_entries(payment, parts),
    ]
    kind = f"payment.{step.kind}"
    post(tx, Posting(source=source, kind=kind, at=at, entries=netted(entries), description=step.source))
    _to_wallet(tx, payment, parts.wallet, source, at)
    store.insert_movement(tx, payment, step.kind, step.source, movement, parts)
    audit(tx, _ACTOR, kind, payment.id, cents=movement.cents, fee=movement.fee, stripe_id=step.source)
    if invoice is not None:
        _to_invoice(tx, invoice, parts.invoice, source, at, step)


def _parts(tx: Transaction, payment: Payment, invoice: Invoice | None, step: _Step) -> Parts:
    cents = step.movement.cents
    if _ours(tx, step):
        return Parts(refund=cents)
    so_far = store.parts_so_far(tx, payment.id)
    if cents > 0:
        takes = invoice.outstanding if invoice is not None and invoice.state in _PAYABLE else 0
        return parts_of_income(cents, lost=max(-so_far.bad_debt, 0), outstanding=takes)
    gives = invoice is not None and invoice.state in {InvoiceState.OPEN, InvoiceState.PAID}
    applied = min(so_far.invoice, invoice.paid) if gives and invoice is not None else 0
    left = sum(micros for _, micros in store.lots_of_payment(tx, payment.id)) // MICROS_A_CENT
    return parts_of_outgo(-cents, applied=applied, in_wallet=left)


def _ours(tx: Transaction, step: _Step) -> bool:
    """A refund that we asked for: the credit that it is paid from was taken then."""
    wanted = step.refund.metadata.get("scalar_refund") if step.refund else None
    return wanted is not None and refund_store.refund(tx, wanted) is not None


def _entries(payment: Payment, parts: Parts) -> list[Entry]:
    """What comes to the wallet is posted with its lot."""
    whose = payment.organisation_id
    against = [(receivable(whose), parts.invoice), (REFUNDS, parts.refund), (BAD_DEBT, parts.bad_debt)]
    against += [(wallet(whose), min(parts.wallet, 0))]
    return [
        entry for account, cents in against for entry in move(cents * MICROS_A_CENT, debit=CASH_STRIPE, credit=account)
    ]


def _to_wallet(tx: Transaction, payment: Payment, cents: int, source: str, at: datetime) -> None:
    if cents > 0:
        note = "By card" if payment.top_up_id else "Paid, and more than was due"
        wallets.top_up(tx, payment.organisation_id, cents * MICROS_A_CENT, source, at, note=note)
        return
    wanted = -cents * MICROS_A_CENT
    for lot_id, left in store.lots_of_payment(tx, payment.id):
        taken = min(left, wanted)
        if taken:
            wallet_store.write_off(tx, lot_id, taken)
        wanted -= taken


def _to_invoice(tx: Transaction, invoice: Invoice, cents: int, source: str, at: datetime, step: _Step) -> None:
    if cents > 0:
        invoices.mark_paid(tx, invoice.id, cents, source=source, at=at, actor=_ACTOR)
    elif cents < 0:
        reason = f"{step.kind} at Stripe"
        invoices.take_back(tx, invoice.id, -cents, source=source, at=at, reason=reason, actor=_ACTOR)
    dunning.end_if_paid(tx, invoice.id, at)


def _follow_refunds(tx: Transaction, charge: Charge, now: datetime) -> None:
    for told in charge.refunds:
        wanted = told.metadata.get("scalar_refund")
        ours = refund_store.refund(tx, wanted, for_update=True) if wanted else None
        if ours is not None:
            follow_refund(tx, ours.id, told, now)


def follow_refund(tx: Transaction, refund_id: str, told: StripeRefund, now: datetime) -> None:
    """Where a refund of ours is, by what Stripe says; one that failed after all gives the customer credit instead."""
    ours = refund_store.refund(tx, refund_id, for_update=True)
    if ours is None or (ours.ended_at is not None and told.status != "failed"):
        return
    if told.status in {"failed", "canceled"}:
        give_back(tx, refund_id, told.failure or told.status, now, stripe_id=told.id)
        return
    done = told.status == "succeeded" and all(store.movement_known(tx, each.id) for each in told.movements)
    state = RefundState.DONE if done and told.movements else RefundState.PENDING
    refund_store.end_refund(tx, refund_id, state, stripe_id=told.id, now=now, message=None)


def give_back(tx: Transaction, refund_id: str, why: str, now: datetime, *, stripe_id: str | None = None) -> None:
    """A refund came to nothing: what it was to be paid from is credit again. Once."""
    ours = refund_store.refund(tx, refund_id, for_update=True)
    if ours is None or ours.state is RefundState.FAILED:
        return
    micros, note = ours.cents * MICROS_A_CENT, "A refund that could not be made"
    wallets.top_up(tx, ours.organisation_id, micros, f"refund/{ours.id}", now, paid_into=REFUNDS, note=note)
    refund_store.end_refund(tx, ours.id, RefundState.FAILED, stripe_id=stripe_id, now=now, message=why)
    audit(tx, _ACTOR, "refund.failed", ours.id, reason=why)


def _follow_disputes(tx: Transaction, payment: Payment, charge: Charge, now: datetime) -> None:
    for dispute in charge.disputes:
        if not store.keep_dispute(tx, payment, dispute, now):
            continue
        audit(tx, _ACTOR, f"dispute.{dispute.status}", payment.id, cents=dispute.cents, reason=dispute.reason)
        invoice = invoice_rows.invoice(tx, payment.invoice_id) if payment.invoice_id else None
        if dispute.status == "lost" and invoice is not None and invoice.state is InvoiceState.OPEN:
            reason = f"A dispute was lost: {dispute.reason}"
            invoices.mark_uncollectible(tx, invoice.id, actor=_ACTOR, reason=reason, now=now)
