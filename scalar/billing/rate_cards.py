"""Rate cards: what a GPU-second costs an organisation, by GPU type and tier, from when until when. Pure.

its own card ─► the default card ─► the built-in one        each fills in only what those before it leave open
'H100'       ─► '*'                                         within a card, the GPU type's own price goes first
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.market import Market
from scalar.billing.pricing.model import PricingModel, per_gpu_hour
from scalar.jobs.model import Tier

ANY_TYPE = "*"
PriceKey = tuple[str, str]
"""(GPU type or '*', tier)."""


@dataclass(frozen=True, kw_only=True)
class RateCard:
    """In force in [effective_from, effective_until), both at full hours."""

    id: str
    name: str
    organisation_id: str | None
    """None: for everybody who has none of their own."""
    effective_from: datetime
    effective_until: datetime | None = None
    prices: Mapping[PriceKey, PricingModel] = field(default_factory=dict, hash=False)
    minimum_commitment: int = 0
    """Micro-dollars a month, of an organisation's own card: what is missing of it is a line of the invoice."""
    discount_percent: Decimal | None = None
    """Off every price, those from the default card too, in place of its own discount. None: off none of this card's,
    and those from the default are as it discounts them.
    """
    free_gpu_seconds: Decimal | None = None
    """A month, of whatever type and tier: the first that are used. None: as many as the default card has."""
    withdrawn_at: datetime | None = None
    """It was never in force."""

    def in_force(self, at: datetime) -> bool:
        return (
            self.withdrawn_at is None
            and self.effective_from <= at
            and (self.effective_until is None or at < self.effective_until)
        )

    @property
    def depends_on_quantity(self) -> bool:
        """Whether what one hour costs depends on the other hours of its month."""
        return bool(self.free_gpu_seconds) or any(each.depends_on_quantity for each in self.prices.values())

    @property
    def depends_on_the_total(self) -> bool:
        """Whether it depends on the hours after it, too."""
        return any(each.depends_on_the_total for each in self.prices.values())


DEFAULT_RATE_CARD = RateCard(
    id="built-in",
    name="Built-in prices",
    organisation_id=None,
    effective_from=datetime(1970, 1, 1, tzinfo=UTC),
    prices={
        ("H100", Tier.FAST): Flat(price=per_gpu_hour("3.60")),
        ("H100", Tier.FLEX): Market(margin_percent=Decimal(20), cap=per_gpu_hour("3.00")),
        (ANY_TYPE, Tier.FAST): Flat(price=per_gpu_hour("4.00")),
        (ANY_TYPE, Tier.FLEX): Market(margin_percent=Decimal(20), cap=per_gpu_hour("3.40")),
    },
    discount_percent=Decimal(0),
    free_gpu_seconds=Decimal(0),
)
"""What holds where nothing is configured. An H100: $3.60 an hour; flex at the market's price and 20%, at most $3.00.
Any other GPU: $4.00; flex at the market's price and 20%, at most $3.40.
"""


def card_in_force(cards: Iterable[RateCard], organisation_id: str, at: datetime) -> RateCard:
    """The card that an organisation pays by at a moment: every price that it leaves open filled in, its discount taken
    off each.
    """
    found = {card.organisation_id: card for card in cards if card.in_force(at)}
    return completed(found.get(organisation_id), found.get(None))


@lru_cache(maxsize=4096)
def completed(own: RateCard | None, default: RateCard | None) -> RateCard:
    """The first that there is, with what it leaves open from the next: prices, with discounts off, and free seconds."""
    first, *rest = cards = [*(card for card in (own, default) if card), DEFAULT_RATE_CARD]
    prices = _discounted(first, own, default)
    for card in rest:
        covered = {tier for gpu_type, tier in prices if gpu_type == ANY_TYPE}
        more = _discounted(card, own, default)
        prices |= {key: model for key, model in more.items() if key not in prices and key[1] not in covered}
    free = next((card.free_gpu_seconds for card in cards if card.free_gpu_seconds is not None), Decimal(0))
    return replace(first, prices=prices, free_gpu_seconds=free)


def _discounted(card: RateCard, own: RateCard | None, default: RateCard | None) -> dict[PriceKey, PricingModel]:
    """A card's prices as they are paid: by the own card's discount, or else, unless they are its own, the default's."""
    percent = own.discount_percent if own else None
    if percent is None and default and card is not own:
        percent = default.discount_percent
    return {key: model.discounted(percent) if percent else model for key, model in card.prices.items()}


def price_of(card: RateCard, gpu_type: str, tier: str) -> PricingModel:
    """The model that a card in force prices these seconds by.

    Raises: `LookupError` where the card has none: one that `card_in_force` gave always has one.
    """
    model = card.prices.get((gpu_type, tier)) or card.prices.get((ANY_TYPE, tier))
    if model is None:
        raise LookupError(f"rate card {card.id} has no price for {gpu_type} {tier}")
    return model


def prices_for(card: RateCard, gpu_type: str | None, tier: str) -> list[PricingModel]:
    """Those that may come to hold; several where any GPU type will do."""
    if gpu_type is not None:
        return [price_of(card, gpu_type, tier)]
    return [price_of(card, each, tier) for each, of in card.prices if of == tier]
