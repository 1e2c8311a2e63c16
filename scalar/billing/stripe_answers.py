"""What Stripe answers, as frozen values. Amounts are cents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class StripeCustomer:
    id: str
    deleted: bool
    card: str | None
    """Its default payment method."""
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StripeInvoice:
    id: str
    status: str
    """draft, open, paid, void or uncollectible."""
    customer: str
    total: int
    amount_due: int
    amount_remaining: int
    hosted_url: str | None
    charges: tuple[str, ...]
    """The last charge of each of its payments, failed ones included."""
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StripeItem:
    """A line of a draft."""

    id: str
    cents: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StripeIntent:
    id: str
    status: str
    cents: int
    charge: str | None
    customer: str | None
    client_secret: str | None
    """What the customer's browser confirms the payment with; it isn't kept."""
    metadata: Mapping[str, str]

    def __repr__(self) -> str:
        return f"StripeIntent({self.id}, {self.status})"


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A balance transaction: `cents` to us, or from us where it is below zero; Stripe's fee comes off."""

    id: str
    type: str
    category: str
    source: str | None
    cents: int
    fee: int
    at: datetime

    @property
    def net(self) -> int:
        return self.cents - self.fee


@dataclass(frozen=True, kw_only=True)
class StripeRefund:
    id: str
    status: str
    cents: int
    movements: tuple[Movement, ...]
    """Its own; and back again, where it failed."""
    failure: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StripeDispute:
    id: str
    status: str
    reason: str
    cents: int
    opened_at: datetime
    movements: tuple[Movement, ...]

    @property
    def closed(self) -> bool:
        return self.status in {"won", "lost", "warning_closed", "prevented"}


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A try to take money, with all that came of it."""

    id: str
    cents: int
    paid: bool
    intent: str | None
    at: datetime
    movement: Movement | None
    """None: it failed, or Stripe has not worked it out yet."""
    refunds: tuple[StripeRefund, ...]
    disputes: tuple[StripeDispute, ...]


@dataclass(frozen=True, kw_only=True)
class StripeEvent:
    """Something happened, and to what; what it says of that is left out: it may be old, or out of order."""

    id: str
    type: str
    object_type: str
    object_id: str | None
    created_at: datetime
