"""The ledger: what Postgres refuses, and that balances are what the entries add up to."""

import threading
from datetime import date, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.billing import ledger, ledger_store
from scalar.billing.ledger import CASH_STRIPE, REVENUE, TAX, Entry, Posting, move, netted
from scalar.database import Database, Transaction
from scalar.errors import Conflict
from tests.made_up import NOON


def a_posting(source: str = "test/1", amount: int = 5, **changes) -> Posting:
    entries = move(amount, debit=CASH_STRIPE, credit=REVENUE)
    return Posting(**{"source": source, "kind": "test", "at": NOON, "entries": entries, **changes})


def test_a_posting_that_does_not_sum_to_zero_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="off by 1 micro-dollars"):
        Posting(source="x", kind="test", at=NOON, entries=(Entry(account=REVENUE, amount=1),))


def test_a_source_is_posted_once(tx: Transaction) -> None:
    assert ledger_store.post(tx, a_posting())
    assert not ledger_store.post(tx, a_posting(amount=7))
    assert ledger_store.balances(tx) == {"cash:stripe": 5, "revenue": -5}


def test_a_posting_of_nothing_leaves_no_trace(tx: Transaction) -> None:
    assert not ledger_store.post(tx, a_posting(amount=0))
    assert ledger_store.post(tx, a_posting())


@pytest.mark.parametrize(("entries", "constraint"), [(1, "ledger_sums_to_zero"), (0, "ledger_has_entries")])
def test_postgres_refuses_what_does_not_sum_to_zero(database: Database, entries: int, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        _write(database, entries)
    assert refused.value.diag.constraint_name == constraint


def _write(database: Database, entries: int) -> None:
    with database.transaction() as tx:
        ledger_store.open_accounts(tx, [REVENUE])
        tx.execute("insert into ledger_transactions (source, kind, at) values ('x', 'test', now())")
        if entries:
            tx.execute(
                "insert into ledger_entries (transaction_id, account, amount)"
                " select max(id), 'revenue', 1 from ledger_transactions"
            )


def test_what_is_posted_is_never_changed_nor_added_to(database: Database) -> None:
    with database.transaction() as tx:
        ledger_store.post(tx, a_posting())
    for change in (
        "update ledger_entries set amount = 1",
        "delete from ledger_entries",
        "delete from ledger_transactions",
        (
            "insert into ledger_entries (transaction_id, account, amount)"
            " select max(id), unnest(array['revenue', 'cash:stripe']), unnest(array[1, -1]) from ledger_transactions"
        ),
    ):
        with pytest.raises(psycopg.errors.RestrictViolation), database.transaction() as tx:
            tx.execute(change.encode())


def test_a_posting_inside_a_savepoint_stands(database: Database) -> None:
    with database.transaction() as tx, tx.transaction():
        assert ledger_store.post(tx, a_posting())
    with database.transaction() as tx:
        assert ledger_store.balance(tx, REVENUE) == -5


def test_a_closed_month_takes_no_postings_until_it_is_reopened(database: Database) -> None:
    month = date(NOON.year, NOON.month, 1)
    with database.transaction() as tx:
        assert ledger_store.close_period(tx, month, actor="ann", now=NOON)
        assert not ledger_store.close_period(tx, month, actor="bob", now=NOON)
    with pytest.raises(Conflict, match="are closed"), database.transaction() as tx:
        ledger_store.post(tx, a_posting())
    with database.transaction() as tx:
        assert ledger_store.post(tx, a_posting(at=NOON + timedelta(days=31)))
        assert ledger_store.reopen_period(tx, month)
        assert ledger_store.post(tx, a_posting("test/2"))


def test_a_close_waits_for_postings_on_their_way(database: Database) -> None:
    month = date(NOON.year, NOON.month, 1)
    closed = threading.Event()

    def close() -> None:
        with database.transaction() as tx:
            ledger_store.close_period(tx, month, actor="ann", now=NOON)
        closed.set()

    with database.transaction() as tx:
        ledger_store.post(tx, a_posting())
        closing = threading.Thread(target=close)
        closing.start()
        assert not closed.wait(0.3)
    closing.join(10)
    assert closed.is_set()


def test_the_same_source_from_many_at_once_is_posted_once(database: Database) -> None:
    made = []

    def post() -> None:
        with database.transaction() as tx:
            made.append(ledger_store.post(tx, a_posting()))

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(made) == [False] * 5 + [True]


_POSTINGS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.lists(
            st.tuples(st.sampled_from([CASH_STRIPE, REVENUE, TAX]), st.integers(-(10**9), 10**9)),
            min_size=1,
            max_size=4,
        ),
    ),
    max_size=12,
)


@given(postings=_POSTINGS)
def test_balances_rebuilt_are_the_same_to_the_last_micro_dollar(
    scratch: Database, postings: list[tuple[int, list[tuple[ledger.Account, int]]]]
) -> None:
    with scratch.transaction() as tx:
        for number, amounts in postings:
            entries = [Entry(account=account, amount=amount) for account, amount in amounts]
            entries.append(Entry(account=ledger.ROUNDING, amount=-sum(amount for _, amount in amounts)))
            ledger_store.post(tx, a_posting(f"source/{number}", entries=netted(entries)))
        before = ledger_store.balances(tx)
        assert before == ledger_store.summed(tx)
        ledger_store.rebuild(tx)
        assert ledger_store.balances(tx) == before
        assert sum(before.values()) == 0
        tx.rollback()
