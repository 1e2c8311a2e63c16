"""What goes over the wire about coupons. Money is decimal strings, in dollars."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from scalar.billing.coupon_store import Given
from scalar.billing.coupons import Coupon
from scalar.billing.money import micros
from scalar.billing.redemptions import Redemption
from scalar_api.rate_views import Name
from scalar_api.views import Text, in_dollars

Code = Annotated[Text, Field(min_length=1, max_length=64, examples=["HELLO"])]


class CouponBody(BaseModel):
    """Something off invoices: say one of `percent_off` and `amount_off`.

    It is one `organisation`'s, or `everybody`'s, or of those who redeem it with `POST /v1/coupons/redeem`. It comes off
    the invoice of each month in which it holds at some time (`once`: of the first of them); off none from before it was
    redeemed.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"code": "HELLO", "amount_off": "25", "ends_at": "2027-01-01T00:00:00Z"}]},
    )

    code: Code
    organisation: Name | None = Field(default=None, description="Whose, by id or name; nobody needs to redeem it.")
    everybody: bool = Field(default=False, description="Off everybody's invoices, without being redeemed.")
    percent_off: Annotated[Decimal, Field(gt=0, le=100, decimal_places=4)] | None = None
    amount_off: Annotated[Decimal, Field(gt=0, le=1_000_000_000, decimal_places=6)] | None = Field(
        default=None, description="Dollars."
    )
    starts_at: AwareDatetime | None = Field(default=None, description="If left out: now.")
    ends_at: AwareDatetime | None = Field(
        default=None, description="The month in which it ends has it off as a whole. If left out: never."
    )
    once: bool = Field(default=True, description="Off one invoice only, and not off each while it holds.")

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.percent_off is None) == (self.amount_off is None):
            raise ValueError("say one of percent_off and amount_off")
        if self.everybody and self.organisation is not None:
            raise ValueError("say one of everybody and organisation")
        return self

    def coupon(self, organisation_id: str | None, now: datetime) -> Coupon:
        return Coupon(
            id="",
            code=self.code,
            organisation_id=organisation_id,
            everybody=self.everybody,
            percent_off=self.percent_off,
            amount_off_micros=None if self.amount_off is None else micros(self.amount_off),
            starts_at=self.starts_at or now,
            ends_at=self.ends_at,
            once=self.once,
        )


class CouponView(BaseModel):
    id: str
    code: str
    organisation_id: str | None = Field(description="Null: everybody's, or of those who redeem it.")
    everybody: bool
    percent_off: Decimal | None
    amount_off: Decimal | None
    starts_at: datetime
    ends_at: datetime | None
    once: bool
    ended_at: datetime | None = Field(description="It was taken back then: off no invoice that wasn't open yet.")

    @classmethod
    def of(cls, coupon: Coupon) -> Self:
        return cls(**_fields(coupon))


class GivenView(CouponView):
    redemptions: int = Field(description="How many organisations have redeemed it.")

    @classmethod
    def given(cls, each: Given) -> Self:
        return cls(**_fields(each.coupon), redemptions=each.redemptions)


class CouponList(BaseModel):
    data: list[GivenView] = Field(description="Newest first.")


class RedeemBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Code


class RedemptionView(CouponView):
    redeemed_at: datetime | None = Field(description="Null: it is yours without being redeemed.")

    @classmethod
    def redeemed(cls, each: Redemption) -> Self:
        return cls(**_fields(each.coupon), redeemed_at=each.redeemed_at)


def _fields(coupon: Coupon) -> dict[str, Any]:
    fields = {name: value for name, value in vars(coupon).items() if name != "amount_off_micros"}
    off = coupon.amount_off_micros
    return {**fields, "amount_off": None if off is None else in_dollars(off)}
