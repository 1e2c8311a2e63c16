"""What Stripe tells, in whatever order, however often and late: the same books."""

import random
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from scalar.billing.charging import charge_due
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.stripe import Stripe, verified
from scalar.billing.stripe_answers import StripeEvent
from scalar.billing.stripe_errors import BadSignature, StripeMissing, StripeUnavailable
from scalar.billing.stripe_events import clean_up, handle_events, store_event, waiting_events
from scalar.billing.stripe_settings import StripeSettings
from scalar.billing.stripe_sync import sync
from scalar.errors import InvalidRequest
from tests.billing.stripe_made_up import Shop, an_event

ROOT = Path(__file__).parents[2]


def told(shop: Shop, *events: StripeEvent) -> list[str | None]:
    """What became of each."""
    with shop.database.transaction() as tx:
        for each in events:
            store_event(tx, each, shop.now())
    while handle_events(shop.till).moved:
        pass
    rows = {row["id"]: row["outcome"] for row in shop.rows("select id, outcome from stripe_events")}
    return [rows[each.id] for each in events]


@pytest.mark.parametrize("seed", range(4))
def test_any_order_with_duplicates_gives_the_same_books(shop: Shop, seed: int) -> None:
    acme = shop.an_organisation()
    invoice = shop.an_invoice(acme)
    sync(shop.till)
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    charge = shop.v1.charges.list({"customer": shop.customer(acme[0])}).data[0].id
    shop.v1.refunds.create({"charge": charge, "amount": 1_000})
    dispute = shop.sandbox.dispute(charge, amount=2_000)
    shop.sandbox.close_dispute(dispute, "won")
    events = [an_event(each) for each in shop.v1.events.list({"limit": 60}).data]
    shuffled = random.Random(seed)
    for _ in range(3):
        shuffled.shuffle(events)
        for start in range(0, len(events), 7):
            told(shop, *events[start : start + 7])
        shop.rows("update stripe_events set handled_at = null, not_before = '-infinity' returning 1")
    assert shop.books() == {
        "revenue": -10_000, "receivable": 1_000, "payment_fees": 320 + 1_500, "cash:stripe": 9_000 - 320 - 1_500
    }  # fmt: skip
    assert len(shop.rows("select * from payment_movements")) == 4


def test_an_event_is_stored_once(shop: Shop) -> None:
    event = an_event(shop.v1.events.retrieve(shop.sandbox.event("invoice.paid")))
    with shop.database.transaction() as tx:
        assert store_event(tx, event, shop.now())
        assert not store_event(tx, event, shop.now())


def test_what_is_not_ours_is_noted_and_left_alone(shop: Shop) -> None:
    stranger = shop.v1.customers.create({"name": "Somebody"}).id
    shop.v1.invoice_items.create({"customer": stranger, "amount": 900, "currency": "usd"})
    theirs = shop.v1.invoices.create({"customer": stranger, "pending_invoice_items_behavior": "include"}).id
    paid = shop.v1.invoices.pay(theirs, {"payment_method": "pm_card_visa"}).id
    charge = shop.v1.charges.list({"customer": stranger}).data[0].id
    now = shop.now()

    def about(kind: str, id: str | None, type: str) -> StripeEvent:
        return StripeEvent(id=f"evt_{type}", type=type, object_type=kind, object_id=id, created_at=now)

    assert told(
        shop,
        about("invoice", paid, "invoice.paid"),
        about("charge", charge, "charge.succeeded"),
        about("customer", stranger, "customer.deleted"),
        about("invoice", "in_gone", "invoice.voided"),
        about("plan", "plan_1", "plan.created"),
        about("balance", None, "balance.available"),
    ) == ["not ours", "not ours", "not ours", "gone", "nothing to do", "nothing to do"]
    assert shop.books() == {}


