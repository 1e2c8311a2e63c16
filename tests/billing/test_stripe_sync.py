"""Invoices at a real Stripe stand-in: made once, collected once, booked to the cent, whatever dies in between."""

from itertools import count

from scalar.billing.charging import charge_due
from scalar.billing.invoice_model import InvoiceState
from scalar.billing.stripe_sync import sync
from tests.billing.stripe_made_up import DyingSession, Killed, Shop, Steps

FEE = 320  # 2.9% of $100, and 30 cents


def test_an_invoice_is_made_at_stripe_with_its_lines_and_paid_by_card(shop: Shop) -> None:
    acme = shop.an_organisation(name="acme")
    invoice = shop.an_invoice(acme)
    assert shop.tick() == []
    paid = shop.invoice(invoice.id)
    theirs = shop.at_stripe(invoice.id)
    assert (paid.state, paid.paid, paid.outstanding) == (InvoiceState.PAID, 10_000, 0)
    assert (theirs.status, theirs.number, theirs.amount_paid) == ("paid", invoice.number, 10_000)
    assert [line.amount for line in theirs.lines.data] == [10_000]
    assert theirs.metadata["scalar_invoice"] == invoice.id
    assert shop.books() == {"revenue": -10_000, "cash:stripe": 10_000 - FEE, "payment_fees": FEE}
    customer = shop.v1.customers.retrieve(theirs.customer)
    assert (customer.name, customer.email) == ("acme", "acme@example.com")


def test_ticks_that_follow_do_nothing_more(shop: Shop) -> None:
    shop.an_invoice(shop.an_organisation())
    for _ in range(3):
        assert shop.tick() == []
        shop.later(hours=2)
    assert shop.books()["cash:stripe"] == 10_000 - FEE
    assert len(shop.rows("select * from payment_movements")) == 1
    assert len(shop.rows("select * from payment_attempts")) == 1


def test_nothing_is_charged_twice_or_forgotten_wherever_the_process_dies(shop: Shop) -> None:
    """A pass over a new customer's invoice is killed at each of its steps in turn; the next ticks finish it."""
    deaths: list[str] = []
    invoiced: list[tuple[str, str]] = []
    for number in count():
        acme = shop.an_organisation(f"org-{number}", known=False)
        invoice = shop.an_invoice(acme)
        try:
            _pass(shop, acme[0], Steps(number))
        except Killed as death:
            deaths.append(str(death))
        else:
            break
        shop.later(minutes=3)  # the lease of the dead runs out
        _pass(shop, acme[0], Steps(None))
        invoiced.append((invoice.id, deaths[-1]))
    for invoice_id, death in invoiced:
        _is_paid_once(shop, invoice_id, death)
    assert shop.books()["cash:stripe"] == (10_000 - FEE) * (len(deaths) + 1)
    for wanted in ("/v1/customers", "/v1/invoices", "/v1/invoiceitems", "/finalize", "/pay", "/v1/charges", "commit"):
        assert any(wanted in death for death in deaths), (wanted, deaths)


def _is_paid_once(shop: Shop, invoice_id: str, death: str) -> None:
    assert shop.invoice(invoice_id).state is InvoiceState.PAID, death
    theirs = shop.at_stripe(invoice_id)
    charges = shop.v1.charges.list({"customer": theirs.customer, "limit": 100}).data
    made = shop.v1.invoices.list({"customer": theirs.customer, "limit": 100}).data
    named = shop.v1.customers.list({"email": f"{theirs.customer_name}@example.com"}).data
    assert [each.id for each in named] == [theirs.customer], death
    assert [each.amount for each in charges if each.paid] == [10_000], death
    assert [each.id for each in made] == [theirs.id], death
    assert [line.amount for line in theirs.lines.data] == [10_000], death


def _pass(shop: Shop, org: str, steps: Steps) -> None:
    with shop.a_stripe(DyingSession(steps)) as stripe:
        till = shop.a_till(stripe, steps.transact(shop.database))
        sync(till)
        _give_card(shop, org)
        charge_due(till)


def _give_card(shop: Shop, org: str) -> None:
    if shop.v1.customers.retrieve(shop.customer(org)).invoice_settings.default_payment_method is None:
        shop.use_card(org, "pm_card_visa")
