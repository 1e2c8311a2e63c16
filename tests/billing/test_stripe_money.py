"""What happens to money at Stripe, and what our books say then: to the cent, worked out by hand."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scalar.billing import (
    crediting,
    invoice_checks,
    invoice_store,
    invoices,
    payments,
    refunds,
    stripe_statement,
    top_ups,
    wallet_store,
    wallets,
)
from scalar.billing.charging import charge_due
from scalar.billing.credit import Terms
from scalar.billing.credit_notes import Correction
from scalar.billing.invoice_model import Invoice, InvoiceState
from scalar.billing.payment_model import RefundState, TopUpState, parts_of_income, parts_of_outgo
from scalar.billing.stripe_answers import Charge, Movement, StripeDispute
from scalar.billing.stripe_lines import items_of
from scalar.billing.stripe_sync import sync
from scalar.errors import Conflict, IdempotencyConflict
from tests.billing.billed import at
from tests.billing.stripe_made_up import Shop

FEE = 320  # of $100: 2.9% and 30 cents
PAID = {"revenue": -10_000, "cash:stripe": 10_000 - FEE, "payment_fees": FEE}
REASON = "The node was slow"


def a_paid_invoice(shop: Shop) -> Invoice:
    invoice = shop.an_invoice(shop.an_organisation())
    assert shop.tick() == []
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    return invoice


def agrees(shop: Shop) -> None:
    """Our receivables are our invoices', and our cash is Stripe's."""
    stripe_statement.read(shop.till)
    with shop.database.transaction() as tx:
        assert invoice_checks.receivables_that_differ(tx) == []
        tied = stripe_statement.tied(tx)
    mine = sum(each["net"] for each in shop.rows("select cents - fee as net from payment_movements"))
    assert shop.books().get("cash:stripe", 0) == mine
    ours = {each["stripe_id"] for each in shop.rows("select stripe_id from payment_movements")}
    assert [each for each in tied.differences if each.id in ours] == []
    assert tied.strangers == ()


@pytest.mark.parametrize(
    ("cents", "lost", "outstanding", "parts"),
    [(100, 0, 100, (0, 100, 0)), (100, 0, 70, (0, 70, 30)), (100, 40, 30, (40, 30, 30)), (100, 500, 500, (100, 0, 0))],
)
def test_money_that_comes(cents: int, lost: int, outstanding: int, parts: tuple[int, ...]) -> None:
    to = parts_of_income(cents, lost=lost, outstanding=outstanding)
    assert (to.bad_debt, to.invoice, to.wallet) == parts
    assert to.total == cents


@pytest.mark.parametrize(
    ("cents", "applied", "in_wallet", "parts"),
    [(100, 100, 0, (-100, 0, 0)), (100, 60, 30, (-60, -30, -10)), (100, 0, 0, (0, 0, -100))],
)
def test_money_that_goes(cents: int, applied: int, in_wallet: int, parts: tuple[int, ...]) -> None:
    to = parts_of_outgo(cents, applied=applied, in_wallet=in_wallet)
    assert (to.invoice, to.wallet, to.bad_debt) == parts
    assert to.total == -cents


# Credit notes, void, written off


def test_a_credit_note_before_the_payment_lowers_what_is_charged(shop: Shop) -> None:
    shop.an_organisation()
    invoice = shop.an_invoice(shop.an_organisation("beta"))
    sync(shop.till)
    with shop.database.transaction() as tx:
        crediting.credit(
            tx, invoice.id, [Correction(position=1, cents=6_000)], reason=REASON, actor="op", now=shop.now()
        )
    assert shop.tick() == []
    theirs = shop.at_stripe(invoice.id)
    assert (theirs.status, theirs.amount_paid, theirs.pre_payment_credit_notes_amount) == ("paid", 6_000, 4_000)
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    assert shop.books()["cash:stripe"] == 6_000 - 204
    agrees(shop)


def test_what_is_paid_before_stripe_hears_of_the_credit_note_goes_to_the_wallet(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    sync(shop.till)
    with shop.database.transaction() as tx:
        crediting.credit(
            tx, invoice.id, [Correction(position=1, cents=6_000)], reason=REASON, actor="op", now=shop.now()
        )
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    assert shop.tick() == []
    assert (shop.invoice(invoice.id).state, shop.invoice(invoice.id).paid) == (InvoiceState.PAID, 6_000)
    assert shop.books() == {**PAID, "credits": 4_000, "wallet": -4_000}
    assert shop.at_stripe(invoice.id).post_payment_credit_notes_amount == 4_000  # given back as credit
    agrees(shop)


def test_a_void_invoice_is_void_at_stripe_and_what_is_paid_for_it_meanwhile_is_credit(shop: Shop) -> None:
    acme, beta = shop.an_organisation(card=None), shop.an_organisation("beta", card=None)
    first, second = shop.an_invoice(acme), shop.an_invoice(beta)
    sync(shop.till)
    for each in (first, second):
        with shop.database.transaction() as tx:
            invoices.void(tx, each.id, actor="op", reason="Wrong", now=shop.now())
    shop.sandbox.customer_pays(shop.invoice(second.id).stripe_invoice_id)
    shop.tick()
    assert shop.at_stripe(first.id).status == "void"
    assert shop.at_stripe(second.id).status == "paid"
    assert shop.books()["wallet"] == -10_000
    agrees(shop)


def test_one_that_is_void_before_stripe_has_it_never_comes_there(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    shop.rows("insert into stripe_invoices (invoice_id, intended_at) values (%s, now()) returning 1", invoice.id)
    with shop.database.transaction() as tx:
        invoices.void(tx, invoice.id, actor="op", reason="Wrong", now=shop.now())
    assert shop.tick() == []
    assert shop.row("select state from stripe_invoices")["state"] == "dropped"
    assert shop.invoice(invoice.id).stripe_invoice_id is None


def test_what_was_paid_by_transfer_is_not_charged(shop: Shop) -> None:
    acme = shop.an_organisation(auto_pay=False)
    invoice = shop.an_invoice(acme)
    assert shop.tick() == []
    theirs = shop.at_stripe(invoice.id)
    assert (theirs.status, theirs.collection_method, theirs.amount_remaining) == ("open", "send_invoice", 10_000)
    with shop.database.transaction() as tx:
        invoices.mark_paid(tx, invoice.id, 10_000, source="wire/1", at=shop.now())
    assert shop.tick() == []
    assert shop.at_stripe(invoice.id).status == "paid"
    assert shop.rows("select * from payments") == []


def test_one_that_was_written_off_can_still_be_paid(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation(auto_pay=False))
    shop.tick()
    with shop.database.transaction() as tx:
        invoices.mark_uncollectible(tx, invoice.id, actor="op", reason="Gone", now=shop.now())
    assert shop.tick() == []
    assert shop.at_stripe(invoice.id).status == "uncollectible"
    assert shop.books() == {"revenue": -10_000, "bad_debt": 10_000}
    shop.sandbox.customer_pays(shop.invoice(invoice.id).stripe_invoice_id)
    shop.tick()
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    assert shop.books() == PAID
    agrees(shop)


def test_a_draft_that_would_collect_something_else_is_not_finalized(shop: Shop) -> None:
    acme = shop.an_organisation()
    shop.v1.customers.balance_transactions.create(shop.customer(acme[0]), {"amount": -2_000, "currency": "usd"})
    invoice = shop.an_invoice(acme)
    (problem,) = shop.tick()
    assert "not finalized" in problem
    assert shop.at_stripe(invoice.id).status == "draft"


def test_a_long_invoice_is_added_up_at_stripe(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    with shop.database.transaction() as tx:
        (line,) = invoice_store.lines(tx, invoice.id)
    lines = [replace(line, position=n, cents=100, job_id=f"job_{n}") for n in range(1, 101)]
    (item,) = items_of(invoice, lines)
    assert (item.cents, item.description) == (10_000, "Usage 2026-01, fast, H100")
    with pytest.raises(ValueError, match="don't add up"):
        items_of(invoice, lines[1:])


# Refunds


def test_a_refund_corrects_the_invoice_and_goes_back_to_the_card_once(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    lines = [Correction(position=1, cents=7_000)]
    for _ in range(2):
        with shop.database.transaction() as tx:
            asked = refunds.request(
                tx, invoice.id, corrections=lines, reason=REASON, actor="op", now=shop.now(), key="k1"
            )
    assert (asked.cents, asked.state) == (3_000, RefundState.INTENDED)
    assert shop.books() == {**PAID, "credits": 3_000, "refunds": -3_000}
    with shop.database.transaction() as tx, pytest.raises(IdempotencyConflict):
        refunds.request(tx, invoice.id, cents=1, reason=REASON, actor="op", now=shop.now(), key="k1")
    assert refunds.send(shop.till).problems == []
    for _ in range(2):
        shop.tick()
    assert shop.row("select state from refunds")["state"] == "done"
    assert shop.books() == {**PAID, "credits": 3_000, "cash:stripe": 10_000 - FEE - 3_000}
    assert shop.v1.charges.retrieve(shop.charge_of(invoice.id)).amount_refunded == 3_000
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    agrees(shop)


@pytest.mark.parametrize("fault", ["dropped", "server_error", "server_error_after"])
def test_a_refund_whose_answer_never_came_is_made_once(shop: Shop, fault: str) -> None:
    invoice = a_paid_invoice(shop)
    with shop.database.transaction() as tx:
        lines = [Correction(position=1, cents=7_000)]
        refunds.request(tx, invoice.id, corrections=lines, reason=REASON, actor="op", now=shop.now())
    shop.sandbox.fault(fault, method="POST", path="/refunds$", times=1)
    assert len(refunds.send(shop.till).problems) == 1
    shop.later(minutes=3)
    assert refunds.send(shop.till).problems == []
    assert shop.v1.charges.retrieve(shop.charge_of(invoice.id)).amount_refunded == 3_000
    assert shop.books()["cash:stripe"] == 10_000 - FEE - 3_000


def test_a_refund_that_stripe_refuses_is_credit_again(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    with shop.database.transaction() as tx:
        lines = [Correction(position=1, cents=7_000)]
        refunds.request(tx, invoice.id, corrections=lines, reason=REASON, actor="op", now=shop.now())
    shop.sandbox.dispute(shop.charge_of(invoice.id), amount=1_000)
    assert "charged back" in refunds.send(shop.till).problems[0]
    assert shop.row("select state from refunds")["state"] == "failed"
    assert shop.books()["wallet"] == -3_000
    assert "refunds" not in shop.books()


def a_refund_on_its_way(shop: Shop, how: str) -> Invoice:
    """$30 of $100, asked for and sent; the card's bank answers a day later."""
    invoice = a_paid_invoice(shop)
    shop.sandbox.card(shop.v1.charges.retrieve(shop.charge_of(invoice.id)).payment_method, refunds=how)
    with shop.database.transaction() as tx:
        lines = [Correction(position=1, cents=7_000)]
        refunds.request(tx, invoice.id, corrections=lines, reason=REASON, actor="op", now=shop.now())
    assert refunds.send(shop.till).problems == []
    return invoice


