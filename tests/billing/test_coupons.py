"""Coupons: what they take off, of which months, and whose they are."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg.errors import CheckViolation

from scalar.billing import coupon_store
from scalar.billing.coupons import Coupon, best, taken_off
from scalar.billing.redemptions import end_coupon, make_coupon, redeem
from scalar.database import Database, Transaction
from scalar.errors import Conflict, NotFound
from tests.billing.rated_made_up import DECEMBER, NOVEMBER, at
from tests.made_up import an_organisation


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


def test_a_coupon_is_everybodys_or_ones_own(tx: Transaction) -> None:
    with pytest.raises(ValueError, match="everybody"):
        a_coupon(percent_off=Decimal(1), everybody=True, organisation_id="org_1")
    organisation = an_organisation(tx)
    make_coupon(tx, a_coupon(percent_off=Decimal(1), organisation_id=organisation.id), actor="ops", now=NOVEMBER)
    with pytest.raises(CheckViolation), tx.transaction():
        tx.execute("update coupons set everybody = true")


LATE = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "redeemed_at", "months"),
    [
        # Nobody has asked for it.
        ({}, None, []),
        # Whoever redeems it on the 20th has it off that month, and not off those before it.
        ({}, LATE, [11, 12]),
        ({"starts_at": LATE - timedelta(days=60)}, LATE, [11, 12]),
        ({"everybody": True}, None, [11, 12]),
        ({"organisation_id": "org_1", "starts_at": LATE}, None, [11, 12]),
        ({"organisation_id": "org_2"}, None, []),
        # The end of a month is the end of what it comes off; a moment more, and the next month has it too.
        ({"everybody": True, "starts_at": LATE, "ends_at": DECEMBER}, None, [11]),
        ({"everybody": True, "starts_at": LATE, "ends_at": DECEMBER + timedelta(seconds=1)}, None, [11, 12]),
        ({"everybody": True, "starts_at": DECEMBER}, None, [12]),
        ({"ends_at": DECEMBER}, LATE, [11]),
        # Taken back.
        ({"everybody": True, "ended_at": LATE}, None, []),
        ({"ended_at": LATE}, LATE, []),
    ],
)
def test_the_months_that_a_coupon_counts_in(changes: dict, redeemed_at: datetime | None, months: list[int]) -> None:
    coupon = a_coupon(percent_off=Decimal(1), **changes)
    assert [month for month in (10, 11, 12) if coupon.counts_in(date(2026, month, 1), "org_1", redeemed_at)] == months


# In the database.


def offered(tx: Transaction, organisation_id: str, month: int = 11) -> list[str]:
    return [each.code for each in coupon_store.offer(tx, date(2026, month, 1), [organisation_id]).of(organisation_id)]


def test_only_those_who_redeem_a_coupon_have_it(tx: Transaction) -> None:
    one, other = an_organisation(tx, "one").id, an_organisation(tx, "other").id
    make_coupon(tx, a_coupon(percent_off=Decimal(10), ends_at=DECEMBER), actor="ops", now=NOVEMBER)
    make_coupon(tx, a_coupon(code="OWN", amount_off_micros=5, organisation_id=one), actor="ops", now=NOVEMBER)
    assert (offered(tx, one), offered(tx, other)) == (["OWN"], [])
    first = redeem(tx, "HELLO", one, actor="one", now=LATE)
    assert (first.new, first.redeemed_at) == (True, LATE)
    assert redeem(tx, "HELLO", one, actor="one", now=at(500)) == replace(first, new=False)
    assert (offered(tx, one), offered(tx, other)) == (["OWN", "HELLO"], [])
    assert (offered(tx, one, 10), offered(tx, one, 12)) == ([], ["OWN"])
    assert [each.redemptions for each in coupon_store.coupons(tx)] == [0, 1]
    row = tx.execute("select actor, details from audit_log where action = 'coupon.redeem'").fetchall()
    assert [(each["actor"], each["details"]["organisation"]) for each in row] == [("one", one)]


def test_what_is_everybodys_or_ones_own_needs_no_redeeming(tx: Transaction) -> None:
    one, other = an_organisation(tx, "one").id, an_organisation(tx, "other").id
    make_coupon(tx, a_coupon(percent_off=Decimal(10), everybody=True), actor="ops", now=NOVEMBER)
    make_coupon(tx, a_coupon(code="OWN", amount_off_micros=5, organisation_id=one), actor="ops", now=NOVEMBER)
    for code in ("HELLO", "OWN"):
        done = redeem(tx, code, one, actor="one", now=LATE)
        assert (done.new, done.redeemed_at) == (False, None)
    with pytest.raises(NotFound):
        redeem(tx, "OWN", other, actor="other", now=LATE)
    with pytest.raises(Conflict, match="HELLO"), tx.transaction():
        make_coupon(tx, a_coupon(), actor="ops", now=NOVEMBER)
    assert (offered(tx, one), offered(tx, other)) == (["OWN", "HELLO"], ["HELLO"])


def test_a_coupon_is_redeemed_in_its_time(tx: Transaction) -> None:
    one, other = an_organisation(tx, "one").id, an_organisation(tx, "other").id
    coupon = a_coupon(percent_off=Decimal(10), starts_at=at(24), ends_at=DECEMBER)
    coupon = make_coupon(tx, coupon, actor="ops", now=NOVEMBER)
    with pytest.raises(NotFound):
        redeem(tx, coupon.id, one, actor="one", now=LATE)
    with pytest.raises(Conflict, match="from 2026-11-02 00:00 UTC"):
        redeem(tx, "HELLO", one, actor="one", now=at(23))
    with pytest.raises(Conflict, match="over"):
        redeem(tx, "HELLO", one, actor="one", now=DECEMBER)
    redeem(tx, "HELLO", one, actor="one", now=LATE)
    # Taken back: from whoever has redeemed it, too.
    assert end_coupon(tx, "HELLO", actor="ops", now=LATE).ended_at == LATE
    assert end_coupon(tx, coupon.id, actor="ops", now=DECEMBER).ended_at == LATE
    assert offered(tx, one) == []
    with pytest.raises(Conflict, match="over"):
        redeem(tx, "HELLO", other, actor="other", now=LATE)
    assert redeem(tx, "HELLO", one, actor="one", now=LATE).redeemed_at == LATE
    with pytest.raises(NotFound):
        end_coupon(tx, "NONE", actor="ops", now=LATE)


def test_many_who_redeem_at_once_redeem_it_once(database: Database) -> None:
    with database.transaction() as tx:
        organisation = an_organisation(tx).id
        make_coupon(tx, a_coupon(percent_off=Decimal(10)), actor="ops", now=NOVEMBER)

    def take(_: int) -> bool:
        with database.transaction() as tx:
            return redeem(tx, "HELLO", organisation, actor="one", now=LATE).new

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(take, range(8))) == [*[False] * 7, True]
