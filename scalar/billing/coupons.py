"""Coupons: something off an invoice. Pure; which invoice took one is the invoices' to know.

for one organisation ──┐
for everybody ─────────┼─► off the invoice of each month in which it holds (`once`: of the first of them)
redeemed, by whom ─────┘
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from scalar.billing.months import end_of, start_of


@dataclass(frozen=True, kw_only=True)
class Coupon:
    """Off the invoice of each month, some moment of which lies in [starts_at, ends_at), or off the first such only."""

    id: str
    code: str
    organisation_id: str | None
    """None: for whoever redeems it, or everybody's."""
    everybody: bool = False
    """Nobody needs to redeem it."""
    percent_off: Decimal | None = None
    amount_off_micros: int | None = None
    starts_at: datetime
    ends_at: datetime | None = None
    once: bool = True
    ended_at: datetime | None = None
    """Taken back then: off no invoice that isn't open yet."""

    def __post_init__(self) -> None:
        """Raises: `ValueError` where it takes off nothing, or in two ways; or is both everybody's and one's own."""
        if self.everybody and self.organisation_id is not None:
            raise ValueError("a coupon is everybody's or one organisation's")
        if (self.percent_off is None) is (self.amount_off_micros is None):
            raise ValueError("a coupon takes off a percentage or an amount")
        if self.percent_off is not None and not 0 < self.percent_off <= 100:
            raise ValueError("a percentage off is above 0 and at most 100")
        if self.amount_off_micros is not None and self.amount_off_micros <= 0:
            raise ValueError("an amount off is above zero")

    def is_of(self, organisation_id: str) -> bool:
        """Without being redeemed."""
        return self.everybody or self.organisation_id == organisation_id

    def holds(self, at: datetime) -> bool:
        return self.ended_at is None and self.starts_at <= at and (self.ends_at is None or at < self.ends_at)

    def counts_in(self, month: date, organisation_id: str, redeemed_at: datetime | None) -> bool:
        """Whether it comes off this organisation's invoice of the month: where it holds at some time of it, and not
        before it was redeemed. Whoever redeems one on the 20th has it off that month already.
        """
        since = self.starts_at if self.is_of(organisation_id) else redeemed_at
        if since is None or self.ended_at is not None:
            return False
        return since < end_of(month) and (self.ends_at is None or start_of(month) < self.ends_at)


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
