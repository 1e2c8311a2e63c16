"""What goes over the wire about rates: cards and their prices. Money is decimal strings, in dollars."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from scalar.billing.money import dollars, micros
from scalar.billing.pricing import notation
from scalar.billing.pricing.model import PricingModel, per_gpu_hour, text
from scalar.billing.rate_cards import PriceKey, RateCard
from scalar.jobs.model import Tier
from scalar_api.views import Text

Name = Annotated[Text, Field(min_length=1, max_length=100)]
Price = Annotated[Decimal, Field(ge=0, le=1000, max_digits=16, decimal_places=12)]
Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000_000, decimal_places=6)]
Percent = Annotated[Decimal, Field(ge=0, le=100, decimal_places=4)]
Seconds = Annotated[Decimal, Field(gt=0, le=10**13, decimal_places=6)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Rate(_Body):
    """One of the two."""

    per_gpu_hour: Price | None = Field(default=None, description="Dollars; kept per GPU-second, with twelve decimals.")
    per_gpu_second: Price | None = Field(default=None, description="Dollars.")

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.per_gpu_hour is None) == (self.per_gpu_second is None):
            raise ValueError("say one of per_gpu_hour and per_gpu_second")
        return self

    def price(self) -> str:
        return text(per_gpu_hour(self.per_gpu_hour) if self.per_gpu_hour is not None else self.per_gpu_second or _ZERO)


class FlatBody(_Rate):
    model: Literal["flat"]

    def data(self) -> dict[str, Any]:
        return {"model": self.model, "per_gpu_second": self.price()}


class BracketBody(_Rate):
    up_to: Seconds | None = Field(description="GPU-seconds of a month; null: without end, the last one's.")

    def data(self) -> dict[str, Any]:
        return {"up_to": None if self.up_to is None else text(self.up_to), "per_gpu_second": self.price()}


class BracketsBody(_Body):
    model: Literal["graduated", "volume"]
    brackets: Annotated[list[BracketBody], Field(min_length=1, max_length=20)]

    def data(self) -> dict[str, Any]:
        return {"model": self.model, "brackets": [each.data() for each in self.brackets]}


class PackageBody(_Body):
    model: Literal["package"]
    gpu_seconds: Seconds
    price: Dollars = Field(description="Of each package that is begun.")

    def data(self) -> dict[str, Any]:
        return {"model": self.model, "gpu_seconds": text(self.gpu_seconds), "price": text(self.price)}


class MarketBody(_Body):
    model: Literal["market"]
    margin_percent: Annotated[Decimal, Field(ge=-100, le=10_000, decimal_places=4)] = Field(
        description="On what the market asked in the hour."
    )
    cap: _Rate = Field(description="At most this.")

    def data(self) -> dict[str, Any]:
        margin = text(self.margin_percent)
        return {"model": self.model, "margin_percent": margin, "cap_per_gpu_second": self.cap.price()}


class PriceBody(_Body):
    gpu_type: Annotated[Text, Field(min_length=1, max_length=64)] = Field(
        default="*", description="`*`: each that has no price of its own."
    )
    tier: Tier
    price: Annotated[FlatBody | BracketsBody | PackageBody | MarketBody, Field(discriminator="model")]


class RateCardBody(_Body):
    """What a GPU-second costs, from an hour on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "2026",
                    "effective_from": "2026-12-01T00:00:00Z",
                    "prices": [
                        {"gpu_type": "H100", "tier": "fast", "price": {"model": "flat", "per_gpu_hour": "3.50"}}
                    ],
                }
            ]
        },
    )

    name: Name
    organisation: Name | None = Field(default=None, description="Whose, by id or name; null: the default card.")
    effective_from: AwareDatetime | None = Field(
        default=None, description="A full hour, not in the past; if left out, the hour that runs."
    )
    effective_until: AwareDatetime | None = None
    minimum_commitment: Dollars = Field(
        default=Decimal(0), description="Dollars a month; of an organisation's card only."
    )
    discount_percent: Percent | None = Field(
        default=None,
        description="Off every price, in place of the default card's discount. Null: off none that this card has, and"
        " what the default card has costs what it costs there.",
    )
    free_gpu_seconds: Annotated[Decimal, Field(ge=0, le=10**13, decimal_places=6)] | None = Field(
        default=None, description="A month, the first that are used. Null: as many as the default card has."
    )
    prices: Annotated[list[PriceBody], Field(max_length=200)] = Field(
        default=[], description="What an organisation's card leaves open, the default card says."
    )

    def card(self, organisation_id: str | None, hour: datetime) -> RateCard:
        return RateCard(
            id="",
            name=self.name,
            organisation_id=organisation_id,
            effective_from=self.effective_from or hour,
            effective_until=self.effective_until,
            prices=self.models(),
            minimum_commitment=micros(self.minimum_commitment),
            discount_percent=self.discount_percent,
            free_gpu_seconds=self.free_gpu_seconds,
        )

    def models(self) -> dict[PriceKey, PricingModel]:
        """Raises: `ValueError` where one is no model, or two are for the same."""
        models = {(each.gpu_type, each.tier.value): notation.read(each.price.data()) for each in self.prices}
        if len(models) < len(self.prices):
            raise ValueError("two prices are for the same gpu_type and tier")
        return models


class PriceView(BaseModel):
    gpu_type: str
    tier: str
    price: dict[str, Any] = Field(description="The model; prices are dollars per GPU-second.")


class RateCardView(BaseModel):
    id: str
    name: str
    organisation_id: str | None = Field(description="Null: the default card.")
    effective_from: datetime
    effective_until: datetime | None
    minimum_commitment: Decimal
    discount_percent: Decimal | None
    free_gpu_seconds: Decimal | None
    withdrawn_at: datetime | None = Field(description="It was taken back then, before it began.")
    prices: list[PriceView]

    @classmethod
    def of(cls, card: RateCard) -> Self:
        prices = [
            PriceView(gpu_type=gpu_type, tier=tier, price=model.to_json())
            for (gpu_type, tier), model in sorted(card.prices.items(), key=lambda each: each[0])
        ]
        numbers = {
            "minimum_commitment": _usd(card.minimum_commitment),
            "discount_percent": None if card.discount_percent is None else text(card.discount_percent),
            "free_gpu_seconds": None if card.free_gpu_seconds is None else text(card.free_gpu_seconds),
        }
        return cls(**{**vars(card), **numbers, "prices": prices})


class RateCardList(BaseModel):
    data: list[RateCardView] = Field(description="Newest first; the built-in prices, for what no card says, are last.")


def _usd(amount: int) -> Decimal:
    return dollars(amount).quantize(_MICRO)


_ZERO, _MICRO = Decimal(0), Decimal("0.000001")
