"""Spending caps: of an organisation, a key and a project, by the month."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from scalar.billing import caps, wallets
from scalar.billing.caps import CapRequest, Scope
from scalar.database import Database, Transaction
from scalar.errors import InvalidRequest, PaymentRequired, SpendCapReached
from scalar.jobs import life, store
from tests.billing.credit_made_up import DOLLAR, an_hour_of, rated, started, together
from tests.made_up import NOON, a_customer, a_key, a_node, ended, told


def cap(tx: Transaction, customer: tuple[str, str], scope: Scope, subject: str | None, dollars: float | None) -> None:
    limit = None if dollars is None else int(dollars * DOLLAR)
    caps.set_caps(tx, customer[0], [CapRequest(scope=scope, subject=subject, limit=limit)])


def gone(tx: Transaction, customer: tuple[str, str], now: datetime = NOON) -> list[tuple[str, float, float]]:
    """(subject, dollars spent, dollars held) of each cap."""
    return [(use.shown, use.spent / DOLLAR, use.held / DOLLAR) for use in caps.cap_uses(tx, customer[0], now)]


@pytest.fixture
def customer(tx: Transaction) -> tuple[str, str]:
    return a_customer(tx)


def test_an_organisation_that_is_invoiced_without_a_limit_can_be_capped(
    tx: Transaction, customer: tuple[str, str]
) -> None:
    cap(tx, customer, Scope.ORGANISATION, None, 4)
    an_hour_of(tx, customer)
    assert wallets.available(tx, customer[0], NOON) is None
    with pytest.raises(
        SpendCapReached, match=r"your organisation is \$4.00; .* \$7.20 held: \$3.20 too much"
    ) as refused:
        an_hour_of(tx, customer)
    assert isinstance(refused.value, PaymentRequired)
    assert (refused.value.status, refused.value.type) == (402, "spend-cap-reached")


def test_a_project_is_capped_by_its_label_and_others_are_not(tx: Transaction, customer: tuple[str, str]) -> None:
    cap(tx, customer, Scope.PROJECT, "vision", 4)
    an_hour_of(tx, customer, labels={"project": "vision"})
    with pytest.raises(SpendCapReached, match="the project vision"), tx.transaction():
        an_hour_of(tx, customer, labels={"project": "vision"})
    an_hour_of(tx, customer, labels={"project": "speech"})
    an_hour_of(tx, customer)
    assert gone(tx, customer) == [("vision", 0, 3.6)]


def test_a_key_is_capped_by_its_id_or_prefix_and_others_are_not(tx: Transaction, customer: tuple[str, str]) -> None:
    key, key_id = a_key(tx, organisation_id=customer[0])
    for named in (key_id, key.prefix):
        cap(tx, customer, Scope.KEY, named, 1)
    with pytest.raises(SpendCapReached, match=f"the key {key.prefix}"), tx.transaction():
        an_hour_of(tx, (customer[0], key_id))
    an_hour_of(tx, customer)
    assert gone(tx, customer) == [(key.prefix, 0, 0)]


def test_another_tenant_key_can_not_be_capped(tx: Transaction, customer: tuple[str, str]) -> None:
    _, foreign = a_customer(tx, "other")
    with pytest.raises(InvalidRequest, match="has no key"):
        cap(tx, customer, Scope.KEY, foreign, 1)


@pytest.mark.parametrize(("scope", "subject"), [(Scope.KEY, None), (Scope.PROJECT, None), (Scope.ORGANISATION, "x")])
def test_a_cap_says_whom_it_is_on(
    tx: Transaction, customer: tuple[str, str], scope: Scope, subject: str | None
) -> None:
    with pytest.raises(InvalidRequest, match="subject"):
        cap(tx, customer, scope, subject, 1)


def test_a_cap_is_raised_and_taken_away(tx: Transaction, customer: tuple[str, str]) -> None:
    cap(tx, customer, Scope.ORGANISATION, None, 1)
    with pytest.raises(SpendCapReached), tx.transaction():
        an_hour_of(tx, customer)
    cap(tx, customer, Scope.ORGANISATION, None, 4)
    an_hour_of(tx, customer)
    cap(tx, customer, Scope.ORGANISATION, None, None)
    an_hour_of(tx, customer)
    assert gone(tx, customer) == []


def test_what_was_spent_counts_in_its_month_and_what_is_held_always(tx: Transaction, customer: tuple[str, str]) -> None:
    a_node(tx)
    cap(tx, customer, Scope.ORGANISATION, None, 6)
    run = started(tx, an_hour_of(tx, customer))
    told(tx, run, ended(run, at=NOON + timedelta(minutes=50)))
    assert gone(tx, customer) == [(customer[0], 0, 3.0)]
    rated(tx, NOON)
    assert gone(tx, customer) == [(customer[0], 3.0, 0)]
    with pytest.raises(SpendCapReached), tx.transaction():
        an_hour_of(tx, customer)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert gone(tx, customer, december) == [(customer[0], 0, 0)]
    an_hour_of(tx, customer, now=december)
    assert gone(tx, customer, december) == [(customer[0], 0, 3.6)]


def test_a_job_of_its_own_cap_fits_below_another_one(tx: Transaction, customer: tuple[str, str]) -> None:
    cap(tx, customer, Scope.ORGANISATION, None, 3)
    with pytest.raises(SpendCapReached), tx.transaction():
        an_hour_of(tx, customer)
    an_hour_of(tx, customer, max_cost=Decimal(3))


def test_a_requeue_is_held_against_the_caps_once_more(tx: Transaction, customer: tuple[str, str]) -> None:
    cap(tx, customer, Scope.ORGANISATION, None, 4)
    job = an_hour_of(tx, customer)
    life.cancel(tx, job.id, organisation_id=None, actor="test", now=NOON)
    other = an_hour_of(tx, customer)
    with pytest.raises(SpendCapReached), tx.transaction():
        life.requeue(tx, job.id, organisation_id=None, actor="test", now=NOON)
    life.cancel(tx, other.id, organisation_id=None, actor="test", now=NOON)
    life.requeue(tx, job.id, organisation_id=None, actor="test", now=NOON)


def test_many_submissions_at_once_never_go_past_a_cap(database: Database) -> None:
    with database.transaction() as tx:
        customer = a_customer(tx)
        cap(tx, customer, Scope.PROJECT, "vision", 11)

    def submit() -> None:
        with database.transaction() as tx:
            an_hour_of(tx, customer, labels={"project": "vision"})

    refused = together([submit] * 8)
    assert [type(error) for error in refused] == [SpendCapReached] * 5
    with database.transaction() as tx:
        assert len(store.jobs(tx, store.JobFilter(organisation_id=customer[0]))) == 3
