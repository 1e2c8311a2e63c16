"""What goes over the wire about usage, invoices and months of the books. Money is decimal strings, in dollars."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scalar.billing.credit_notes import Correction, CreditNote, Difference
from scalar.billing.invoice_model import Invoice, InvoiceLine, InvoiceState, LineKind
from scalar.billing.ledger_store import OffBalance
from scalar.billing.periods import Period
from scalar.billing.tax import TaxRate
from scalar.billing.usage_report import UsageReport, UsageRow
from scalar_api.views import Text, in_dollars

_CENT = Decimal("0.01")
Reason = Annotated[Text, Field(min_length=1, max_length=500, description="Why; it is kept.")]


def of_cents(cents: int) -> Decimal:
    return (Decimal(cents) / 100).quantize(_CENT)


class InvoiceView(BaseModel):
    id: str
    number: str | None = Field(description="INV-2026-0001; a draft has none.")
    organisation_id: str
    month: str = Field(examples=["2026-01"])
    state: InvoiceState
    subtotal: Decimal
    tax: Decimal
    carried_in: Decimal = Field(description="Too little to be charged on an earlier invoice, and charged here.")
    total: Decimal
    from_credit: Decimal = Field(description="Of the total: paid from credit as it was used.")
    carried_out: Decimal = Field(description="Of the total: too little to be charged, and on the next invoice.")
    due: Decimal
    paid: Decimal
    credited: Decimal = Field(description="Of what is due: taken off by credit notes.")
    outstanding: Decimal = Field(description="What is left to be paid.")
    built_at: datetime
    opened_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    ended_at: datetime | None = Field(description="When it became void or uncollectible.")
    stripe_invoice_id: str | None

    @classmethod
    def of(cls, invoice: Invoice) -> Self:
        return cls(**invoice_fields(invoice))


class LineView(BaseModel):
    line: int
    kind: LineKind
    description: str
    usage_month: str | None = Field(
        description="In which it was used; an earlier one than the invoice's: it came late."
    )
    job_id: str | None
    tier: str | None
    gpu_type: str | None
    gpu_seconds: Decimal | None
    unit_price: Decimal | None = Field(description="Dollars per GPU-hour, as it comes out over the line.")
    exact: Decimal = Field(description="To the micro-dollar.")
    amount: Decimal = Field(description="In whole cents, that add up to the total.")

    @classmethod
    def of(cls, line: InvoiceLine) -> Self:
        return cls(
            line=line.position,
            kind=line.kind,
            description=line.description,
            usage_month=f"{line.usage_month:%Y-%m}" if line.usage_month else None,
            job_id=line.job_id,
            tier=line.tier,
            gpu_type=line.gpu_type,
            gpu_seconds=line.gpu_seconds,
            unit_price=line.unit_price,
            exact=in_dollars(line.micros),
            amount=of_cents(line.cents),
        )


class DifferenceView(BaseModel):
    line: int
    description: str
    gpu_seconds_before: Decimal | None
    gpu_seconds_after: Decimal | None
    amount_before: Decimal
    amount_after: Decimal
    difference: Decimal

    @classmethod
    def of(cls, each: Difference) -> Self:
        return cls(
            line=each.position,
            description=each.description,
            gpu_seconds_before=each.seconds_before,
            gpu_seconds_after=each.seconds_after,
            amount_before=of_cents(each.cents_before),
            amount_after=of_cents(each.cents_after),
            difference=of_cents(each.cents),
        )


class CreditNoteView(BaseModel):
    """A correction: each line as it was, as it should have been, and the difference."""

    id: str
    number: str
    invoice_id: str
    reason: str
    subtotal: Decimal
    tax: Decimal
    total: Decimal = Field(description="What is given back.")
    off_due: Decimal = Field(description="Of it: taken off what was still to be paid.")
    to_wallet: Decimal = Field(description="Of it: credit in the wallet, for what was paid already.")
    created_at: datetime
    created_by: str
    lines: list[DifferenceView]

    @classmethod
    def of(cls, note: CreditNote) -> Self:
        cents = ("subtotal", "tax", "total", "off_due", "to_wallet")
        plain = ("id", "number", "invoice_id", "reason", "created_at", "created_by")
        values: dict[str, Any] = {name: of_cents(getattr(note, name)) for name in cents}
        values |= {name: getattr(note, name) for name in plain}
        return cls(**values, lines=[DifferenceView.of(each) for each in note.differences])


class InvoiceDetail(InvoiceView):
    bill_to: dict[str, Any]
    lines: list[LineView]
    credit_notes: list[CreditNoteView]


def detail_of(invoice: Invoice, lines: Sequence[InvoiceLine], notes: Sequence[CreditNote]) -> InvoiceDetail:
    return InvoiceDetail(
        **invoice_fields(invoice),
        bill_to=invoice.bill_to,
        lines=[LineView.of(line) for line in lines],
        credit_notes=[CreditNoteView.of(note) for note in notes],
    )


def invoice_fields(invoice: Invoice) -> dict[str, Any]:
    cents = ("subtotal", "tax", "carried_in", "total", "from_credit", "carried_out", "due", "paid", "credited")
    plain = ("id", "number", "organisation_id", "state", "built_at", "opened_at", "due_at", "paid_at", "ended_at")
    return {
        **{name: of_cents(getattr(invoice, name)) for name in (*cents, "outstanding")},
        **{name: getattr(invoice, name) for name in (*plain, "stripe_invoice_id")},
        "month": f"{invoice.month:%Y-%m}",
    }


class InvoicePage(BaseModel):
    data: list[InvoiceView]
    next_cursor: str | None


class OffBalanceView(BaseModel):
    """Dollars."""

    account: str
    was: Decimal
    now: Decimal = Field(description="What its entries add up to.")


class RebuiltView(BaseModel):
    """Balances that were not what their entries add up to; none, if all is well."""

    changed: list[OffBalanceView]

    @classmethod
    def of(cls, off: Sequence[OffBalance]) -> Self:
        return cls(
            changed=[
                OffBalanceView(account=each.account, was=in_dollars(each.balance), now=in_dollars(each.entries))
                for each in off
            ]
        )


class ReasonBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: Reason


class CorrectionBody(BaseModel):
    """What a line should have been: say one of the two."""

    model_config = ConfigDict(extra="forbid")
    line: int = Field(ge=1)
    gpu_seconds: Decimal | None = Field(default=None, ge=0, max_digits=20, decimal_places=6)
    amount: Decimal | None = Field(default=None, ge=0, max_digits=14, decimal_places=2)

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.gpu_seconds is None) is (self.amount is None):
            raise ValueError("say one of gpu_seconds and amount")
        return self

    def correction(self) -> Correction:
        cents = None if self.amount is None else int(self.amount * 100)
        return Correction(position=self.line, gpu_seconds=self.gpu_seconds, cents=cents)


class CreditNoteBody(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "The node was slow", "lines": [{"line": 1, "gpu_seconds": "1800"}]}]
        },
    )
    reason: Reason
    lines: list[CorrectionBody] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _names_each_line_once(self) -> Self:
        if len({each.line for each in self.lines}) < len(self.lines):
            raise ValueError("a line is named twice")
        return self


class PeriodView(BaseModel):
    """A month of the books."""

    month: str
    closed_at: datetime | None
    closed_by: str | None
    revenue: Decimal = Field(description="Earned in it, credits not taken off.")
    invoices: int
    drafts: int
    invoiced: Decimal
    credited: Decimal = Field(description="By credit notes.")
    unpaid: Decimal

    @classmethod
    def of(cls, period: Period) -> Self:
        return cls(
            month=f"{period.month:%Y-%m}",
            closed_at=period.closed_at,
            closed_by=period.closed_by,
            revenue=in_dollars(period.revenue),
            invoices=period.invoices,
            drafts=period.drafts,
            invoiced=of_cents(period.invoiced),
            credited=of_cents(period.credited),
            unpaid=of_cents(period.unpaid),
        )


class PeriodList(BaseModel):
    data: list[PeriodView]


class TaxRateView(BaseModel):
    """A tax, from a day on, until the next of the same place."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166: DE.")
    region: Annotated[Text, Field(min_length=1, max_length=60)] | None = Field(
        default=None, description="As billing accounts spell it; the whole country, if left out."
    )
    name: Annotated[Text, Field(min_length=1, max_length=40)] = Field(examples=["VAT"])
    percent: Decimal = Field(ge=0, le=100, max_digits=7, decimal_places=4)
    effective_from: date

    def rate(self) -> TaxRate:
        return TaxRate(**self.model_dump())


