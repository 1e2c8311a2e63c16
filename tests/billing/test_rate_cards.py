"""Rate cards: which one holds for whom and when, and what Postgres keeps of them."""

from dataclasses import replace
from decimal import Decimal

import pytest
from psycopg.errors import RestrictViolation

from scalar.billing import rate_cards_store
from scalar.billing.coupons import Coupon, best, taken_off
from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.market import Market
from scalar.billing.pricing.model import per_gpu_hour
from scalar.billing.pricing.package import Package
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import (
    DEFAULT_RATE_CARD,
    RateCard,
    card_in_force,
    commitment_shortfall,
    completed,
    price_of,
)
from scalar.billing.rates import card_of, cards_of, make_coupon, set_rate_card, worst_case
from scalar.database import Transaction
from scalar.errors import Conflict, InvalidRequest
from scalar.metering.model import HOUR, Window
from tests.billing.rated_made_up import DECEMBER, NOVEMBER, a_card, at
from tests.made_up import an_organisation


def flat(cents: int) -> Flat:
    """An hour for so many."""
    return Flat(price=Decimal(cents) / 360_000)


OWN = a_card("org_1", "own", prices={("H100", "fast"): flat(36), ("*", "flex"): flat(72)})
DEFAULT = a_card(None, "default", prices={("H100", "flex"): flat(108), ("*", "fast"): flat(144)})


@pytest.mark.parametrize(
    ("organisation_id", "gpu_type", "tier", "price"),
    [
        ("org_1", "H100", "fast", flat(36)),
        ("org_1", "A100", "fast", flat(144)),  # left open by its own
        ("org_1", "H100", "flex", flat(72)),  # its own for any type goes before the default's for this type
        ("org_2", "H100", "flex", flat(108)),
        ("org_2", "H100", "fast", flat(144)),
        ("org_2", "A100", "flex", Market(margin_percent=Decimal(20), cap=per_gpu_hour("3.40"))),  # left open by all
    ],
)
def test_an_own_card_goes_before_the_default_and_a_type_before_any_type(
    organisation_id: str, gpu_type: str, tier: str, price: object
) -> None:
    card = card_in_force([DEFAULT, OWN], organisation_id, NOVEMBER)
    assert price_of(card, gpu_type, tier) == price
    assert RateBook([DEFAULT, OWN]).card(organisation_id, NOVEMBER) == card


def test_a_card_holds_from_its_beginning_until_just_before_its_end() -> None:
    card = a_card("org_1", effective_from=at(1), effective_until=at(2))
    names = [card_in_force([card], "org_1", at(hour)).id for hour in (0.9, 1, 1.9, 2)]
    assert names == ["built-in", "rate_1", "rate_1", "built-in"]
    assert card_in_force([card], "org_2", at(1)) == DEFAULT_RATE_CARD


def test_a_book_knows_when_cards_change() -> None:
    cards = [
        replace(OWN, effective_until=at(5)),
        a_card("org_1", "free", effective_from=at(5), free_gpu_seconds=Decimal(1)),
    ]
    book, names = RateBook(cards), ["own", "free"]
    assert [card.id for card in book.cards("org_1", Window(start=NOVEMBER, end=DECEMBER))] == names
    assert [card.id for card in book.cards("org_1", Window(start=NOVEMBER, end=at(5)))] == names[:1]
    assert [card.depends_on_quantity for card in book.cards("org_1", Window(start=at(4), end=at(6)))] == [False, True]
    assert [card.id for card in book.cards("org_2", Window(start=NOVEMBER, end=DECEMBER))] == ["built-in"]


@pytest.mark.parametrize(
    ("card", "tier", "gpu_type", "dollars"),
    [
        (DEFAULT_RATE_CARD, "fast", "H100", "57.6"),
        (DEFAULT_RATE_CARD, "fast", "B200", "64"),
        (DEFAULT_RATE_CARD, "flex", "H100", "48"),  # at its cap
        (DEFAULT_RATE_CARD, "fast", None, "64"),  # the dearest that it may get
        (replace(DEFAULT_RATE_CARD, discount_percent=Decimal(50)), "fast", "H100", "28.8"),
        (a_card(fast=Package(gpu_seconds=Decimal(36_000), price=Decimal(10))), "fast", "H100", "30"),
    ],
)
def test_the_worst_case_of_eight_gpus_for_two_hours(
    card: RateCard, tier: str, gpu_type: str | None, dollars: str
) -> None:
    assert worst_case(completed(card, None), tier, gpu_type, 8, 7200).quantize(Decimal("1e-6")) == Decimal(dollars)


@pytest.mark.parametrize(("used", "missing"), [(0, 100), (40, 60), (100, 0), (101, 0), (-5, 100)])
def test_a_commitment_lacks_what_was_not_used_of_it(used: int, missing: int) -> None:
    assert commitment_shortfall(a_card(minimum_commitment=100), used) == missing


def a_coupon(**changes) -> Coupon:
    fields = {"id": "coupon_1", "code": "HELLO", "organisation_id": None, "starts_at": NOVEMBER}
    return Coupon(**{**fields, **(changes or {"percent_off": Decimal(10)})})


