"""Many cards, looked up many times: which holds for whom at an hour. Pure."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise

from scalar.billing.rate_cards import RateCard, completed
from scalar.metering.model import Window

_ALWAYS = Window(start=datetime.min.replace(tzinfo=UTC), end=datetime.max.replace(tzinfo=UTC))


class RateBook:
    """What it has put together once it remembers: for one rating, and no longer."""

    def __init__(self, cards: Iterable[RateCard]) -> None:
        self._cards: dict[str | None, list[RateCard]] = defaultdict(list)
        for card in cards:
            self._cards[card.organisation_id].append(card)
        self._eras: dict[str | None, tuple[list[datetime], list[RateCard]]] = {}

    def card(self, organisation_id: str, at: datetime) -> RateCard:
        """As `card_in_force`."""
        moments, cards = self._eras_of(organisation_id)
        return cards[bisect_right(moments, at) - 1]

    def cards(self, organisation_id: str, window: Window) -> list[RateCard]:
        """Each that it pays by at some time of the window."""
        moments, cards = self._eras_of(organisation_id)
        eras = zip(pairwise((*moments, _ALWAYS.end)), cards, strict=True)
        return [card for (start, end), card in eras if start < window.end and window.start < end]

    def _eras_of(self, organisation_id: str) -> tuple[list[datetime], list[RateCard]]:
        """(moments, cards): the card that it pays by from each moment until the next."""
        # Those without a card of their own have theirs in common.
        payer = organisation_id if organisation_id in self._cards else None
        if payer not in self._eras:
            self._eras[payer] = self._put_together(payer)
        return self._eras[payer]

    def _put_together(self, payer: str | None) -> tuple[list[datetime], list[RateCard]]:
        default, own = self._cards.get(None, []), self._cards.get(payer, []) if payer else []
        changes = (moment for card in (*own, *default) for moment in (card.effective_from, card.effective_until))
        moments = sorted({_ALWAYS.start, *(moment for moment in changes if moment)})
        return moments, [completed(_found(own, moment), _found(default, moment)) for moment in moments]


def _found(cards: Iterable[RateCard], at: datetime) -> RateCard | None:
    return next((card for card in cards if card.in_force(at)), None)
