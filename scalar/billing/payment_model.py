"""Payments, refunds, top-ups: frozen values, and where a movement of money goes. Pure; amounts are cents.

money comes   what was given up for lost ─► what is left of the invoice ─► the wallet
money goes    our refund, or: what it had paid of the invoice ─► what is left of it in the wallet ─► a bad debt
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SyncState(StrEnum):
    """intended ─► draft ─► open ─► paid | void | uncollectible (─► paid after all)
    └──────────┴──► dropped
    """

    INTENDED = "intended"
    """It may be at Stripe, or not: whoever takes it up after another looks first."""
    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"
    DROPPED = "dropped"
    """Ours was over before there was anything to collect at Stripe."""


class AttemptState(StrEnum):
    INTENDED = "intended"
    """It may have been made, or not: the invoice at Stripe tells."""
    PAID = "paid"
    DECLINED = "declined"
    REFUSED = "refused"
    """Stripe would not try."""
    WITHDRAWN = "withdrawn"
    """There was nothing to collect any more."""


class TopUpState(StrEnum):
    INTENDED = "intended"
    PENDING = "pending"
    """At Stripe: the customer has still to confirm it."""
    PAID = "paid"
    FAILED = "failed"


class RefundState(StrEnum):
    INTENDED = "intended"
    PENDING = "pending"
    """At Stripe, and not on its balance yet."""
    DONE = "done"
    FAILED = "failed"
    """The credit that it was paid from is back in the wallet."""


@dataclass(frozen=True, kw_only=True)
class Payment:
    """A charge that went well: for an invoice, or to top up a wallet."""

    id: str
    organisation_id: str
    invoice_id: str | None
    top_up_id: str | None
    stripe_charge_id: str
    stripe_intent_id: str | None
    cents: int
    paid_at: datetime


@dataclass(frozen=True, kw_only=True)
class PaymentSum:
    """A payment with what has moved so far."""

    payment: Payment
    fees: int
    refunded: int
    disputed: int
    refunding: int
    """By refunds of ours that are still on their way."""

    @property
    def refundable(self) -> int:
        return self.payment.cents - self.refunded - self.disputed - self.refunding


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a movement was for; below zero, from where it was taken."""

    invoice: int = 0
    wallet: int = 0
    refund: int = 0
    bad_debt: int = 0

    @property
    def total(self) -> int:
        return self.invoice + self.wallet + self.refund + self.bad_debt


def parts_of_income(cents: int, *, lost: int, outstanding: int) -> Parts:
    """`lost`: what this payment has cost us as a bad debt; `outstanding`: what its invoice can still take."""
    bad_debt = min(cents, lost)
    invoice = min(cents - bad_debt, outstanding)
    return Parts(bad_debt=bad_debt, invoice=invoice, wallet=cents - bad_debt - invoice)


def parts_of_outgo(cents: int, *, applied: int, in_wallet: int) -> Parts:
    """`applied`: what of this payment its invoice can give back; `in_wallet`: what of it nobody has used."""
    invoice = min(cents, applied)
    wallet = min(cents - invoice, in_wallet)
    return Parts(invoice=-invoice, wallet=-wallet, bad_debt=-(cents - invoice - wallet))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A try to collect an invoice."""

    id: str
    invoice_id: str
    number: int
    state: AttemptState
    cents: int
    version: int
    made_at: datetime
    ended_at: datetime | None
    decline_code: str | None
    message: str | None

    @property
    def key(self) -> str:
        return f"scalar:pay:{self.id}:{self.version}"


@dataclass(frozen=True, kw_only=True)
class Refund:
    id: str
    invoice_id: str
    organisation_id: str
    payment_id: str
    cents: int
    reason: str
    state: RefundState
    stripe_refund_id: str | None
    version: int
    tries: int
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    message: str | None

    @property
    def key(self) -> str:
        return f"scalar:refund:{self.id}:{self.version}"


@dataclass(frozen=True, kw_only=True)
class TopUp:
    id: str
    organisation_id: str
    cents: int
    state: TopUpState
    stripe_id: str | None
    version: int
    tries: int
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    message: str | None

    @property
    def key(self) -> str:
        return f"scalar:topup:{self.id}:{self.version}"
