"""Months whose payments go wrong, at a real Stripe stand-in. Stripe takes 2.9 % and $0.30, and $15 for a dispute."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from scalar.billing import wallets
from scalar.billing.charging import charge_due
from scalar.billing.credit import Terms
from scalar.billing.invoice_model import Invoice, InvoiceState
from scalar.billing.stripe_sync import sync
from scalar.errors import PaymentRequired
from tests.billing.month import Months, on
from tests.billing.stripe_made_up import Shop
from tests.made_up import a_customer

DOLLAR = 1_000_000


@pytest.fixture
def acme(shop: Shop) -> tuple[str, str]:
    """A customer with a card, and a credit limit of $300."""
    with shop.database.transaction() as tx:
        customer = a_customer(tx)
        wallets.set_terms(tx, customer[0], Terms.INVOICED, limit=300 * DOLLAR, grace=timedelta(minutes=5), now=on(1))
    sync(shop.till)
    shop.use_card(customer[0], "pm_card_visa")
    return customer


def test_a_card_fails_dunning_and_paid_late(shop: Shop, acme: tuple[str, str]) -> None:
    shop.card(acme[0], "insufficient_funds")
    at_stripe = shop.balance_at_stripe()
    january = invoiced(shop, acme, 1, on(1, 20))
    began = shop.now()
    assert january.due == 28_800
    shop.tick()
    for wait in (1, 3, 5):
        a_wait_of(shop, wait)
    assert shop.invoice(january.id).state is InvoiceState.OPEN
    assert told(shop) == [1, 2, 3, 4]
    # $300 less $288 that are owed.
    assert available(shop, acme) == 12 * DOLLAR
    assert said(shop) == {"receivable": Decimal(288), "revenue": Decimal(-288)}
    shop.card(acme[0], None)
    a_wait_of(shop, 7)
    paid = shop.invoice(january.id)
    assert (paid.state, paid.paid, paid.outstanding) == (InvoiceState.PAID, 28_800, 0)
    assert (paid.paid_at - began).days == 16
    assert paid.paid_at > paid.due_at
    assert available(shop, acme) == 300 * DOLLAR
    # 2.9 % of $288 are $8.352.
    assert said(shop) == {
        "cash:stripe": Decimal("279.35"),
        "payment_fees": Decimal("8.65"),
        "revenue": Decimal(-288),
    }
    assert shop.balance_at_stripe() - at_stripe == 27_935
    a_wait_of(shop, 30)
    assert told(shop) == [1, 2, 3, 4]
    assert len(shop.rows("select * from payment_movements")) == 1


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_dispute(shop: Shop, acme: tuple[str, str], outcome: str) -> None:
    at_stripe = shop.balance_at_stripe()
    january = invoiced(shop, acme, 1, on(1, 20))
    shop.tick()
    assert shop.invoice(january.id).state is InvoiceState.PAID
    dispute = shop.sandbox.dispute(shop.charge_of(january.id))
    shop.tick()
    taken_back = shop.invoice(january.id)
    assert (taken_back.state, taken_back.outstanding) == (InvoiceState.OPEN, 28_800)
    assert available(shop, acme) == 12 * DOLLAR
    # $8.65 for the payment, and $15 for the dispute.
    assert said(shop) == {
        "receivable": Decimal(288),
        "cash:stripe": Decimal("-23.65"),
        "payment_fees": Decimal("23.65"),
        "revenue": Decimal(-288),
    }
    shop.later(days=20)
    shop.sandbox.close_dispute(dispute, outcome)
    shop.tick()
    fees = {"payment_fees": Decimal("23.65"), "revenue": Decimal(-288)}
    if outcome == "won":
        assert shop.invoice(january.id).state is InvoiceState.PAID
        assert said(shop) == {"cash:stripe": Decimal("264.35"), **fees}
        assert shop.balance_at_stripe() - at_stripe == 26_435
    else:
        assert shop.invoice(january.id).state is InvoiceState.UNCOLLECTIBLE
        assert said(shop) == {"cash:stripe": Decimal("-23.65"), "bad_debt": Decimal(288), **fees}
        assert shop.balance_at_stripe() - at_stripe == -2_365
    # What is lost gives no credit back.
    assert available(shop, acme) == (300 if outcome == "won" else 12) * DOLLAR


def test_the_month_after_a_lost_dispute_is_paid_as_any_other(shop: Shop, acme: tuple[str, str]) -> None:
    january = invoiced(shop, acme, 1, on(1, 20))
    shop.tick()
    shop.sandbox.close_dispute(shop.sandbox.dispute(shop.charge_of(january.id)), "lost")
    shop.tick()
    shop.sandbox.advance_to(max(shop.now(), datetime(2026, 3, 3, tzinfo=UTC)).timestamp())
    with pytest.raises(PaymentRequired, match=r"\$12.00 is available"):
        invoiced(shop, acme, 2, on(2, 20))
    with shop.database.transaction() as tx:
        wallets.set_terms(tx, acme[0], Terms.INVOICED, limit=600 * DOLLAR, grace=timedelta(minutes=5), now=shop.now())
    february = invoiced(shop, acme, 2, on(2, 20))
    shop.tick()
    assert shop.invoice(january.id).state is InvoiceState.UNCOLLECTIBLE
    assert shop.invoice(february.id).state is InvoiceState.PAID
    # $8.65 twice, and $15.
    assert said(shop) == {
        "cash:stripe": Decimal("255.70"),
        "payment_fees": Decimal("32.30"),
        "bad_debt": Decimal(288),
        "revenue": Decimal(-576),
    }


def invoiced(shop: Shop, customer: tuple[str, str], month: int, start: datetime) -> Invoice:
    """Ten hours of 8 H100s, $288, and the month's invoice of it, opened today."""
    with shop.database.transaction() as tx:
        months = Months(tx)
        months.runs(customer, start, 10 * 3600, gpus=8, max_runtime_seconds=10 * 3600)
        return months.opens(month, shop.now())[customer[0]]


def a_wait_of(shop: Shop, days: float) -> None:
    shop.later(days=days)
    charge_due(shop.till, again=True)
    shop.tick()


def told(shop: Shop) -> list[int]:
    """Of which tries the customer was told that they failed."""
    rows = shop.rows("select data from webhook_events where type = 'invoice.payment_failed' order by id")
    return [row["data"]["attempt"] for row in rows]


def available(shop: Shop, customer: tuple[str, str]) -> int | None:
    with shop.database.transaction() as tx:
        return wallets.available(tx, customer[0], shop.now())


def said(shop: Shop) -> dict[str, Decimal]:
    with shop.database.transaction() as tx:
        return Months(tx).books()
