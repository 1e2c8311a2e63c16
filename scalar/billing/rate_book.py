"""Many cards, looked up many times: which holds for whom at an hour. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from scalar.billing.rate_cards import RateCard, completed
from scalar.metering.model import Window


class RateBook:
    """What it has put together once it remembers: for one rating, and no longer."""

    def __init__(self, cards: Iterable[RateCard]) -> None:
        self._cards: dict[str | None, list[RateCard]] = defaultdict(list)
        for card in cards:
            self._cards[card.organisation_id].append(card)
        self._completed: dict[tuple[str, str], RateCard] = {}
        self._held: dict[tuple[str, datetime], RateCard] = {}

    def card(self, organisation_id: str, at: datetime) -> RateCard:
        """As `card_in_force`."""
        if (organisation_id, at) not in self._held:
            self._held[organisation_id, at] = self._put_together(organisation_id, at)
        return self._held[organisation_id, at]

    def cards(self, organisation_id: str, window: Window) -> list[RateCard]:
        """Each that it pays by at some time of the window."""
        return [self.card(organisation_id, moment) for moment in self._moments(organisation_id, window)]

    def _put_together(self, organisation_id: str, at: datetime) -> RateCard:
        own, default = self._found(organisation_id, at), self._found(None, at)
        key = own.id if own else "", default.id if default else ""
        if key not in self._completed:
            self._completed[key] = completed(own, default)
        return self._completed[key]

    def _moments(self, organisation_id: str, window: Window) -> list[datetime]:
        """The start of the window, and whenever another card comes into force for the organisation in it."""
        cards = (*self._cards.get(organisation_id, ()), *self._cards.get(None, ()))
        ends = [moment for card in cards for moment in (card.effective_from, card.effective_until) if moment]
        return sorted({window.start, *(moment for moment in ends if window.start < moment < window.end)})

    def _found(self, organisation_id: str | None, at: datetime) -> RateCard | None:
        return next((card for card in self._cards.get(organisation_id, ()) if card.in_force(at)), None)
