"""Invoices: frozen values. A line is exact in micro-dollars, and has whole cents that add up; totals are in cents."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from scalar.billing.tax import TaxRate

MINIMUM_DUE = 50
"""Cents. Less can't be charged to a card: it is carried forward to the next invoice."""


class InvoiceState(StrEnum):
    """draft ──► open ──► paid | void | uncollectible
               ▲        │                 │
               └────────┘                 └──► paid (after all)
    a payment is taken back
    """

    DRAFT = "draft"
    """Rebuilt whenever usage comes late; it has no number."""
    OPEN = "open"
    """Numbered, in the books, and never changed again: a correction is a credit note."""
    PAID = "paid"
    """Nothing is left to be paid, be it by money, credit, credit notes, or because it was carried forward."""
    VOID = "void"
    """Taken back as if it had never been; what was on it is free for another."""
    UNCOLLECTIBLE = "uncollectible"
    """Nobody expects it to be paid: a bad debt."""


_S = InvoiceState
INVOICE_MOVES: frozenset[tuple[InvoiceState, InvoiceState]] = frozenset(
    {
        (_S.DRAFT, _S.OPEN),
        (_S.OPEN, _S.PAID),
        (_S.OPEN, _S.VOID),
        (_S.OPEN, _S.UNCOLLECTIBLE),
        (_S.UNCOLLECTIBLE, _S.PAID),
        (_S.PAID, _S.OPEN),
    }
)
"""Every legal move of an invoice; the table `invoice_moves` holds the same, and a trigger checks it."""


class LineKind(StrEnum):
    USAGE = "usage"
    """One job's use of one GPU type in one tier."""
    CREDIT = "credit"
    """Seconds of a job that the platform lost."""
    ALREADY_CREDITED = "already_credited"
    """Of what a job gets back: what a credit note had given back before. Nobody gets more than was charged."""
    COUPON = "coupon"
    COMMITMENT = "commitment"
    """What is missing to the month's minimum; of an earlier month, below zero: it was used after all, and told late."""
    TAX = "tax"
    TO_WALLET = "to_wallet"
    """Where credits are more than charges, the invoice is evened out: so much goes to the wallet."""
    CARRIED_IN = "carried_in"
    """Due on an earlier invoice, and too little to be charged then."""


OF_JOBS = frozenset({LineKind.USAGE, LineKind.CREDIT, LineKind.ALREADY_CREDITED})
"""Each of a job's use of one GPU type in one tier and month: what coupons are taken off."""
SUBTOTAL_KINDS = OF_JOBS | {LineKind.COUPON, LineKind.COMMITMENT}
"""What is taxed; its cents are those of its micro-dollars, all together."""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Rated lines of one job, tier and GPU type in one month, added up: what a line of an invoice is made of."""

    month: date
    """In which it was used; earlier than the invoice's where it came late."""
    kind: LineKind
    job_id: str
    job_name: str
    tier: str
    gpu_type: str
    micros: int
    gpu_seconds: Decimal = Decimal(0)
    """Below zero in a credit."""
    free_seconds: Decimal = Decimal(0)
    """Those of them that cost nothing."""
    exact: Decimal = Decimal(0)
    """Dollars."""


@dataclass(frozen=True, kw_only=True)
class InvoiceLine:
    position: int
    kind: LineKind
    description: str
    micros: int
    cents: int
    usage_month: date | None = None
    job_id: str | None = None
    tier: str | None = None
    gpu_type: str | None = None
    gpu_seconds: Decimal | None = None
    unit_price: Decimal | None = None
    """Dollars per GPU-hour, as it comes out over the whole line."""
    percent: Decimal | None = None
    """Of a coupon, or a tax."""
    coupon_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class InvoiceDraft:
    """An invoice as it is worked out; nothing in it depends on when."""

    organisation_id: str
    month: date
    lines: tuple[InvoiceLine, ...]
    tax_rate: TaxRate | None
    credit_applied: int = 0
    """Micro-dollars of credit that was drawn already, and pays for this."""
    from_credit: int = 0
    """The same in cents."""
    carried_out: int = 0
    """Cents that are too few to be charged: the next invoice has them."""

    @property
    def subtotal(self) -> int:
        return self.cents(*SUBTOTAL_KINDS)

    @property
    def subtotal_micros(self) -> int:
        return self.micros(*SUBTOTAL_KINDS)

    @property
    def charged(self) -> int:
        """What this month alone comes to, its tax included: what credit pays for. Below zero: goes to the wallet."""
        return self.cents(*SUBTOTAL_KINDS, LineKind.TAX)

    @property
    def charged_micros(self) -> int:
        return self.micros(*SUBTOTAL_KINDS, LineKind.TAX)

    @property
    def total(self) -> int:
        return sum(line.cents for line in self.lines)

    @property
    def due(self) -> int:
        return self.total - self.from_credit - self.carried_out

    def cents(self, *kinds: LineKind) -> int:
        return sum(line.cents for line in self.lines if line.kind in kinds)

    def micros(self, *kinds: LineKind) -> int:
        return sum(line.micros for line in self.lines if line.kind in kinds)


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """An invoice as it is kept. Amounts are cents, where they don't say otherwise."""

    id: str
    number: str | None
    organisation_id: str
    month: date
    state: InvoiceState
    bill_to: dict[str, Any]
    tax_name: str | None
    tax_percent: Decimal | None
    subtotal_micros: int
    subtotal: int
    tax: int
    to_wallet: int
    carried_in: int
    total: int
    credit_applied: int
    """Micro-dollars."""
    from_credit: int
    carried_out: int
    due: int
    paid: int
    credited: int
    """Of what is due: taken off by credit notes."""
    built_at: datetime
    opened_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    ended_at: datetime | None
    """When it became void or uncollectible."""
    stripe_invoice_id: str | None
    carried_into: str | None

    @property
    def outstanding(self) -> int:
        return self.due - self.paid - self.credited
