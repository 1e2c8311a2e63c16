"""Coupons are made, redeemed and taken back: each function is one deed in the caller's transaction."""

from dataclasses import dataclass, replace
from datetime import datetime

from scalar.accounts.store import audit
from scalar.billing import coupon_store as store
from scalar.billing.coupons import Coupon
from scalar.database import Transaction
from scalar.errors import Conflict, NotFound
from scalar.ids import new_id


@dataclass(frozen=True, kw_only=True)
class Redemption:
    """That an organisation has a coupon."""

    coupon: Coupon
    redeemed_at: datetime | None
    """None: it is theirs anyway."""
    new: bool
    """Redeemed just now."""


def make_coupon(tx: Transaction, coupon: Coupon, *, actor: str, now: datetime) -> Coupon:
    """Its id is given here. Raises: `Conflict` where there is one with that code."""
    coupon = replace(coupon, id=new_id("coupon"))
    store.insert_coupon(tx, coupon, actor=actor, now=now)
    whose = {"organisation": coupon.organisation_id, "everybody": coupon.everybody}
    audit(tx, actor, "coupon.make", coupon.id, code=coupon.code, **whose)
    return coupon


def redeem(tx: Transaction, code: str, organisation_id: str, *, actor: str, now: datetime) -> Redemption:
    """An organisation takes a coupon: once, in its time. Repeats are no-ops.

    Raises: `NotFound` where there is none with that code, or it is another's; `Conflict` out of its time.
    """
    coupon = store.coupon(tx, code, for_update=True)
    if coupon is None or coupon.code != code or coupon.organisation_id not in (None, organisation_id):
        raise NotFound("There is no such coupon.")
    earlier = store.redeemed_at(tx, coupon.id, organisation_id)
    if earlier is not None:
        return Redemption(coupon=coupon, redeemed_at=earlier, new=False)
    _check(coupon, now)
    if coupon.is_of(organisation_id):
        return Redemption(coupon=coupon, redeemed_at=None, new=False)
    store.insert_redemption(tx, coupon.id, organisation_id, actor=actor, now=now)
    audit(tx, actor, "coupon.redeem", coupon.id, code=coupon.code, organisation=organisation_id)
    return Redemption(coupon=coupon, redeemed_at=now, new=True)


def end_coupon(tx: Transaction, named: str, *, actor: str, now: datetime) -> Coupon:
    """Take a coupon back, by its id or code: nobody may redeem it, and it comes off no invoice that isn't open yet.
    Repeats are no-ops.

    Raises: `NotFound`.
    """
    coupon = store.coupon(tx, named, for_update=True)
    if coupon is None:
        raise NotFound("There is no such coupon.")
    if coupon.ended_at is not None:
        return coupon
    store.end(tx, coupon.id, now)
    audit(tx, actor, "coupon.end", coupon.id, code=coupon.code)
    return replace(coupon, ended_at=now)


def _check(coupon: Coupon, now: datetime) -> None:
    if now < coupon.starts_at:
        raise Conflict(f"This coupon can be redeemed from {coupon.starts_at:%Y-%m-%d %H:%M} UTC on.")
    if not coupon.holds(now):
        raise Conflict("This coupon is over.")
