"""What prices hold for whom: looked up, and set. Each function is one deed in the caller's transaction."""

from dataclasses import replace
from datetime import datetime

from scalar.accounts.store import audit
from scalar.billing import rate_cards_store as store
from scalar.billing.coupons import Coupon
from scalar.billing.rate_cards import ANY_TYPE, RateCard, card_in_force
from scalar.billing.rating import worst_case
from scalar.billing.running_cost import cost_so_far, costs_so_far
from scalar.database import Transaction
from scalar.errors import InvalidRequest
from scalar.ids import new_id
from scalar.jobs.model import Tier
from scalar.metering.model import HOUR, hour_of

__all__ = [
    "card_of",
    "cards_of",
    "cost_so_far",
    "costs_so_far",
    "make_coupon",
    "set_rate_card",
    "worst_case",
]


def cards_of(tx: Transaction, organisation_id: str, at: datetime) -> list[RateCard]:
    """The organisation's own card and the default one, as far as they are in force then: for `card_in_force`."""
    return store.cards_between(tx, at, at + HOUR, [organisation_id])


def card_of(tx: Transaction, organisation_id: str, at: datetime) -> RateCard:
    """The card that an organisation pays by at a moment; it has a price for everything."""
    return card_in_force(cards_of(tx, organisation_id, at), organisation_id, at)


def set_rate_card(tx: Transaction, card: RateCard, *, actor: str, now: datetime) -> RateCard:
    """Let a card come into force, in place of the one without an end that was in force until then.

    Its id is given here. What has been used keeps its price: a card begins with the hour that runs, at the earliest.

    Raises: `InvalidRequest` where it begins in the past, or in the middle of an hour; `Conflict` where another card
    of the same organisation is in force at some of its time.
    """
    _check(card, now)
    card = replace(card, id=new_id("rate"))
    ended = store.end_open_card(tx, card.organisation_id, card.effective_from)
    store.insert_card(tx, card, actor=actor, now=now)
    audit(tx, actor, "rate_card.set", card.id, organisation=card.organisation_id, ended=ended)
    return card


def make_coupon(tx: Transaction, coupon: Coupon, *, actor: str, now: datetime) -> Coupon:
    """Raises: `Conflict` where there is one with that code."""
    coupon = replace(coupon, id=new_id("coupon"))
    store.insert_coupon(tx, coupon, actor=actor, now=now)
    audit(tx, actor, "coupon.make", coupon.id, code=coupon.code, organisation=coupon.organisation_id)
    return coupon


def _check(card: RateCard, now: datetime) -> None:
    moments = [card.effective_from, *([card.effective_until] if card.effective_until else [])]
    if any(moment != hour_of(moment) for moment in moments):
        raise InvalidRequest("A rate card begins and ends at a full hour (UTC).")
    if card.effective_until is not None and card.effective_until <= card.effective_from:
        raise InvalidRequest("A rate card ends after it begins.")
    if card.effective_from < hour_of(now):
        raise InvalidRequest(f"What has been used keeps its price: begin at {hour_of(now).isoformat()} or later.")
    missing = [tier for tier in Tier if (ANY_TYPE, tier) not in card.prices]
    if card.organisation_id is None and missing:
        raise InvalidRequest(f"The default card needs a price for gpu_type '*' of each tier; {missing[0]} has none.")
