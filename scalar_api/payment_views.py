"""What goes over the wire about payments, refunds and top-ups. Money is decimal strings, in dollars."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scalar.billing.payment_model import Attempt, AttemptState, PaymentSum, Refund, RefundState, TopUp, TopUpState
from scalar.billing.transfer_store import Transfer
from scalar_api.invoice_views import CorrectionBody, Reason, of_cents
from scalar_api.views import Text

Cents = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=2, description="Dollars, in whole cents.")]


class PaymentView(BaseModel):
    """A charge that went well."""

    id: str
    organisation_id: str
    invoice_id: str | None = Field(description="What it paid; null: it topped up a wallet.")
    amount: Decimal
    fees: Decimal = Field(description="Kept by Stripe, disputes' included.")
    refunded: Decimal
    disputed: Decimal
    paid_at: datetime
    stripe_charge_id: str

    @classmethod
    def of(cls, each: PaymentSum) -> Self:
        payment = each.payment
        return cls(
            id=payment.id,
            organisation_id=payment.organisation_id,
            invoice_id=payment.invoice_id,
            amount=of_cents(payment.cents),
            fees=of_cents(each.fees),
            refunded=of_cents(each.refunded),
            disputed=of_cents(each.disputed),
            paid_at=payment.paid_at,
            stripe_charge_id=payment.stripe_charge_id,
        )


class PaymentPage(BaseModel):
    data: list[PaymentView]
    next_cursor: str | None


class AttemptView(BaseModel):
    """A try to collect an invoice from a card."""

    number: int
    state: AttemptState
    amount: Decimal
    made_at: datetime
    ended_at: datetime | None
    decline_code: str | None
    message: str | None

    @classmethod
    def of(cls, each: Attempt) -> Self:
        return cls(
            number=each.number,
            state=each.state,
            amount=of_cents(each.cents),
            made_at=each.made_at,
            ended_at=each.ended_at,
            decline_code=each.decline_code,
            message=each.message,
        )


class DunningView(BaseModel):
    began_at: datetime
    failures: int
    next_attempt_at: datetime | None
    ended_at: datetime | None
    outcome: str | None = Field(description="paid, uncollectible, left_open or stopped.")


class RefundView(BaseModel):
    id: str
    invoice_id: str
    payment_id: str
    amount: Decimal
    reason: str
    state: RefundState
    created_at: datetime
    ended_at: datetime | None
    message: str | None

    @classmethod
    def of(cls, refund: Refund) -> Self:
        same = ("id", "invoice_id", "payment_id", "reason", "state", "created_at", "ended_at", "message")
        values: dict[str, Any] = {name: getattr(refund, name) for name in same}
        return cls(amount=of_cents(refund.cents), **values)


class TransferView(BaseModel):
    """What came by bank transfer."""

    amount: Decimal
    entered_at: datetime
    note: str

    @classmethod
    def of(cls, each: Transfer) -> Self:
        return cls(amount=of_cents(each.cents), entered_at=each.at, note=each.note)


class CollectionView(BaseModel):
    """How an invoice is collected."""

    invoice_id: str
    pay_at: str | None = Field(description="Where the customer can pay it by themselves.")
    payments: list[PaymentView]
    attempts: list[AttemptView]
    refunds: list[RefundView]
    transfers: list[TransferView]
    dunning: DunningView | None


class TransferBody(BaseModel):
    """What has come by bank transfer, or by cheque, or in cash: otherwise than through Stripe."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"amount": "1250.00", "note": "Wire 17 of 4 February"}]}
    )
    amount: Cents
    note: Annotated[Text, Field(max_length=500, description="Which transfer; shown to the customer.")] = ""

    @property
    def cents(self) -> int:
        return int(self.amount * 100)


class RefundBody(BaseModel):
    """Lines to correct, as of a credit note; or an amount of the credit that this invoice's credit notes have given."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "The node was slow", "lines": [{"line": 1, "gpu_seconds": "1800"}]}]
        },
    )
    reason: Reason
    lines: list[CorrectionBody] = Field(default_factory=list, max_length=1000)
    amount: Cents | None = Field(default=None, description="Left out, without lines: all of that credit.")

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if self.lines and self.amount is not None:
            raise ValueError("the amount follows from the lines: say one of the two")
        if len({each.line for each in self.lines}) < len(self.lines):
            raise ValueError("a line is named twice")
        return self

    @property
    def cents(self) -> int | None:
        return None if self.amount is None else int(self.amount * 100)


class CardTopUpBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    amount: Annotated[Decimal, Field(ge=Decimal("0.50"), le=1_000_000, decimal_places=2, description="Dollars.")]


class CardTopUpView(BaseModel):
    id: str
    amount: Decimal
    state: TopUpState
    client_secret: str | None = Field(description="What the customer's browser confirms it with, where that is needed.")
    created_at: datetime
    message: str | None

    @classmethod
    def of(cls, top_up: TopUp, client_secret: str | None) -> Self:
        return cls(
            id=top_up.id,
            amount=of_cents(top_up.cents),
            state=top_up.state,
            client_secret=client_secret if top_up.state in {TopUpState.INTENDED, TopUpState.PENDING} else None,
            created_at=top_up.created_at,
            message=top_up.message,
        )


class CardBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    payment_method: Annotated[Text, Field(pattern="^pm_[A-Za-z0-9_]{1,200}$", description="Of Stripe.")]


class CardView(BaseModel):
    organisation_id: str


def page_of(found: Sequence[PaymentSum], limit: int) -> PaymentPage:
    views = [PaymentView.of(each) for each in found[:limit]]
    return PaymentPage(data=views, next_cursor=views[-1].id if len(found) > limit else None)