class TaxRateBody(TaxRateView):
    """A tax to enter."""


class TaxRateList(BaseModel):
    data: list[TaxRateView]


class UsageRowView(BaseModel):
    """What it isn't grouped by is null."""

    organisation_id: str
    day: date | None
    job_id: str | None
    job_name: str | None
    tier: str | None
    gpu_type: str | None
    project: str | None
    key_id: str | None
    gpu_seconds: Decimal
    credited_seconds: Decimal = Field(description="Lost by the platform; below zero.")
    usage: Decimal
    credits: Decimal = Field(description="Below zero.")
    amount: Decimal = Field(description="Both together: before coupons, commitments and tax.")

    @classmethod
    def of(cls, row: UsageRow) -> Self:
        money = {name: in_dollars(getattr(row, name)) for name in ("usage", "credits", "amount")}
        return cls(**{**vars(row), **money})


class UsageView(BaseModel):
    start: date
    end: date = Field(description="The last day.")
    rated_until: datetime | None = Field(description="What was used since is not in here yet.")
    gpu_seconds: Decimal
    amount: Decimal
    data: list[UsageRowView]

    @classmethod
    def of(cls, report: UsageReport, start: date, end: date) -> Self:
        return cls(
            start=start,
            end=end,
            rated_until=report.rated_until,
            gpu_seconds=sum((row.gpu_seconds for row in report.rows), Decimal(0)),
            amount=in_dollars(sum(row.amount for row in report.rows)),
            data=[UsageRowView.of(row) for row in report.rows],
        )
