"""What goes over the wire about credit, terms and caps. Amounts are dollars, with six decimals."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from scalar.billing.balances import Balance
from scalar.billing.caps import CapUse, Scope
from scalar.billing.credit import BillingAccount, Lot, LotKind, Terms
from scalar.billing.money import micros
from scalar_api.views import Text, in_dollars

Dollars = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=6, description="Dollars.")]
Amount = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=6, description="Dollars.")]
Note = Annotated[Text, Field(max_length=500, description="Why; shown to the customer.")]


class LotView(BaseModel):
    """Credit that came in at one time."""

    id: str
    kind: LotKind
    amount: Decimal
    left: Decimal
    expires_at: datetime | None
    created_at: datetime
    note: str

    @classmethod
    def of(cls, lot: Lot) -> Self:
        return cls(
            id=lot.id,
            kind=lot.kind,
            amount=in_dollars(lot.amount),
            left=in_dollars(lot.left),
            expires_at=lot.expires_at,
            created_at=lot.created_at,
            note=lot.note,
        )


class CapView(BaseModel):
    """How much may be spent in a month (UTC), and what is gone of it."""

    scope: Scope
    subject: str = Field(description="The organisation's id, the key's prefix, or the project's name.")
    monthly_limit: Decimal
    spent: Decimal
    held: Decimal
    left: Decimal

    @classmethod
    def of(cls, use: CapUse) -> Self:
        return cls(
            scope=use.cap.scope,
            subject=use.shown,
            monthly_limit=in_dollars(use.cap.limit),
            spent=in_dollars(use.spent),
            held=in_dollars(use.held),
            left=in_dollars(use.left),
        )


class BalanceView(BaseModel):
    """Dollars."""

    organisation_id: str
    terms: Terms
    available: Decimal | None = Field(description="What new jobs may hold; below 0: more is spent. null: no limit.")
    credit: Decimal = Field(description="Left in all lots.")
    credit_limit: Decimal | None = Field(description="What may be owed, where it is invoiced; null: no limit.")
    lots: list[LotView] = Field(description="Those with something left, in the order in which they are used.")
    unbilled: Decimal = Field(description="Used and rated, not paid from credit, and on no open invoice.")
    receivable: Decimal = Field(description="On open invoices.")
    written_off: Decimal = Field(description="Left on invoices that are uncollectible; still owed, and not available.")
    held: Decimal = Field(description="By jobs, for what they may cost beyond what is rated.")
    spent_this_month: Decimal = Field(description="Since the first, UTC: as rated, credits taken off.")
    caps: list[CapView]
    empty_since: datetime | None = Field(description="Since when nothing is left.")
    flex_stops_at: datetime | None = Field(description="When flex jobs are stopped for it.")

    @classmethod
    def of(cls, balance: Balance) -> Self:
        account, position = balance.account, balance.position
        limit = account.credit_limit if account else None
        return cls(
            organisation_id=balance.organisation_id,
            terms=account.terms if account else Terms.INVOICED,
            available=None if balance.available is None else in_dollars(balance.available),
            credit=in_dollars(position.credit),
            credit_limit=None if limit is None else in_dollars(limit),
            lots=[LotView.of(lot) for lot in balance.lots],
            unbilled=in_dollars(position.unbilled),
            receivable=in_dollars(position.receivable),
            written_off=in_dollars(position.written_off),
            held=in_dollars(position.held),
            spent_this_month=in_dollars(balance.spent_this_month),
            caps=[CapView.of(each) for each in balance.caps],
            empty_since=account.empty_since if account else None,
            flex_stops_at=account.stops_at if account else None,
        )

    def rows(self) -> Iterator[tuple[str, Decimal | None, Decimal | None, datetime | None, str]]:
        """Of the CSV: what it is called, the amount, what is left of it, until when, and what it is for."""
        for name in _AMOUNTS:
            yield name, getattr(self, name), None, None, ""
        for lot in self.lots:
            yield f"lot:{lot.kind}", lot.amount, lot.left, lot.expires_at, lot.note
        for cap in self.caps:
            yield f"cap:{cap.scope}", cap.monthly_limit, cap.left, None, cap.subject


_AMOUNTS = ("available", "credit", "credit_limit", "unbilled", "receivable", "written_off", "held", "spent_this_month")
BALANCE_COLUMNS = ("name", "amount", "left", "expires_at", "about")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GrantBody(_Body):
    """Credit that is given."""

    amount: Amount
    expires_at: AwareDatetime | None = None
    note: Note = ""


class TopUpBody(_Body):
    """Credit that was paid for otherwise than through the payment provider: by transfer."""

    amount: Amount
    note: Note = ""


class BillingBody(_Body):
    """How an organisation pays, and whom its invoices go to. What is left out stays; the defaults are a new one's."""

    terms: Terms = Terms.INVOICED
    credit_limit: Dollars | None = Field(
        default=None,
        description="What may be owed, if it is invoiced; null: no limit. What is prepaid has none, without saying so.",
    )
    grace_seconds: int = Field(default=300, ge=0, le=30 * 86_400, description="Flex jobs run on so long with nothing.")
    email: Annotated[Text, Field(max_length=255, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    name: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    address: dict[Annotated[Text, Field(max_length=40)], Annotated[Text, Field(max_length=200)]] | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    region: Annotated[Text, Field(min_length=1, max_length=60)] | None = None
    tax_exempt: bool = False
    tax_id: Annotated[Text, Field(min_length=1, max_length=60)] | None = None
    auto_pay: bool = True

    def terms_after(self, before: BillingAccount) -> tuple[Terms, int | None, timedelta]:
        """Terms, the limit in micro-dollars, and the grace: those that are named, and else those that stood."""
        named = self.model_fields_set
        terms = self.terms if "terms" in named else before.terms
        grace = timedelta(seconds=self.grace_seconds) if "grace_seconds" in named else before.grace
        if "credit_limit" in named:
            return terms, None if self.credit_limit is None else micros(self.credit_limit), grace
        return terms, before.credit_limit if terms is Terms.INVOICED else None, grace


class BillingView(BaseModel):
    organisation_id: str
    terms: Terms
    credit_limit: Decimal | None
    grace_seconds: int
    email: str | None
    name: str | None
    address: dict[str, str] | None
    country: str | None
    region: str | None
    tax_exempt: bool
    tax_id: str | None
    auto_pay: bool


class CapBody(_Body):
    scope: Scope
    subject: Annotated[Text, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="A key's id or prefix, or a project's name; nothing for the organisation."
    )
    monthly_limit: Dollars | None = Field(description="null: no cap any more.")


class CapsBody(_Body):
    """Caps that are not named stay as they are."""

    caps: Annotated[list[CapBody], Field(min_length=1, max_length=200)]


class CapsView(BaseModel):
    data: list[CapView]
