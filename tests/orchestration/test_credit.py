"""Credit in Dagster: the asset that draws it with its check, and the sensors."""

from datetime import timedelta

import dagster as dg

from scalar.billing import ledger_store, wallet_store
from scalar.billing.ledger import unbilled
from scalar.database import Database
from scalar.jobs import store
from scalar.jobs.model import Tier
from scalar.metering.model import HOUR, hour_of
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.wallets import (
    credit_draws,
    credit_to_draw,
    empty_wallets,
    every_wallet_is_what_the_ledger_says,
)
from tests.billing.credit_made_up import a_prepaid_customer, an_hour_of, rated, started
from tests.made_up import a_node, alive, ended, told

CHECK = "every_wallet_is_what_the_ledger_says"


def drawn(resource) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [credit_draws, every_wallet_is_what_the_ledger_says], resources={"database": resource}, raise_on_error=False
    )


def test_rated_usage_is_paid_from_credit(resource, database: Database):
    start = hour_of(utc_now()) - HOUR
    with database.transaction() as tx:
        a_node(tx, now=start)
        customer = a_prepaid_customer(tx, 10)
        run = started(tx, an_hour_of(tx, customer, now=start), at=start)
        told(tx, run, ended(run, started_at=start, at=start + HOUR / 2))
        rated(tx, start)
    assert credit_to_draw(database=resource).run_key is not None
    result = drawn(resource)
    assert result.success
    (made,) = result.asset_materializations_for_node("credit_draws")
    assert (made.metadata["organisations"].value, made.metadata["dollars"].value) == (1, 1.8)
    assert made.metadata["holds_released"].value == 1
    assert isinstance(credit_to_draw(database=resource), dg.SkipReason)
    with database.transaction() as tx:
        assert ledger_store.balance(tx, unbilled(customer[0])) == 0
        assert wallet_store.lots_left(tx, customer[0])[0].used == 1_800_000


def test_a_wallet_that_is_not_what_the_ledger_says_fails_the_check(resource, database: Database):
    with database.transaction() as tx:
        a_prepaid_customer(tx, 10)
        tx.execute("update wallet_lots set used = 1")
    result = drawn(resource)
    assert not result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == (CHECK, False)


def test_flex_jobs_of_an_empty_wallet_are_stopped(resource, database: Database):
    start = utc_now() - timedelta(minutes=61)
    with database.transaction() as tx:
        a_node(tx, now=start)
        customer = a_prepaid_customer(tx, 3, grace=timedelta(0))
        run = started(tx, an_hour_of(tx, customer, max_runtime_seconds=None, tier=Tier.FLEX, now=start), at=start)
        assert told(tx, run, alive(run, started_at=start, sequence=30)) == "accepted"
    assert "0 job(s) stopped" in str(empty_wallets(database=resource).skip_message)
    with database.transaction() as tx:
        tx.execute("update holds set amount = 3500000")
    assert "1 job(s) stopped" in str(empty_wallets(database=resource).skip_message)
    with database.transaction() as tx:
        found = store.run(tx, run.id)
    assert found is not None
    assert found.stop_reason == "out_of_credit"