@pytest.mark.parametrize(("how", "ends"), [("pending", "done"), ("pending_fails", "failed")])
def test_a_refund_that_waits_is_looked_at_every_hour_until_it_has_arrived(shop: Shop, how: str, ends: str) -> None:
    a_refund_on_its_way(shop, how)
    assert shop.row("select state from refunds")["state"] == "pending"
    assert refunds.send(shop.till).moved == 0
    shop.later(hours=1)
    assert (refunds.send(shop.till).moved, refunds.send(shop.till).moved) == (1, 0)
    assert shop.row("select state from refunds")["state"] == "pending"
    shop.later(days=1)
    # Nobody was told: no event is heard here.
    assert refunds.send(shop.till).problems == []
    assert shop.row("select state from refunds")["state"] == ends
    failed = ends == "failed"
    left = {"wallet": -3_000} if failed else {}
    cash = 10_000 - FEE - (0 if failed else 3_000)
    assert shop.books() == {**PAID, "credits": 3_000, "cash:stripe": cash, **left}
    shop.later(hours=2)
    assert refunds.send(shop.till).moved == 0
    agrees(shop)


def test_a_refund_that_is_done_and_fails_later_is_credit_again_once(shop: Shop) -> None:
    invoice = a_refund_on_its_way(shop, "fails")
    shop.tick()
    assert shop.row("select state from refunds")["state"] == "done"
    shop.later(days=1)
    for _ in range(2):
        assert shop.tick() == []
        found = shop.row("select state, message from refunds")
        assert (found["state"], found["message"]) == ("failed", "expired_or_canceled_card")
        assert shop.books() == {**PAID, "credits": 3_000, "wallet": -3_000}
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    agrees(shop)


