"""Coupons: something off an invoice. Pure; which invoice took one is the invoices' to know."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal


@dataclass(frozen=True, kw_only=True)
class Coupon:
    """Off each invoice of a month that begins in [starts_at, ends_at), or off the first such invoice only."""

    id: str
    code: str
    organisation_id: str | None
    """None: anybody's."""
    percent_off: Decimal | None = None
    amount_off_micros: int | None = None
    starts_at: datetime
    ends_at: datetime | None = None
    once: bool = True

    def __post_init__(self) -> None:
        """Raises: `ValueError` where it takes off nothing, or in two ways."""
        if (self.percent_off is None) is (self.amount_off_micros is None):
            raise ValueError("a coupon takes off a percentage or an amount")
        if self.percent_off is not None and not 0 < self.percent_off <= 100:
            raise ValueError("a percentage off is above 0 and at most 100")
        if self.amount_off_micros is not None and self.amount_off_micros <= 0:
            raise ValueError("an amount off is above zero")

    def holds(self, organisation_id: str, at: datetime) -> bool:
        theirs = self.organisation_id in (None, organisation_id)
        return theirs and self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


def taken_off(coupon: Coupon, amount: int) -> int:
    """Micro-dollars off an amount of them: never more than it, and nothing of what is not above zero."""
    if amount <= 0:
        return 0
    if coupon.amount_off_micros is not None:
        return min(coupon.amount_off_micros, amount)
    share = amount * (coupon.percent_off or Decimal(0)) / 100
    return int(share.to_integral_value(ROUND_HALF_EVEN))


def best(coupons: Iterable[Coupon], amount: int) -> Coupon | None:
    """The one that takes off most; the first of those that take off the same. They don't add up."""
    return max(coupons, key=lambda each: taken_off(each, amount), default=None)
