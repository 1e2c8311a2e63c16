"""A card that fails: tried again by the schedule, told each time, and how that ends."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr

from scalar.billing.charging import charge_due
from scalar.billing.dunning import next_try
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.overdue import tell_overdue
from scalar.billing.stripe import Stripe
from scalar.billing.stripe_settings import DunningSettings
from scalar.billing.stripe_sync import sync
from tests.billing.billed import at
from tests.billing.stripe_made_up import Shop

WAITS = DunningSettings(_env_file=None).waits


def told(shop: Shop) -> list[dict]:
    rows = shop.rows("select data from webhook_events where type = 'invoice.payment_failed' order by id")
    return [row["data"] for row in rows]


def days(shop: Shop, number: float) -> None:
    shop.later(days=number)
    charge_due(shop.till, again=True)
    shop.tick()


@pytest.mark.parametrize(("failures", "day"), [(1, 2), (2, 4), (3, 6), (4, 8), (5, None)])
def test_the_schedule(failures: int, day: int | None) -> None:
    again = next_try(failures, at(1, 1), WAITS)
    assert again == (None if day is None else at(1, day))


def test_a_card_that_fails_is_tried_after_1_3_5_and_7_days_and_then_the_invoice_is_left_open(shop: Shop) -> None:
    acme = shop.an_organisation()
    shop.card(acme[0], "insufficient_funds")
    invoice = shop.an_invoice(acme)
    began = shop.now()
    shop.tick()
    for wait in (1, 3, 5, 7, 30):
        days(shop, wait - 0.1)
        days(shop, 0.1)
    tries = shop.rows("select number, state, decline_code, made_at from payment_attempts order by number")
    assert [(each["number"], each["state"], each["decline_code"]) for each in tries] == [
        (number, "declined", "insufficient_funds") for number in range(1, 6)
    ]
    assert [(each["made_at"] - began).days for each in tries] == [0, 1, 4, 9, 16]
    assert [each["attempt"] for each in told(shop)] == [1, 2, 3, 4, 5]
    assert told(shop)[-1]["next_attempt_at"] is None
    assert (told(shop)[0]["decline_code"], told(shop)[0]["outstanding"]) == ("insufficient_funds", "100.00")
    assert told(shop)[0]["pay_at"].startswith("http")
    assert shop.row("select outcome from dunning")["outcome"] == "left_open"
    assert shop.invoice(invoice.id).state is InvoiceState.OPEN
    assert shop.books() == {"revenue": -10_000, "receivable": 10_000}
    audited = [row["action"] for row in shop.rows("select action from audit_log where actor = 'dunning' order by id")]
    assert audited == ["invoice.payment_failed"] * 5 + ["dunning.ended"]


def test_paid_late_it_ends(shop: Shop) -> None:
    acme = shop.an_organisation()
    shop.card(acme[0], "insufficient_funds")
    invoice = shop.an_invoice(acme)
    shop.tick()
    days(shop, 1)
    shop.card(acme[0], None)
    days(shop, 3)
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    dunning = shop.row("select failures, outcome, next_attempt_at from dunning")
    assert (dunning["failures"], dunning["outcome"], dunning["next_attempt_at"]) == (2, "paid", None)
    assert shop.books()["cash:stripe"] == 10_000 - 320
    days(shop, 30)
    assert len(shop.rows("select * from payment_attempts")) == 3


def test_the_customer_pays_on_stripes_page_meanwhile(shop: Shop) -> None:
    acme = shop.an_organisation(card="pm_card_chargeCustomerFail")
    invoice = shop.an_invoice(acme)
    shop.tick()
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    days(shop, 1)
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    assert shop.row("select outcome from dunning")["outcome"] == "paid"
    assert shop.row("select state from payment_attempts where number = 2")["state"] in {"paid", "withdrawn"}
    assert len(shop.rows("select * from payments")) == 1


def test_it_may_end_with_a_bad_debt_and_still_be_paid(shop_with: Callable[..., Shop]) -> None:
    shop = shop_with(dunning_days=(1,), after_dunning="uncollectible")
    invoice = shop.an_invoice(shop.an_organisation(card="pm_card_chargeCustomerFail"))
    shop.tick()
    days(shop, 1)
    assert shop.invoice(invoice.id).state is InvoiceState.UNCOLLECTIBLE
    assert shop.books() == {"revenue": -10_000, "bad_debt": 10_000}
    shop.tick()
    assert shop.at_stripe(invoice.id).status == "uncollectible"
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    shop.tick()
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    assert shop.row("select outcome from dunning")["outcome"] == "paid"
    assert "bad_debt" not in shop.books()


def test_without_a_card_the_customer_is_told_so(shop: Shop) -> None:
    shop.an_invoice(shop.an_organisation(card=None))
    shop.tick()
    (notice,) = told(shop)
    assert notice["decline_code"] == "no_payment_method"


def test_what_needs_the_customer_is_told_so_and_paid_once_they_have_agreed(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation(card="pm_card_authenticationRequired"))
    shop.tick()
    (notice,) = told(shop)
    assert "requires_action" in notice["decline_code"]
    shown = shop.v1.invoices.retrieve(
        shop.invoice(invoice.id).stripe_invoice_id, {"expand": ["payments.data.payment.payment_intent"]}
    )
    shop.sandbox.authenticate(shown.payments.data[0].payment.payment_intent.id)
    shop.tick()
    assert shop.invoice(invoice.id).state is InvoiceState.PAID


@pytest.mark.parametrize("fault", ["dropped", "dropped_before", "server_error", "server_error_after", "rate_limited"])
def test_a_try_whose_answer_never_came_is_no_failure_and_charges_once(shop: Shop, fault: str) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    shop.sandbox.fault(fault, method="POST", path="/pay$", times=1)
    assert len(shop.tick()) == 1
    shop.later(minutes=3)
    assert shop.tick() == []
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    assert told(shop) == []
    assert len(shop.rows("select * from payment_attempts")) == 1
    assert shop.books()["cash:stripe"] == 10_000 - 320


def test_a_key_that_stripe_does_not_take_fails_no_invoice(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    shop.tick()
    wrong = SecretStr("sk_test_wrong_key_0123456789")
    second = shop.an_invoice(shop.an_organisation("beta"))
    with Stripe(lambda: wrong, api_base=shop.sandbox.url, session=None, retries=0) as stripe:
        till = shop.a_till(stripe)
        problems = sync(till).problems + charge_due(till).problems
    assert problems
    assert all("doesn't take the secret key" in each and "0123456789" not in each for each in problems)
    shop.later(minutes=3)
    shop.tick()
    assert {shop.invoice(each.id).state for each in (invoice, second)} == {InvoiceState.PAID}


def overdue(shop: Shop) -> list[dict]:
    tell_overdue(shop.database.transaction, shop.settings, shop.now())
    rows = shop.rows("select data from webhook_events where type = 'invoice.overdue' order by at, id")
    return [row["data"] for row in rows]


@pytest.mark.parametrize("known", [True, False])
def test_an_overdue_invoice_that_nobody_charges_is_told_of_by_the_schedule(shop: Shop, known: bool) -> None:
    """`known` at Stripe, which e-mails it; or paid by transfer."""
    acme = shop.an_organisation(auto_pay=not known, known=known)
    invoice = shop.an_invoice(acme)
    if known:
        sync(shop.till)
    shop.later(days=14, hours=23)
    assert overdue(shop) == []
    days_late = []
    for hours in (1, 71, 1, 119, 1, 167, 1, 24 * 30):
        shop.later(hours=hours)
        before, after = len(days_late), overdue(shop)
        assert overdue(shop) == after
        days_late += [each["days_overdue"] for each in after[before:]]
    assert days_late == [1, 4, 9, 16]
    assert [each["notice"] for each in overdue(shop)] == [1, 2, 3, 4]
    first = overdue(shop)[0]
    assert (first["invoice_id"], first["outstanding"], first["state"]) == (invoice.id, "100.00", "open")
    assert (first["pay_at"] or "").startswith("http" if known else "")
    audited = shop.rows("select details from audit_log where action = 'invoice.overdue' order by id")
    assert [row["details"]["days_overdue"] for row in audited] == [1, 4, 9, 16]
    assert shop.invoice(invoice.id).state is InvoiceState.OPEN


def test_who_is_charged_or_has_paid_is_not_told_that_it_is_overdue(shop: Shop) -> None:
    charged = shop.an_organisation(card="pm_card_chargeCustomerFail")
    pays = shop.an_organisation("beta", auto_pay=False)
    shop.an_invoice(charged)
    paid = shop.an_invoice(pays)
    shop.tick()
    shop.later(days=16)
    assert [each["invoice_id"] for each in overdue(shop)] == [paid.id]
    shop.sandbox.customer_pays(shop.invoice(paid.id).stripe_invoice_id)
    shop.tick()
    shop.later(days=30)
    assert len(overdue(shop)) == 1


def test_days_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALAR_BILLING_DUNNING_DAYS", "[2, 4]")
    assert DunningSettings(_env_file=None).waits == (timedelta(days=2), timedelta(days=4))
