"""What prices hold for whom: looked up, and set. Each function is one deed in the caller's transaction."""

from dataclasses import replace
from datetime import datetime

from scalar.accounts.store import audit
from scalar.billing import rate_cards_store as store
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import ANY_TYPE, RateCard, card_in_force
from scalar.billing.rating import worst_case
from scalar.billing.running_cost import cost_so_far, costs_so_far
from scalar.database import Transaction
from scalar.errors import Conflict, InvalidRequest, NotFound
from scalar.ids import new_id
from scalar.jobs.model import Tier
from scalar.metering.model import HOUR, Window, hour_of

__all__ = [
    "card_of",
    "cards_of",
    "cards_within",
    "cost_so_far",
    "costs_so_far",
    "set_rate_card",
    "withdraw_rate_card",
    "worst_case",
]


def cards_of(tx: Transaction, organisation_id: str, at: datetime) -> list[RateCard]:
    """The organisation's own card and the default one, as far as they are in force then: for `card_in_force`."""
    return store.cards_between(tx, at, at + HOUR, [organisation_id])


def card_of(tx: Transaction, organisation_id: str, at: datetime) -> RateCard:
    """The card that an organisation pays by at a moment; it has a price for everything."""
    return card_in_force(cards_of(tx, organisation_id, at), organisation_id, at)


def cards_within(tx: Transaction, organisation_id: str, window: Window) -> list[RateCard]:
    """Each card that an organisation pays by at some time of the window; as `card_of`."""
    cards = store.cards_between(tx, window.start, window.end, [organisation_id])
    return RateBook(cards).cards(organisation_id, window)


def set_rate_card(tx: Transaction, card: RateCard, *, actor: str, now: datetime) -> RateCard:
    """Let a card come into force, in place of the one without an end that was in force until then.

    Its id is given here. What has been used keeps its price: a card begins with the hour that runs, at the earliest.

    Raises: `InvalidRequest` where it begins in the past, or in the middle of an hour, or a default card asks for a
    minimum commitment; `Conflict` where another card
    of the same organisation is in force at some of its time.
    """
    _check(card, now)
    card = replace(card, id=new_id("rate"))
    ended = store.end_open_card(tx, card.organisation_id, card.effective_from)
    store.insert_card(tx, card, actor=actor, now=now)
    audit(tx, actor, "rate_card.set", card.id, organisation=card.organisation_id, ended=ended)
    return card


def withdraw_rate_card(tx: Transaction, card_id: str, *, actor: str, now: datetime) -> RateCard:
    """Take back a card that is yet to begin: what held before it holds on, until the next card. Repeats are no-ops.

    Raises: `NotFound`; `Conflict` where it has begun.
    """
    card = store.card(tx, card_id, for_update=True)
    if card is None:
        raise NotFound("There is no such rate card.")
    if card.withdrawn_at is not None:
        return card
    if card.effective_from <= now:
        raise Conflict("This rate card has begun, and what is used keeps its price: set another one from an hour on.")
    store.withdraw(tx, card.id, now)
    resumed = store.resume_card_before(tx, card)
    audit(tx, actor, "rate_card.withdraw", card.id, organisation=card.organisation_id, resumed=resumed)
    return replace(card, withdrawn_at=now)


def _check(card: RateCard, now: datetime) -> None:
    moments = [card.effective_from, *([card.effective_until] if card.effective_until else [])]
    if any(moment != hour_of(moment) for moment in moments):
        raise InvalidRequest("A rate card begins and ends at a full hour (UTC).")
    if card.effective_until is not None and card.effective_until <= card.effective_from:
        raise InvalidRequest("A rate card ends after it begins.")
    if card.effective_from < hour_of(now):
        raise InvalidRequest(f"What has been used keeps its price: begin at {hour_of(now).isoformat()} or later.")
    if card.organisation_id is None and card.minimum_commitment:
        raise InvalidRequest(
            "minimum_commitment: it is agreed with one organisation, on a card of its own; the default card has none."
        )
    missing = [tier for tier in Tier if (ANY_TYPE, tier) not in card.prices]
    if card.organisation_id is None and missing:
        raise InvalidRequest(f"The default card needs a price for gpu_type '*' of each tier; {missing[0]} has none.")
