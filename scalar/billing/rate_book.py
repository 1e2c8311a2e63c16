"""Many cards, looked up many times: which holds for whom at an hour, and its prices. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from scalar.billing.pricing.model import PricingModel
from scalar.billing.rate_cards import RateCard, completed, price_of
from scalar.metering.model import Window


class RateBook:
    """What it has put together once it remembers: for one rating, and no longer."""

    def __init__(self, cards: Iterable[RateCard]) -> None:
        self._cards: dict[str | None, list[RateCard]] = defaultdict(list)
        for card in cards:
            self._cards[card.organisation_id].append(card)
        self._completed: dict[tuple[str, str], RateCard] = {}
        self._prices: dict[tuple[str, str, str, str], PricingModel] = {}

    def card(self, organisation_id: str, at: datetime) -> RateCard:
        """As `card_in_force`."""
        own, default = self._found(organisation_id, at), self._found(None, at)
        key = _id(own), _id(default)
        if key not in self._completed:
            self._completed[key] = completed(own, default)
        return self._completed[key]

    def price(self, organisation_id: str, at: datetime, gpu_type: str, tier: str) -> PricingModel:
        """As `price_of`."""
        own, default = self._found(organisation_id, at), self._found(None, at)
        key = _id(own), _id(default), gpu_type, tier
        if key not in self._prices:
            self._prices[key] = price_of(completed(own, default), gpu_type, tier)
        return self._prices[key]

    def moments(self, organisation_id: str, window: Window) -> list[datetime]:
        """The start of the window, and whenever another card comes into force for the organisation in it."""
        cards = (*self._cards.get(organisation_id, ()), *self._cards.get(None, ()))
        ends = [moment for card in cards for moment in (card.effective_from, card.effective_until) if moment]
        return sorted({window.start, *(moment for moment in ends if window.start < moment < window.end)})

    def depends_on_quantity(self, organisation_id: str, window: Window) -> bool:
        """Whether any card that it pays by in that time does."""
        moments = self.moments(organisation_id, window)
        return any(self.card(organisation_id, moment).depends_on_quantity for moment in moments)

    def _found(self, organisation_id: str | None, at: datetime) -> RateCard | None:
        return next((card for card in self._cards.get(organisation_id, ()) if card.in_force(at)), None)


def _id(card: RateCard | None) -> str:
    return card.id if card else ""