def test_a_refund_on_its_way_is_not_given_back_because_stripe_does_not_answer_for_it(shop: Shop) -> None:
    a_refund_on_its_way(shop, "pending")
    shop.later(hours=1)
    with shop.database.transaction() as tx:
        tx.execute("update payments set stripe_charge_id = 'ch_unknown'")
    assert len(refunds.send(shop.till).problems) == 1
    assert shop.row("select state from refunds")["state"] == "pending"
    assert "wallet" not in shop.books()


def test_no_more_is_refunded_than_the_credit_and_the_payment_have(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    with shop.database.transaction() as tx, pytest.raises(Conflict, match=r"\$0.00 of credit"):
        refunds.request(tx, invoice.id, reason=REASON, actor="op", now=shop.now())
    with shop.database.transaction() as tx:
        crediting.credit(
            tx, invoice.id, [Correction(position=1, cents=9_000)], reason=REASON, actor="op", now=shop.now()
        )
    with shop.database.transaction() as tx, pytest.raises(Conflict, match="correct its lines"):
        refunds.request(tx, invoice.id, cents=1_001, reason=REASON, actor="op", now=shop.now())
    with shop.database.transaction() as tx:
        assert refunds.request(tx, invoice.id, reason=REASON, actor="op", now=shop.now()).cents == 1_000


def test_a_refund_made_by_hand_at_stripe_is_to_be_paid_again(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    shop.v1.refunds.create({"charge": shop.charge_of(invoice.id), "amount": 2_500})
    assert shop.tick() == []
    assert (shop.invoice(invoice.id).state, shop.invoice(invoice.id).outstanding) == (InvoiceState.OPEN, 2_500)
    assert shop.books() == {**PAID, "receivable": 2_500, "cash:stripe": 10_000 - FEE - 2_500}
    agrees(shop)


# Disputes


def test_a_dispute_takes_the_money_back_until_it_is_won(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    dispute = shop.sandbox.dispute(shop.charge_of(invoice.id))
    shop.tick()
    assert (shop.invoice(invoice.id).state, shop.invoice(invoice.id).outstanding) == (InvoiceState.OPEN, 10_000)
    assert shop.books() == {
        "revenue": -10_000, "receivable": 10_000, "cash:stripe": -FEE - 1_500, "payment_fees": FEE + 1_500
    }  # fmt: skip
    shop.sandbox.close_dispute(dispute, "won")
    shop.tick()
    assert shop.invoice(invoice.id).state is InvoiceState.PAID
    assert shop.books() == {
        "revenue": -10_000, "cash:stripe": 10_000 - FEE - 1_500, "payment_fees": FEE + 1_500
    }  # fmt: skip
    agrees(shop)


def test_a_dispute_that_is_lost_is_a_bad_debt(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    dispute = shop.sandbox.dispute(shop.charge_of(invoice.id))
    shop.sandbox.close_dispute(dispute, "lost")
    for _ in range(2):
        shop.tick()
    assert shop.invoice(invoice.id).state is InvoiceState.UNCOLLECTIBLE
    assert shop.books() == {
        "revenue": -10_000, "bad_debt": 10_000, "cash:stripe": -FEE - 1_500, "payment_fees": FEE + 1_500
    }  # fmt: skip
    assert shop.row("select status from disputes")["status"] == "lost"
    agrees(shop)


def test_a_dispute_that_is_lost_gives_no_credit_back(shop: Shop) -> None:
    org, job = shop.an_organisation()

    def available() -> int | None:
        with shop.database.transaction() as tx:
            return wallets.available(tx, org, shop.now())

    with shop.database.transaction() as tx:
        wallets.set_terms(tx, org, Terms.INVOICED, limit=150 * 10**6, grace=timedelta(), now=shop.now())
    invoice = shop.an_invoice((org, job))
    assert available() == 50 * 10**6
    shop.tick()
    assert available() == 150 * 10**6
    dispute = shop.sandbox.dispute(shop.charge_of(invoice.id))
    shop.tick()
    assert available() == 50 * 10**6
    shop.sandbox.close_dispute(dispute, "lost")
    shop.tick()
    assert shop.invoice(invoice.id).state is InvoiceState.UNCOLLECTIBLE
    assert available() == 50 * 10**6
    with shop.database.transaction() as tx:
        found = wallet_store.position(tx, org, shop.now())
    assert (found.receivable, found.written_off) == (0, 100 * 10**6)


# Top-ups


def a_top_up(shop: Shop, org: str, cents: int = 5_000) -> str:
    with shop.database.transaction() as tx:
        return top_ups.request(tx, org, cents, actor="customer", now=shop.now(), key="k").id


def test_a_wallet_is_topped_up_by_card_once(shop: Shop) -> None:
    org, _ = shop.an_organisation()
    assert a_top_up(shop, org) == a_top_up(shop, org)
    shop.sandbox.fault("dropped", method="POST", path="/payment_intents$", times=1)
    assert len(top_ups.send(shop.till).problems) == 1
    shop.later(minutes=3)
    for _ in range(2):
        top_ups.send(shop.till)
        shop.tick()
    assert shop.row("select state from top_ups")["state"] == TopUpState.PAID
    assert shop.books() == {"wallet": -5_000, "cash:stripe": 5_000 - 175, "payment_fees": 175}
    agrees(shop)


def test_a_top_up_whose_card_is_declined_has_failed(shop: Shop) -> None:
    org, _ = shop.an_organisation(card="pm_card_chargeCustomerFail")
    a_top_up(shop, org)
    top_ups.send(shop.till)
    shop.tick()
    row = shop.row("select state, message from top_ups")
    assert (row["state"], row["message"]) == (TopUpState.FAILED, "Your card was declined.")
    assert shop.books() == {}


def test_a_top_up_without_a_card_waits_for_the_customer(shop: Shop) -> None:
    org, _ = shop.an_organisation(card=None)
    top_up = a_top_up(shop, org)
    top_ups.send(shop.till)
    _, intent = top_ups.look(shop.till, top_up)
    assert intent is not None
    assert (intent.status, "secret" in repr(intent)) == ("requires_payment_method", False)
    assert shop.row("select state from top_ups")["state"] == TopUpState.PENDING
    shop.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    shop.tick()
    assert shop.books()["wallet"] == -5_000


@pytest.mark.parametrize("paid", [False, True])
def test_a_top_up_that_nobody_confirms_is_cancelled_after_three_days(shop: Shop, paid: bool) -> None:
    org, _ = shop.an_organisation(card=None)
    top_up = a_top_up(shop, org)
    top_ups.send(shop.till)
    shop.later(days=2, hours=23)
    top_ups.send(shop.till)
    found, intent = top_ups.look(shop.till, top_up)
    assert (found.state, intent is not None) == (TopUpState.PENDING, True)
    if paid:
        shop.v1.payment_intents.confirm(found.stripe_id, {"payment_method": "pm_card_visa"})
        # What was paid just now is seen, whatever the look before had said.
        waits = {"status": "requires_payment_method", "latest_charge": None}
        shop.sandbox.fault("changed", method="GET", path="/payment_intents/", times=1, fields=waits)
    shop.later(hours=1)
    assert top_ups.send(shop.till).problems == []
    found, intent = top_ups.look(shop.till, top_up)
    assert (found.state, intent) == (TopUpState.PAID if paid else TopUpState.FAILED, None)
    theirs = shop.v1.payment_intents.retrieve(found.stripe_id)
    assert theirs.status == ("succeeded" if paid else "canceled")
    assert shop.books().get("wallet", 0) == (-5_000 if paid else 0)
    asked = len(shop.rows("select 1 from top_ups where state in ('intended', 'pending')"))
    assert asked == 0


def test_a_disputed_top_up_takes_what_is_left_of_it_and_the_rest_is_lost(shop: Shop) -> None:
    org, _ = shop.an_organisation()
    a_top_up(shop, org)
    top_ups.send(shop.till)
    shop.tick()
    shop.rows("update wallet_lots set used = 20000000 returning 1")  # $20 of it
    dispute = shop.sandbox.dispute(shop.row("select stripe_charge_id as id from payments")["id"])
    shop.tick()
    parts = shop.row("select to_wallet, to_bad_debt from payment_movements where kind = 'dispute'")
    assert (parts["to_wallet"], parts["to_bad_debt"]) == (-3_000, -2_000)
    shop.sandbox.close_dispute(dispute, "won")
    shop.tick()
    assert "bad_debt" not in shop.books()
    assert shop.books()["wallet"] == -5_000


# The statement


def test_what_no_event_told_of_is_found_on_the_statement(shop: Shop) -> None:
    invoice = a_paid_invoice(shop)
    shop.v1.refunds.create({"charge": shop.charge_of(invoice.id), "amount": 2_500})
    with shop.database.transaction() as tx:
        assert not stripe_statement.tied(tx).agrees
    for _ in range(2):
        assert stripe_statement.read(shop.till).problems == []
    assert shop.books()["receivable"] == 2_500
    agrees(shop)


def test_money_for_nothing_of_ours_does_not_tie(shop: Shop) -> None:
    wanted = {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    intent = shop.v1.payment_intents.create(wanted)
    stripe_statement.read(shop.till)
    with shop.database.transaction() as tx:
        found = stripe_statement.tied(tx)
    assert not found.agrees
    (stranger,) = [each for each in found.differences if each.source == intent.latest_charge]
    assert (stranger.theirs, stranger.ours) == (900 - 56, 0)


def test_only_what_is_due_is_charged(shop: Shop) -> None:
    invoice = shop.an_invoice(shop.an_organisation())
    sync(shop.till)
    with shop.database.transaction() as tx:
        invoices.mark_paid(tx, invoice.id, 1_000, source="wire/1", at=shop.now())
    (problem,) = charge_due(shop.till).problems
    assert "Stripe would take 10000 cents, but 9000 are due" in problem
    assert shop.at_stripe(invoice.id).status == "open"


def test_what_comes_back_within_a_second_had_gone_before() -> None:
    def moved(id: str, cents: int) -> Movement:
        return Movement(id=id, type="", category="", source=None, cents=cents, fee=0, at=at(1))

    dispute = StripeDispute(
        id="du_1", status="won", reason="", cents=5, opened_at=at(1), movements=(moved("b", -5), moved("a", 5))
    )
    charge = Charge(
        id="ch_1", cents=9, paid=True, intent=None, at=at(1), movement=moved("c", 9), refunds=(), disputes=(dispute,)
    )
    assert [step.movement.cents for step in payments._steps(charge)] == [9, -5, 5]
