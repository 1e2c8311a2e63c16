"""Credit: in lots, used in the order in which it would be lost, and always what the ledger says."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.billing import ledger_store, wallet_store, wallets
from scalar.billing.credit import Lot, LotKind, Terms, cover
from scalar.billing.ledger import CASH_STRIPE, CREDITS, REVENUE, Posting, move, unbilled
from scalar.database import Database, Transaction, one
from scalar.errors import IdempotencyConflict, InvalidRequest, PaymentRequired
from scalar.jobs import life
from tests.billing.credit_made_up import DOLLAR, a_prepaid_customer, an_hour_of, rated, started, together
from tests.made_up import NOON, a_node, an_organisation, ended, told

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def a_lot(id: str = "lot_1", left: int = 10, **changes: object) -> Lot:
    fields = {
        "id": id,
        "organisation_id": "org_1",
        "kind": LotKind.GRANT,
        "amount": left,
        "used": 0,
        "expired": 0,
        "expires_at": None,
        "created_at": NOON,
        "note": "",
        "source": id,
        **changes,
    }
    return Lot(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owed", "parts"),
    [
        (0, {}),
        (-5, {}),
        (3, {"soon": 3}),
        (10, {"soon": 10}),
        (25, {"soon": 10, "late": 10, "never": 5}),
        (35, {"soon": 10, "late": 10, "never": 10, "bought": 5}),
        (99, {"soon": 10, "late": 10, "never": 10, "bought": 10}),
    ],
)
def test_what_expires_first_goes_first_and_what_was_bought_last(owed: int, parts: dict[str, int]) -> None:
    lots = [
        a_lot("bought", kind=LotKind.PURCHASE, created_at=NOON - DAY),
        a_lot("never"),
        a_lot("late", expires_at=NOON + 2 * DAY),
        a_lot("over", expires_at=NOON),
        a_lot("soon", expires_at=NOON + DAY),
    ]
    assert {part.lot.id: part.amount for part in cover(owed, lots, NOON)} == parts


def used(tx: Transaction, organisation_id: str, micros: int, source: str) -> None:
    """So much usage is rated (or credited, below zero)."""
    entries = move(micros, debit=unbilled(organisation_id), credit=REVENUE)
    ledger_store.post(tx, Posting(source=f"usage/{source}", kind="usage", at=NOON, entries=entries))


def lots(tx: Transaction, organisation_id: str) -> list[tuple[int, int, int]]:
    """(amount, used, expired), oldest first."""
    return [(lot.amount, lot.used, lot.expired) for lot in wallet_store.lots(tx, organisation_id)]


def test_a_top_up_is_credit_and_money_at_the_provider(tx: Transaction) -> None:
    org = an_organisation(tx).id
    lot = wallets.top_up(tx, org, 5 * DOLLAR, "payment/1", NOON)
    assert (lot.kind, lot.left, lot.expires_at) == (LotKind.PURCHASE, 5 * DOLLAR, None)
    assert ledger_store.balances(tx) == {CASH_STRIPE.name: 5 * DOLLAR, f"wallet:{org}": -5 * DOLLAR}


def test_a_source_brings_credit_once_and_nothing_else_may_come_of_it(tx: Transaction) -> None:
    org, other = an_organisation(tx).id, an_organisation(tx, "other").id
    first = wallets.top_up(tx, org, 5, "payment/1", NOON)
    assert wallets.top_up(tx, org, 5, "payment/1", NOON + DAY) == first
    for whose, amount in ((org, 6), (other, 5)):
        with pytest.raises(IdempotencyConflict):
            wallets.top_up(tx, whose, amount, "payment/1", NOON)
    with pytest.raises(IdempotencyConflict):
        wallets.grant_credit(tx, org, 5, "payment/1", NOON)
    assert lots(tx, org) == [(5, 0, 0)]


def test_the_same_payment_from_many_at_once_is_one_lot(database: Database) -> None:
    with database.transaction() as tx:
        org = an_organisation(tx).id

    def pay() -> None:
        with database.transaction() as tx:
            wallets.top_up(tx, org, 5, "payment/1", NOON)

    assert together([pay] * 6) == []
    with database.transaction() as tx:
        assert lots(tx, org) == [(5, 0, 0)]
        assert wallet_store.lots_against_ledger(tx) == []


def test_a_draw_uses_grants_first_and_posts_what_it_used(tx: Transaction) -> None:
    org = an_organisation(tx).id
    wallets.top_up(tx, org, 10, "payment/1", NOON)
    wallets.grant_credit(tx, org, 4, "gift/1", NOON, expires_at=NOON + DAY)
    used(tx, org, 6, "1")
    assert wallets.draw(tx, org, NOON) == 6
    assert lots(tx, org) == [(10, 2, 0), (4, 4, 0)]
    assert ledger_store.balances(tx) == {
        CASH_STRIPE.name: 10,
        CREDITS.name: 4,
        REVENUE.name: -6,
        f"wallet:{org}": -8,
    }
    assert wallets.draw(tx, org, NOON) == 0


def test_more_than_there_is_stays_unbilled_and_less_than_nothing_is_not_drawn(tx: Transaction) -> None:
    org = an_organisation(tx).id
    wallets.top_up(tx, org, 10, "payment/1", NOON)
    used(tx, org, -3, "credited")
    assert wallets.draw(tx, org, NOON) == 0
    used(tx, org, 20, "1")
    assert wallets.draw(tx, org, NOON) == 10
    assert ledger_store.balance(tx, unbilled(org)) == 7


def test_many_draws_at_once_draw_what_is_owed_once(database: Database) -> None:
    with database.transaction() as tx:
        org = an_organisation(tx).id
        wallets.top_up(tx, org, 100, "payment/1", NOON)
        used(tx, org, 60, "1")
    drawn = []

    def draw() -> None:
        with database.transaction() as tx:
            drawn.append(wallets.draw(tx, org, NOON))

    assert together([draw] * 6) == []
    assert sorted(drawn) == [0] * 5 + [60]


def test_what_is_left_of_a_grant_is_written_off_after_its_time(tx: Transaction) -> None:
    org = an_organisation(tx).id
    wallets.grant_credit(tx, org, 10, "gift/1", NOON, expires_at=NOON + DAY)
    used(tx, org, 3, "1")
    wallets.draw(tx, org, NOON)
    assert wallets.position(tx, org, NOON + DAY).credit == 0
    assert wallets.expire(tx, NOON + DAY) == 0
    assert wallets.expire(tx, NOON + DAY + wallets.EXPIRY_SLACK) == 7
    assert wallets.expire(tx, NOON + 2 * DAY) == 0
    assert lots(tx, org) == [(10, 3, 7)]
    assert ledger_store.balances(tx) == {CREDITS.name: 3, REVENUE.name: -3}


def test_what_expires_waits_for_an_invoice_that_is_opened_and_holds_no_lot_meanwhile(database: Database) -> None:
    with database.transaction() as tx:
        org = an_organisation(tx).id
        wallets.grant_credit(tx, org, 10 * DOLLAR, "test/g", NOON, expires_at=NOON + HOUR)
        entries = move(5 * DOLLAR, debit=unbilled(org), credit=REVENUE)
        ledger_store.post(tx, Posting(source="usage", kind="test", at=NOON, entries=entries))

    def expire() -> int:
        with database.transaction() as tx:
            return wallets.expire(tx, NOON + DAY)

    with ThreadPoolExecutor(1) as thread:
        with database.transaction() as tx:
            # As an invoice is opened: its coupon first, and then what is left is drawn.
            entries = move(2 * DOLLAR, debit=CREDITS, credit=unbilled(org))
            ledger_store.post(tx, Posting(source="coupon", kind="test", at=NOON, entries=entries))
            expired = thread.submit(expire)
            until_somebody_waits(tx)
            assert wallets.draw(tx, org, NOON) == 3 * DOLLAR
        assert expired.result(20) == 7 * DOLLAR


def until_somebody_waits(tx: Transaction) -> None:
    """For a lock, in this database."""
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        tx.execute("select pg_stat_clear_snapshot()")
        if one(tx, f"select exists ({waiting}) as waits")["waits"]:
            return
        time.sleep(0.01)
    pytest.fail("nobody waits")


def test_what_was_used_in_time_is_paid_from_a_grant_even_if_it_is_rated_after_it(tx: Transaction) -> None:
    org = an_organisation(tx).id
    wallets.grant_credit(tx, org, 10, "gift/1", NOON, expires_at=NOON + DAY)
    wallets.expire(tx, NOON + DAY + HOUR)
    used(tx, org, 3, "1")
    assert wallets.draw(tx, org, NOON + DAY) == 0
    assert wallets.draw(tx, org, NOON + DAY, used_at=NOON + DAY - HOUR) == 3


def test_credit_that_has_expired_already_is_not_given(tx: Transaction) -> None:
    with pytest.raises(InvalidRequest, match="over already"):
        wallets.grant_credit(tx, an_organisation(tx).id, 10, "gift/1", NOON, expires_at=NOON)


def test_what_is_prepaid_has_no_credit_limit(tx: Transaction) -> None:
    with pytest.raises(InvalidRequest, match="credit_limit"):
        wallets.set_terms(tx, an_organisation(tx).id, Terms.PREPAID, limit=1, grace=HOUR, now=NOON)


@pytest.mark.parametrize(
    "change",
    [
        "update wallet_lots set used = used - 1",
        "update wallet_lots set amount = amount + 1",
        "delete from wallet_lots",
        "update credit_draws set amount = 1",
        "delete from credit_draws",
    ],
)
def test_lots_are_only_used_up_and_draws_never_changed(database: Database, change: str) -> None:
    with database.transaction() as tx:
        org = an_organisation(tx).id
        wallets.top_up(tx, org, 10, "payment/1", NOON)
        used(tx, org, 6, "1")
        wallets.draw(tx, org, NOON)
    with pytest.raises(psycopg.errors.RestrictViolation), database.transaction() as tx:
        tx.execute(change.encode())


def test_a_lot_is_never_overdrawn_whoever_tries(database: Database) -> None:
    with database.transaction() as tx:
        wallets.top_up(tx, an_organisation(tx).id, 10, "payment/1", NOON)
    with pytest.raises(psycopg.errors.CheckViolation), database.transaction() as tx:
        tx.execute("update wallet_lots set used = 11")


def test_a_job_is_paid_from_the_wallet_as_it_is_rated(tx: Transaction) -> None:
    a_node(tx)
    customer = a_prepaid_customer(tx, 10)
    run = started(tx, an_hour_of(tx, customer))
    told(tx, run, ended(run, at=NOON + HOUR / 2))
    rated(tx, NOON)
    assert wallet_store.organisations_to_draw(tx, NOON) == [customer[0]]
    assert wallets.draw(tx, customer[0], NOON) == 1_800_000
    assert wallet_store.organisations_to_draw(tx, NOON) == []
    assert wallet_store.drawn_between(tx, NOON, NOON + HOUR) == {customer[0]: 1_800_000}
    position = wallets.position(tx, customer[0], NOON + HOUR)
    assert (position.credit, position.unbilled, position.held) == (8_200_000, 0, 0)


_MICROS = st.integers(1, 20 * DOLLAR)
_DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("top_up"), _MICROS),
        st.tuples(st.just("grant"), _MICROS, st.integers(1, 30)),
        st.tuples(st.just("use"), _MICROS),
        st.tuples(st.just("credit"), _MICROS),
        st.tuples(st.just("draw"), st.integers(0, 3)),
        st.tuples(st.just("expire")),
        st.tuples(st.just("hold"), st.integers(1, 8)),
        st.tuples(st.just("settle")),
        st.tuples(st.just("wait"), st.integers(1, 12)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(deeds=_DEEDS)
def test_whatever_happens_lots_are_what_the_ledger_says_and_none_is_overdrawn(
    scratch: Database, deeds: list[tuple[str, int, int]]
) -> None:
    with scratch.transaction() as tx:
        customer = a_prepaid_customer(tx)
        org, now, jobs = customer[0], NOON, []
        came, went = 0, Counter[str]()
        for number, (deed, *values) in enumerate(deeds):
            match deed:
                case "top_up":
                    wallets.top_up(tx, org, values[0], f"payment/{number}", now)
                    came += values[0]
                case "grant":
                    wallets.grant_credit(tx, org, values[0], f"gift/{number}", now, expires_at=now + values[1] * HOUR)
                    came += values[0]
                case "use" | "credit":
                    used(tx, org, values[0] if deed == "use" else -values[0], str(number))
                case "draw":
                    went["drawn"] += wallets.draw(tx, org, now - values[0] * HOUR)
                case "expire":
                    went["expired"] += wallets.expire(tx, now)
                case "hold":
                    before = wallets.available(tx, org, now)
                    try:
                        with tx.transaction():
                            jobs.append(an_hour_of(tx, customer, gpus=values[0], now=now))
                    except PaymentRequired:
                        assert before is not None
                        assert before < values[0] * 3_600_000
                    else:
                        assert wallets.available(tx, org, now) == (before or 0) - values[0] * 3_600_000
                case "settle":
                    if jobs:
                        life.cancel(tx, jobs.pop().id, organisation_id=org, actor="test", now=now)
                case "wait":
                    now += values[0] * HOUR
            left = sum(lot.left for lot in wallet_store.lots(tx, org))
            assert wallet_store.lots_against_ledger(tx) == []
            assert left == came - went.total()
            assert all(0 <= lot.left <= lot.amount for lot in wallet_store.lots(tx, org))
            assert wallets.position(tx, org, now).held == sum(job.spec.requirements.gpus for job in jobs) * 3_600_000
            assert sum(ledger_store.balances(tx).values()) == 0
        tx.rollback()