def test_an_event_months_late_finds_what_is_there_now(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    shop.tick()
    (created,) = [
        each
        for each in shop.v1.events.list({"limit": 60, "type": "invoice.paid"}).data
        if each.data.object.to_dict()["metadata"].get("scalar_invoice") == invoice.id
    ]
    before = shop.books()
    shop.later(days=100)
    shop.rows("delete from stripe_events returning 1")
    assert told(shop, an_event(created)) == [f"{invoice.id} is paid"]
    assert shop.books() == before


def test_while_stripe_does_not_answer_events_wait(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    sync(shop.till)
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    shop.sandbox.fault("server_error", path="/v1/invoices", times=50)
    theirs = str(shop.invoice(invoice.id).stripe_invoice_id)
    event = StripeEvent(id="evt_1", type="invoice.paid", object_type="invoice", object_id=theirs, created_at=shop.now())
    assert told(shop, event) == [None]
    with shop.database.transaction() as tx:
        shop.later(hours=2)
        assert waiting_events(tx, shop.now()) == 1
    shop.sandbox.no_faults()
    assert told(shop, event) == [f"{invoice.id} is paid"]
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    shop.later(days=91)
    with shop.database.transaction() as tx:
        assert clean_up(tx, shop.now()) == 1


def test_an_invoice_that_no_event_told_of_is_looked_at_within_the_hour(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation(auto_pay=False))
    sync(shop.till)
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    sync(shop.till)
    assert shop.invoice(invoice.id).state is InvoiceState.OPEN
    shop.later(minutes=61)
    sync(shop.till)
    assert shop.invoice(invoice.id).state is InvoiceState.PAID


def test_a_customer_that_was_deleted_at_stripe_is_made_anew(shop: Shop) -> None:
    org, job = shop.an_organisation()
    first = shop.customer(org)
    shop.v1.customers.delete(first)
    deleted = StripeEvent(
        id="evt_1", type="customer.deleted", object_type="customer", object_id=first, created_at=shop.now()
    )
    assert told(shop, deleted) == [f"{org} has no customer any more"]
    sync(shop.till)
    assert shop.customer(org) != first
    shop.use_card(org, "pm_card_visa")
    invoice = shop.an_invoice((org, job))
    sync(shop.till)
    charge_due(shop.till)
    assert shop.invoice(invoice.id).state is InvoiceState.PAID


def test_a_customers_new_address_is_told_to_stripe(shop: Shop) -> None:
    org, _ = shop.an_organisation()
    for email in ("b@example.com", "acme@example.com", "b@example.com"):
        shop.rows("update billing_accounts set email = %s where organisation_id = %s returning 1", email, org)
        sync(shop.till)
        assert shop.v1.customers.retrieve(shop.customer(org)).email == email


# The gateway


def test_errors_are_ours_and_hold_no_key(shop: Shop) -> None:
    with pytest.raises(StripeMissing):
        shop.stripe.invoice("in_nobody")
    shop.sandbox.fault("dropped_before", path="/v1/customers", times=1)
    with pytest.raises(StripeUnavailable) as error:
        shop.stripe.customer("cus_x")
    assert not error.value.answered
    assert error.value.__cause__ is None
    assert shop.sandbox.key not in repr(error.value)
    with (
        Stripe(StripeSettings(_env_file=None).read_key, api_base=shop.sandbox.url) as nobody,
        pytest.raises(StripeUnavailable, match="SCALAR_STRIPE_API_KEY_FILE"),
    ):
        nobody.customer("cus_x")


@pytest.mark.parametrize("payload", [b"[]", b"\xff", b'{"id": "evt_1"}', b"{"])
def test_what_nobody_signed_is_no_event(payload: bytes) -> None:
    with pytest.raises(BadSignature):
        verified(payload, "t=1,v1=00", [SecretStr("whsec_x")])
    with pytest.raises(BadSignature):
        verified(payload, None, [])


def test_settings_come_from_files(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not StripeSettings(_env_file=None).configured
    key, secrets = tmp_path / "key", tmp_path / "secrets"
    key.write_text("sk_test_1\n")
    secrets.write_text("whsec_old\nwhsec_new\n")
    monkeypatch.setenv("SCALAR_STRIPE_API_KEY_FILE", str(key))
    monkeypatch.setenv("SCALAR_STRIPE_WEBHOOK_SECRET_FILE", str(secrets))
    settings = StripeSettings(_env_file=None)
    assert settings.configured
    assert settings.read_key().get_secret_value() == "sk_test_1"
    assert [each.get_secret_value() for each in settings.read_webhook_secrets()] == ["whsec_old", "whsec_new"]
    assert "sk_test_1" not in repr(settings)
    key.unlink()
    with pytest.raises(InvalidRequest, match="can't be read"):
        settings.read_key()


def test_one_module_imports_stripes_library() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("scalar", "scalar_api", "scalar_orchestration")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) stripe\b", path.read_text(), re.MULTILINE)
    ]
    assert found == ["scalar/billing/stripe.py"]
