"""What nobody has foreseen of one object keeps no other from being collected, refunded, topped up or heard."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
import stripe

from scalar.billing import refunds, stripe_wire, top_ups
from scalar.billing.charging import charge_due
from scalar.billing.credit_notes import Correction
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.payment_model import TopUpState
from scalar.billing.stripe_answers import StripeEvent
from scalar.billing.stripe_events import handle_events, store_event
from scalar.billing.stripe_sync import sync
from scalar.billing.till import Till
from tests.billing.stripe_made_up import Shop


@pytest.fixture
def paused(shop: Shop) -> Iterator[Callable[..., None]]:
    """Stripe's answers about one of its objects have a status that no documentation knows."""
    yield lambda path, **more: shop.sandbox.fault("changed", path=path, fields={"status": "paused"}, **more)
    shop.sandbox.no_faults()


def two_invoices(shop: Shop, **more: Any) -> tuple[str, str]:
    """(the one that comes first, the other)"""
    first, second = invoices(shop, "acme", "beta", **more)
    return first, second


def invoices(shop: Shop, *names: str, **more: Any) -> list[str]:
    """Not at Stripe yet, in the order in which they are taken up."""
    organisations = [shop.an_organisation(name, **more) for name in names]
    return sorted(shop.an_invoice(each).id for each in organisations)


def states(shop: Shop, *invoices: str) -> list[InvoiceState]:
    return [shop.invoice(each).state for each in invoices]


def test_an_invoice_that_does_not_add_up_keeps_no_other_from_being_paid(shop: Shop) -> None:
    bad, good = two_invoices(shop)
    with shop.database.transaction() as tx:
        tx.execute("alter table invoice_lines disable trigger all")
        tx.execute("update invoice_lines set cents = cents + 1 where invoice_id = %s", [bad])
    problems = shop.tick()
    assert len(problems) == 1
    assert "ValueError: the lines of" in problems[0]
    assert states(shop, bad, good) == [InvoiceState.OPEN, InvoiceState.PAID]
    noted = shop.row("select state, problem, not_before from stripe_invoices where invoice_id = %s", bad)
    assert "don't add up" in noted["problem"]
    assert noted["not_before"] > shop.now()
    assert shop.tick() == []  # put off


def test_an_invoice_in_a_state_that_nobody_knows_waits_alone(shop: Shop, paused: Callable[..., None]) -> None:
    bad, good = two_invoices(shop)
    sync(shop.till)
    paused(f"/v1/invoices/{shop.invoice(bad).stripe_invoice_id}")
    assert "ValueError: 'paused'" in charge_due(shop.till).problems[0]
    shop.later(hours=2)
    assert "ValueError: 'paused'" in sync(shop.till).problems[0]
    assert states(shop, bad, good) == [InvoiceState.OPEN, InvoiceState.PAID]
    assert shop.row("select state from payment_attempts where invoice_id = %s", bad)["state"] == "intended"
    shop.sandbox.no_faults()
    shop.later(hours=1)
    assert shop.tick() == []
    assert states(shop, bad) == [InvoiceState.PAID]


def test_events_after_a_bad_one_are_handled_in_the_same_turn(shop: Shop, paused: Callable[..., None]) -> None:
    bad, good = two_invoices(shop, auto_pay=False)
    sync(shop.till)
    theirs = {each: str(shop.invoice(each).stripe_invoice_id) for each in (bad, good)}
    with shop.database.transaction() as tx:
        for n, each in enumerate((bad, good)):
            shop.sandbox.customer_pays(theirs[each])
            at = shop.now() + timedelta(seconds=n)
            event = StripeEvent(
                id=f"evt_{n}", type="invoice.paid", object_type="invoice", object_id=theirs[each], created_at=at
            )
            store_event(tx, event, at)
    paused(f"/v1/invoices/{theirs[bad]}")
    done = handle_events(shop.till)
    assert (done.moved, len(done.problems)) == (1, 1)
    assert "evt_0: ValueError" in done.problems[0]
    assert states(shop, bad, good)[1] is InvoiceState.PAID
    shop.sandbox.no_faults()
    shop.later(hours=1)
    assert handle_events(shop.till).moved == 1
    assert states(shop, bad, good) == [InvoiceState.PAID] * 2


