"""Coupons: made, listed and taken back by operators, redeemed by customers."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from scalar.billing import coupon_store, redemptions
from scalar.errors import Conflict, InvalidRequest, NotFound
from scalar_api.coupon_views import (
    CouponBody,
    CouponList,
    CouponView,
    GivenView,
    RedeemBody,
    RedemptionView,
)
from scalar_api.dependencies import Customer, Db, Now, Operator
from scalar_api.problems import responses
from scalar_api.tenancy import id_of_organisation

router = APIRouter(prefix="/v1/coupons", tags=["billing"])
_OF_ALL = responses()
_OF_ONE = responses(NotFound, Conflict)

Named = Annotated[str, Path(max_length=100, description="Its id or code.")]


@router.get("", responses=_OF_ALL)
def list_coupons(_: Operator, database: Db) -> CouponList:
    """All of them, those that are over too, and how often each was redeemed."""
    with database.transaction() as tx:
        return CouponList(data=[GivenView.given(each) for each in coupon_store.coupons(tx)])


@router.post("", status_code=201, responses=_OF_ONE)
def create_coupon(body: CouponBody, caller: Operator, database: Db, now: Now) -> CouponView:
    """Something off the invoices of the months in which it holds, or off the first of them only: one organisation's,
    everybody's, or of those who redeem it.
    """
    if body.ends_at is not None and body.ends_at <= (body.starts_at or now):
        raise InvalidRequest("A coupon ends after it starts.")
    with database.transaction() as tx:
        coupon = body.coupon(id_of_organisation(tx, body.organisation) if body.organisation is not None else None, now)
        return CouponView.of(redemptions.make_coupon(tx, coupon, actor=caller.actor, now=now))


@router.post("/redeem", status_code=201, responses=_OF_ONE)
def redeem_coupon(body: RedeemBody, caller: Customer, database: Db, now: Now, response: Response) -> RedemptionView:
    """Have a coupon for your organisation: it comes off the invoice of this month, or of the first that has any
    charges. Redeeming it again changes nothing: the second answer is 200.
    """
    with database.transaction() as tx:
        done = redemptions.redeem(tx, body.code, str(caller.organisation_id), actor=caller.actor, now=now)
    response.status_code = 201 if done.new else 200
    return RedemptionView.redeemed(done)


@router.post("/{coupon}/end", responses=_OF_ONE)
def end_coupon(coupon: Named, caller: Operator, database: Db, now: Now) -> CouponView:
    """Take a coupon back: nobody may redeem it any more, and it comes off no invoice that isn't open yet, whoever has
    redeemed it. Repeats change nothing.
    """
    with database.transaction() as tx:
        return CouponView.of(redemptions.end_coupon(tx, coupon, actor=caller.actor, now=now))
