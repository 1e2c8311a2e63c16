"""Stripe in Dagster: the sensors, the statement, and the check that ties it to our ledger."""

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from scalar.billing import top_ups
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.stripe_settings import StripeSettings
from scalar.database import Database
from scalar_orchestration.defs import payments
from scalar_orchestration.defs.payments import (
    NO_STRIPE,
    dunning_sensor,
    overdue_invoices_sensor,
    payments_tie_to_stripe,
    stripe_events_sensor,
    stripe_statement_lines,
    stripe_sync_sensor,
    tie_to_stripe,
)
from tests.billing.billed import a_customer_with_a_job, at, opened, use
from tests.billing.stripe_made_up import Shop
from tests.stripe_process import SandboxStripe


@pytest.fixture(scope="module")
def stripe_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStripe]:
    with SandboxStripe(tmp_path_factory.mktemp("stripe"), clock="real", start=None) as sandbox:
        yield sandbox


@pytest.fixture
def shop(database: Database, stripe_process: SandboxStripe, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("SCALAR_STRIPE_API_KEY_FILE", str(stripe_process.data / "key"))
    monkeypatch.setenv("SCALAR_STRIPE_API_BASE", stripe_process.url)
    shop = Shop(stripe_process, database)
    yield shop
    shop.close()
    settings = StripeSettings()
    if payments._shared_stripe.cache_info().currsize:
        payments._shared_stripe(settings).close()
        payments._shared_stripe.cache_clear()


def checked(resource) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [stripe_statement_lines, payments_tie_to_stripe], resources={"database": resource}, raise_on_error=False
    )


def test_an_invoice_is_paid_by_the_sensors_and_ties(resource, shop: Shop) -> None:
    acme = shop.an_organisation()
    invoice = shop.an_invoice(acme)
    assert "1 charged" in str(stripe_sync_sensor(database=resource).skip_message)
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    shop.hear()
    assert "event(s) handled." in str(stripe_events_sensor(database=resource).skip_message)
    assert str(dunning_sensor(database=resource).skip_message) == "0 tried again."
    result = checked(resource)
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.metadata["at_stripe_dollars"].value == evaluation.metadata["in_ledger_dollars"].value == 96.8
    assert isinstance(tie_to_stripe(dg.build_schedule_context()), dg.RunRequest)


def test_one_pass_that_dies_keeps_the_others_from_nothing(resource, shop: Shop) -> None:
    org, _ = shop.an_organisation()
    with shop.database.transaction() as tx:
        top_ups.request(tx, org, 2_000, actor="customer", now=shop.now())
        tx.execute("alter table payment_attempts rename to nowhere")
    with pytest.raises(ExceptionGroup) as died:
        stripe_sync_sensor(database=resource)
    assert [type(each) for each in died.value.exceptions] == [psycopg.errors.UndefinedTable]
    assert shop.row("select state from top_ups")["state"] == "paid"


def test_customers_are_told_of_overdue_invoices_with_or_without_stripe(resource, database: Database) -> None:
    with database.transaction() as tx:
        org, job = a_customer_with_a_job(tx)
        use(tx, job, at(1, 5), 100_000_000)
        opened(tx, org)
    assert str(overdue_invoices_sensor(database=resource).skip_message) == "1 notice(s) of overdue invoices."
    assert str(overdue_invoices_sensor(database=resource).skip_message) == "0 notice(s) of overdue invoices."


def test_money_at_stripe_that_is_not_in_the_ledger_fails_the_check(resource, shop: Shop) -> None:
    wanted = {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    charge = shop.v1.payment_intents.create(wanted).latest_charge
    result = checked(resource)
    assert not result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert any(charge in each for each in evaluation.metadata["differences"].value)


def test_without_stripe_nothing_is_asked(resource) -> None:
    for sensor in (stripe_sync_sensor, stripe_events_sensor, dunning_sensor):
        assert sensor(database=resource).skip_message == NO_STRIPE
    assert tie_to_stripe(dg.build_schedule_context()).skip_message == NO_STRIPE
    assert not checked(resource).success