def test_refunds_and_top_ups_after_a_bad_one_are_sent_in_the_same_turn(shop: Shop) -> None:
    bad, good = two_invoices(shop)
    shop.tick()
    for each in (bad, good):
        with shop.database.transaction() as tx:
            lines = [Correction(position=1, cents=5_000)]
            refunds.request(tx, each, corrections=lines, reason="Slow", actor="operator", now=shop.now())
            org = shop.invoice(each).organisation_id
            top_ups.request(tx, org, 2_000, actor="customer", now=shop.now(), key="k")
    shop.sandbox.fault("changed", path=f"/v1/charges/{shop.charge_of(bad)}", fields={"created": None})
    assert len(refunds.send(shop.till).problems) == 1
    assert {row["invoice_id"]: row["state"] for row in shop.rows("select * from refunds")} == {
        bad: "intended", good: "done"
    }  # fmt: skip
    shop.sandbox.fault("changed", path="/v1/payment_intents$", times=1, fields={"metadata": 7})
    done = top_ups.send(shop.till)
    assert (done.moved, len(done.problems)) == (1, 1)
    shop.sandbox.no_faults()
    shop.later(hours=1)
    assert refunds.send(shop.till).problems == top_ups.send(shop.till).problems == []
    assert {row["state"] for row in shop.rows("select state from refunds")} == {"done"}
    assert {row["state"] for row in shop.rows("select state from top_ups")} == {TopUpState.PAID}
    assert len(shop.rows("select 1 from payments where top_up_id is not null")) == 2


def hurried(till: Till) -> Till:
    """Ten seconds pass with each look at the clock."""
    looks = count()
    start = till.clock()

    def clock() -> datetime:
        return start + timedelta(seconds=10 * next(looks))

    return replace(till, clock=clock)


def test_a_turn_ends_when_its_time_is_over_and_leases_nothing_that_it_leaves(shop: Shop) -> None:
    made = invoices(shop, "acme", "beta", "gamma")
    sync(hurried(shop.till), seconds=1)
    there = "select invoice_id from stripe_invoices where state = 'open' order by 1"
    assert [row["invoice_id"] for row in shop.rows(there)] == made[:1]
    sync(shop.till)
    assert [row["invoice_id"] for row in shop.rows(there)] == made
    charge_due(hurried(shop.till), seconds=0)
    assert states(shop, *made).count(InvoiceState.PAID) == 1
    charge_due(shop.till)
    assert set(states(shop, *made)) == {InvoiceState.PAID}


@pytest.mark.parametrize(
    ("payment", "charge"),
    [
        ({"type": "payment_intent", "payment_intent": {"object": "payment_intent", "latest_charge": "ch_1"}}, "ch_1"),
        ({"type": "payment_intent", "payment_intent": {"object": "payment_intent", "latest_charge": None}}, None),
        ({"type": "payment_intent", "payment_intent": "pi_not_expanded"}, None),
        ({"type": "payment_intent", "payment_intent": {"latest_charge": {"object": "charge", "id": "ch_2"}}}, "ch_2"),
        ({"type": "charge", "charge": "ch_3"}, "ch_3"),
        ({"type": "payment_record", "payment_record": "prec_1"}, None),
        ({"type": "payment_intent", "payment_intent": None}, None),
    ],
)
def test_an_invoice_paid_without_an_intent_is_read(payment: dict[str, Any], charge: str | None) -> None:
    fields = ("id", "status", "customer", "total", "amount_due", "amount_remaining", "hosted_invoice_url")
    found = {**dict.fromkeys(fields, "x"), "payments": {"object": "list", "data": [{"payment": payment}]}}
    read = stripe_wire.invoice(stripe.Invoice.construct_from(found, "sk_test"))
    assert read.charges == ((charge,) if charge else ())
