"""Rate cards: which one holds for whom and when, and what Postgres keeps of them."""

from dataclasses import replace
from decimal import Decimal

import pytest
from psycopg.errors import CheckViolation, RestrictViolation

from scalar.billing import rate_cards_store
from scalar.billing.invoice_sources import commitments
from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.market import Market
from scalar.billing.pricing.model import per_gpu_hour
from scalar.billing.pricing.package import Package
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import (
    DEFAULT_RATE_CARD,
    RateCard,
    card_in_force,
    completed,
    price_of,
)
from scalar.billing.rates import card_of, cards_of, set_rate_card, withdraw_rate_card, worst_case
from scalar.database import Transaction
from scalar.errors import Conflict, InvalidRequest, NotFound
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


SALE = replace(DEFAULT, discount_percent=Decimal(50), free_gpu_seconds=Decimal(3600))


@pytest.mark.parametrize(
    ("changes", "h100_fast", "a100_fast", "free"),
    [
        # It says nothing of discounts: its own prices are what it says, and the default's are the default's.
        ({}, flat(36), flat(72), 3600),
        ({"discount_percent": Decimal(0)}, flat(36), flat(144), 3600),
        ({"discount_percent": Decimal(25)}, flat(27), flat(108), 3600),
        ({"free_gpu_seconds": Decimal(0)}, flat(36), flat(72), 0),
        ({"free_gpu_seconds": Decimal(60), "prices": {}}, flat(72), flat(72), 60),
    ],
)
def test_an_own_card_keeps_what_it_leaves_open_of_the_default(
    changes: dict, h100_fast: Flat, a100_fast: Flat, free: int
) -> None:
    card = card_in_force([SALE, replace(OWN, **changes)], "org_1", NOVEMBER)
    assert (price_of(card, "H100", "fast"), price_of(card, "A100", "fast")) == (h100_fast, a100_fast)
    assert card.free_gpu_seconds == free
    assert card.depends_on_quantity is bool(free)


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
        ({"effective_from": at(5), "organisation_id": None, "minimum_commitment": 5}, "agreed with one organisation"),
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


def in_force(tx: Transaction, organisation_id: str, *hours: float) -> list[str]:
    """The names of the cards that it pays by at these hours."""
    return [card_of(tx, organisation_id, at(hour)).name for hour in hours]


def test_a_card_that_was_wrong_is_withdrawn_before_it_begins(tx: Transaction) -> None:
    organisation = an_organisation(tx)

    def put(name: str, hour: float, **changes) -> RateCard:
        card = a_card(organisation.id, name, effective_from=at(hour), **changes)
        return set_rate_card(tx, card, actor="ops", now=NOVEMBER)

    put("first", 0)
    wrong = put("wrong", 10)
    with pytest.raises(Conflict, match="withdrawn"), tx.transaction():
        put("early", 5)
    assert withdraw_rate_card(tx, wrong.id, actor="ops", now=at(9)).withdrawn_at == at(9)
    assert withdraw_rate_card(tx, wrong.id, actor="ops", now=at(11)).withdrawn_at == at(9)
    assert in_force(tx, organisation.id, 9, 10, 1000) == ["first"] * 3
    # The same hour has room for another, and so has an earlier one.
    early, right = put("early", 5), put("right", 10)
    assert in_force(tx, organisation.id, 4, 5, 9, 10) == ["first", "early", "early", "right"]
    # The one before it holds until the next.
    withdraw_rate_card(tx, early.id, actor="ops", now=at(4))
    assert in_force(tx, organisation.id, 5, 9, 10) == ["first", "first", "right"]
    with pytest.raises(Conflict, match="has begun"):
        withdraw_rate_card(tx, right.id, actor="ops", now=at(10))
    with pytest.raises(NotFound):
        withdraw_rate_card(tx, "built-in", actor="ops", now=at(10))
    rows = tx.execute("select details from audit_log where action = 'rate_card.withdraw' order by id").fetchall()
    assert len({row["details"]["resumed"] for row in rows}) == 1
    # Postgres says so, too.
    for change, error in (
        (f"update rate_cards set withdrawn_at = effective_from where id = '{right.id}'", CheckViolation),
        (f"update rate_cards set withdrawn_at = null where id = '{wrong.id}'", RestrictViolation),
    ):
        with pytest.raises(error), tx.transaction():
            tx.execute(change)


def test_a_card_that_was_to_end_by_itself_does_not_hold_on(tx: Transaction) -> None:
    organisation = an_organisation(tx)
    for name, start, end in (("trial", 0, 5), ("wrong", 5, None)):
        until = None if end is None else at(end)
        card = a_card(organisation.id, name, effective_from=at(start), effective_until=until, minimum_commitment=720)
        wrong = set_rate_card(tx, card, actor="ops", now=NOVEMBER)
    withdraw_rate_card(tx, wrong.id, actor="ops", now=at(1))
    assert in_force(tx, organisation.id, 4, 5) == ["trial", "Built-in prices"]
    november = NOVEMBER.date()
    assert commitments(tx, november, None) == {organisation.id: 5}