@pytest.mark.parametrize(
    ("coupon", "amount", "off"),
    [
        (a_coupon(percent_off=Decimal(10)), 1_000_005, 100_000),
        (a_coupon(percent_off=Decimal(100)), 7, 7),
        (a_coupon(percent_off=Decimal(10)), -50, 0),
        (a_coupon(amount_off_micros=5_000_000), 7_000_000, 5_000_000),
        (a_coupon(amount_off_micros=5_000_000), 3_000_000, 3_000_000),
        (a_coupon(amount_off_micros=5_000_000), 0, 0),
    ],
)
def test_a_coupon_takes_off_no_more_than_there_is(coupon: Coupon, amount: int, off: int) -> None:
    assert taken_off(coupon, amount) == off


def test_of_several_coupons_the_best_counts() -> None:
    tenth, dollar = a_coupon(percent_off=Decimal(10)), a_coupon(amount_off_micros=1_000_000)
    assert best([tenth, dollar], 5_000_000) == dollar
    assert best([tenth, dollar], 50_000_000) == tenth
    assert best([], 5) is None


@pytest.mark.parametrize(
    "fields", [{}, {"percent_off": Decimal(1), "amount_off_micros": 1}, {"percent_off": Decimal(101)}]
)
def test_a_coupon_takes_off_in_one_way(fields: dict) -> None:
    with pytest.raises(ValueError, match="off"):
        a_coupon(once=True, **fields)


# In the database.


def test_a_card_is_kept_as_it_was_set_and_ends_the_one_before_it(tx: Transaction) -> None:
    organisation = an_organisation(tx)
    first = set_rate_card(tx, a_card(organisation.id, prices=OWN.prices), actor="ops", now=NOVEMBER)
    again = a_card(organisation.id, effective_from=at(3), minimum_commitment=5, discount_percent=Decimal("2.5"))
    second = set_rate_card(tx, again, actor="ops", now=NOVEMBER)
    assert rate_cards_store.cards(tx) == [second, replace(first, effective_until=at(3))]
    assert card_of(tx, organisation.id, at(2)).id == first.id
    assert [card.id for card in cards_of(tx, organisation.id, at(3))] == [second.id]
    assert cards_of(tx, "org_of_others", at(3)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"effective_from": at(0)}, "keeps its price"),
        ({"effective_from": at(5.5)}, "full hour"),
        ({"effective_from": at(5), "effective_until": at(5)}, "ends after"),
        ({"effective_from": at(5), "organisation_id": None}, "needs a price"),
    ],
)
def test_a_card_that_cannot_be_is_refused(tx: Transaction, changes: dict, message: str) -> None:
    card = replace(a_card(an_organisation(tx).id), **changes)
    with pytest.raises(InvalidRequest, match=message):
        set_rate_card(tx, card, actor="ops", now=at(1))


def test_two_cards_of_one_organisation_are_never_in_force_at_once(tx: Transaction) -> None:
    organisation = an_organisation(tx)
    for whose in (organisation.id, None):
        rate_cards_store.insert_card(tx, a_card(whose, f"first_{whose}"), actor="ops", now=NOVEMBER)
        overlapping = a_card(whose, "second", effective_from=NOVEMBER - HOUR)
        with pytest.raises(Conflict, match="in force"), tx.transaction():
            rate_cards_store.insert_card(tx, overlapping, actor="ops", now=NOVEMBER)


def test_a_card_that_was_set_is_never_changed(tx: Transaction) -> None:
    set_rate_card(tx, a_card(an_organisation(tx).id, fast=flat(36)), actor="ops", now=NOVEMBER)
    for change in (
        "update rate_cards set discount_percent = 50",
        "update rate_card_prices set tier = 'flex'",
        "delete from rate_card_prices",
        "delete from rate_cards",
    ):
        with pytest.raises(RestrictViolation), tx.transaction():
            tx.execute(change)


def test_coupons_are_found_by_whose_they_are_and_when(tx: Transaction) -> None:
    organisation = an_organisation(tx)
    anybodys = make_coupon(tx, a_coupon(percent_off=Decimal(10), ends_at=DECEMBER), actor="ops", now=NOVEMBER)
    own = a_coupon(code="OWN", amount_off_micros=5, organisation_id=organisation.id)
    own = make_coupon(tx, own, actor="ops", now=NOVEMBER)
    assert rate_cards_store.coupons_of(tx, organisation.id, NOVEMBER) == [own, anybodys]
    assert rate_cards_store.coupons_of(tx, organisation.id, DECEMBER) == [own]
    assert rate_cards_store.coupons_of(tx, "org_of_others", NOVEMBER) == [anybodys]
    assert [each.holds("org_of_others", NOVEMBER) for each in (own, anybodys)] == [False, True]
    with pytest.raises(Conflict, match="HELLO"), tx.transaction():
        make_coupon(tx, a_coupon(), actor="ops", now=NOVEMBER)
