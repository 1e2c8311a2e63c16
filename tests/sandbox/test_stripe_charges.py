"""Cards, invoices and what becomes of them, to the cent, as the real library drives them."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from sandbox.stripe.balance_transactions import charge_fee
from sandbox.stripe.drafting import Due, due_of
from tests.stripe_process import SandboxStripe

HOUR = 3600
DAY = 86_400


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStripe]:
    with SandboxStripe(tmp_path_factory.mktemp("money"), retry_days="3,5") as started:
        yield started


@pytest.fixture(scope="module")
def client(sandbox: SandboxStripe) -> Any:
    return sandbox.client().v1


def a_customer(client: Any, card: str | None = "pm_card_visa", **more: Any) -> str:
    customer = client.customers.create({"name": "Ada", "email": "ada@example.com", **more}).id
    if card is not None:
        method = client.payment_methods.attach(card, {"customer": customer}).id
        client.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})
    return str(customer)


def an_invoice(client: Any, customer: str, *amounts: int, **more: Any) -> Any:
    for cents in amounts or (5000,):
        client.invoice_items.create({"customer": customer, "amount": cents, "currency": "usd"})
    return client.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include", **more})


def default_card(client: Any, customer: str) -> str:
    return str(client.customers.retrieve(customer).invoice_settings.default_payment_method)


def types_about(client: Any, id: str) -> list[str]:
    """The types of the events whose object it is, oldest first."""
    rows = client.events.list({"limit": 100}).data
    return [row.type for row in reversed(rows) if row.data.object["id"] == id]


@pytest.mark.parametrize(("cents", "fee"), [(50, 31), (100, 33), (900, 56), (1017, 59), (1018, 60), (100_000, 2930)])
def test_a_charge_costs_2_9_percent_and_30_cents(cents: int, fee: int) -> None:
    assert charge_fee(cents) == fee


@pytest.mark.parametrize(
    ("total", "balance", "due"),
    [
        (5000, 0, Due(amount=5000, balance=0)),
        (5000, -2000, Due(amount=3000, balance=0)),
        (5000, -6000, Due(amount=0, balance=-1000)),
        (5000, 30, Due(amount=5030, balance=0)),
        (49, 0, Due(amount=0, balance=49)),
        (50, 0, Due(amount=50, balance=0)),
        (30, 20, Due(amount=50, balance=0)),
        (0, 0, Due(amount=0, balance=0)),
        (-700, 0, Due(amount=0, balance=-700)),
    ],
)
def test_the_balance_pays_for_an_invoice_and_small_amounts_are_carried(total: int, balance: int, due: Due) -> None:
    assert due_of(total, balance) == due


# Cards


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
def test_a_declined_payment_says_why_and_leaves_a_failed_charge(
    client: Any, card: str, code: str, decline_code: str
) -> None:
    with pytest.raises(stripe.CardError) as error:
        client.payment_intents.create({"amount": 900, "currency": "usd", "confirm": True, "payment_method": card})
    said = error.value.error
    assert (error.value.http_status, said.code, said.decline_code) == (402, code, decline_code)
    charge = client.charges.retrieve(said.charge)
    assert (charge.status, charge.paid, charge.balance_transaction) == ("failed", False, None)
    intent = client.payment_intents.retrieve(said.payment_intent.id)
    assert (intent.status, intent.last_payment_error.decline_code) == ("requires_payment_method", decline_code)
    paid = client.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.amount_received) == ("succeeded", 900)


def test_a_card_that_declines_cannot_be_attached_but_one_may_fail_later(client: Any) -> None:
    customer = a_customer(client, None)
    with pytest.raises(stripe.CardError):
        client.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer})
    client.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer})
    assert len(client.customers.payment_methods.list(customer).data) == 1


def test_a_card_belongs_to_one_customer_and_is_gone_when_detached(client: Any) -> None:
    customer, other = a_customer(client), a_customer(client, None)
    card = default_card(client, customer)
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        client.payment_methods.attach(card, {"customer": other})
    with pytest.raises(stripe.InvalidRequestError, match="must be attached to the customer"):
        client.customers.update(other, {"invoice_settings": {"default_payment_method": card}})
    client.payment_methods.detach(card)
    assert client.customers.retrieve(customer).invoice_settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="previously detached"):
        client.payment_methods.attach(card, {"customer": customer})


@pytest.mark.parametrize(("succeeds", "status"), [(True, "succeeded"), (False, "requires_payment_method")])
def test_a_payment_may_have_to_be_authenticated(
    sandbox: SandboxStripe, client: Any, succeeds: bool, status: str
) -> None:
    wanted = {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_authenticationRequired"}
    intent = client.payment_intents.create(wanted)
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    sandbox.authenticate(intent.id, succeeds=succeeds)
    assert client.payment_intents.retrieve(intent.id).status == status
    with pytest.raises(stripe.CardError) as error:
        client.payment_intents.create({**wanted, "off_session": True})
    assert error.value.code == "authentication_required"


# Invoices


def test_an_invoice_is_finalized_and_collected_by_itself(sandbox: SandboxStripe, client: Any) -> None:
    customer = a_customer(client)
    prefix = client.customers.retrieve(customer).invoice_prefix
    draft = an_invoice(client, customer, 4000, 1234, auto_advance=True, metadata={"ours": "inv_1"})
    assert (draft.status, draft.number, draft.total, draft.amount_due) == ("draft", None, 5234, 5234)
    sandbox.advance_to(draft.created + HOUR - 1)
    assert client.invoices.retrieve(draft.id).status == "draft"
    sandbox.advance(1)
    paid = client.invoices.retrieve(draft.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert (paid.status, paid.number, paid.amount_paid, paid.amount_remaining) == ("paid", f"{prefix}-0001", 5234, 0)
    assert (paid.attempt_count, paid.attempted, paid.status_transitions.paid_at) == (1, True, draft.created + HOUR)
    intent = paid.payments.data[0].payment.payment_intent
    moved = client.charges.retrieve(intent.latest_charge, {"expand": ["balance_transaction"]}).balance_transaction
    assert (moved.amount, moved.fee, moved.net, moved.status) == (5234, 182, 5052, "pending")
    assert types_about(client, draft.id) == [
        "invoice.created", "invoice.updated", "invoice.finalized", "invoice.updated", "invoice.paid",
        "invoice.payment_succeeded",
    ]  # fmt: skip
    sandbox.advance(2 * DAY)
    assert client.balance_transactions.retrieve(moved.id).status == "available"


def test_a_failing_card_is_tried_again_by_the_schedule_and_then_no_more(sandbox: SandboxStripe, client: Any) -> None:
    customer = a_customer(client, "pm_card_chargeCustomerFail")
    draft = an_invoice(client, customer, auto_advance=True)
    seen = []
    for wait in (HOUR, 3 * DAY, 5 * DAY, 30 * DAY):
        sandbox.advance(wait)
        invoice = client.invoices.retrieve(draft.id)
        seen.append((invoice.attempt_count, invoice.next_payment_attempt))
    first = draft.created + HOUR
    assert seen == [(1, first + 3 * DAY), (2, first + 8 * DAY), (3, None), (3, None)]
    assert invoice.status == "open"
    assert types_about(client, draft.id).count("invoice.payment_failed") == 3
    assert client.customers.retrieve(customer).delinquent


def test_a_card_that_pays_again_is_collected_at_the_next_attempt(sandbox: SandboxStripe, client: Any) -> None:
    customer = a_customer(client)
    card = default_card(client, customer)
    sandbox.card(card, declines="insufficient_funds")
    invoice = an_invoice(client, customer, auto_advance=True).id
    sandbox.advance(HOUR)
    error = client.payment_intents.list({"customer": customer}).data[0].last_payment_error
    assert (error.code, error.decline_code) == ("card_declined", "insufficient_funds")
    sandbox.card(card, declines=None)
    sandbox.advance(3 * DAY)
    assert client.invoices.retrieve(invoice).status == "paid"
    assert not client.customers.retrieve(customer).delinquent


def test_an_invoice_is_paid_by_hand_with_another_card_after_one_declined(client: Any) -> None:
    customer = a_customer(client, "pm_card_chargeCustomerFail")
    invoice = client.invoices.finalize_invoice(an_invoice(client, customer).id)
    assert (invoice.status, invoice.next_payment_attempt) == ("open", None)
    with pytest.raises(stripe.CardError):
        client.invoices.pay(invoice.id)
    paid = client.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.attempt_count, paid.amount_paid) == ("paid", 1, 5000)
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        client.invoices.pay(invoice.id)


def test_without_a_card_nothing_can_be_collected(client: Any) -> None:
    invoice = an_invoice(client, a_customer(client, None)).id
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        client.invoices.pay(invoice)
    assert client.invoices.retrieve(invoice).attempt_count == 1


def test_an_invoice_that_needs_authentication_is_paid_when_the_customer_gives_it(
    sandbox: SandboxStripe, client: Any
) -> None:
    invoice = an_invoice(client, a_customer(client, "pm_card_authenticationRequired")).id
    with pytest.raises(stripe.CardError) as error:
        client.invoices.pay(invoice, {"off_session": False})
    assert error.value.code == "invoice_payment_intent_requires_action"
    sandbox.authenticate(error.value.error.payment_intent.id)
    assert client.invoices.retrieve(invoice).status == "paid"


def test_what_is_collected_by_itself_may_need_the_customer_too(sandbox: SandboxStripe, client: Any) -> None:
    invoice = an_invoice(client, a_customer(client, "pm_card_authenticationRequired"), auto_advance=True).id
    sandbox.advance(HOUR)
    assert types_about(client, invoice)[-3:] == [
        "invoice.payment_action_required", "invoice.updated", "invoice.payment_failed",
    ]  # fmt: skip
    shown = client.invoices.retrieve(invoice, {"expand": ["payments.data.payment.payment_intent"]})
    sandbox.authenticate(shown.payments.data[0].payment.payment_intent.id)
    paid = client.invoices.retrieve(invoice)
    assert (paid.status, paid.attempt_count, paid.next_payment_attempt) == ("paid", 1, None)


def test_a_customer_and_a_card_may_go_before_the_invoice(sandbox: SandboxStripe, client: Any) -> None:
    settings = {"default_payment_method": "pm_card_visa"}
    customer = client.customers.create({"payment_method": "pm_card_visa", "invoice_settings": settings}).id
    card = client.payment_methods.list({"customer": customer}).data[0].id
    invoice = an_invoice(client, customer, default_payment_method=card).id
    client.payment_methods.detach(card)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        client.invoices.pay(invoice)
    left = an_invoice(client, customer, auto_advance=True).id
    client.customers.delete(customer)
    sandbox.advance(DAY)
    assert client.invoices.retrieve(left).status == "draft"


def test_a_sent_invoice_waits_for_the_customer_and_becomes_overdue(sandbox: SandboxStripe, client: Any) -> None:
    customer = a_customer(client, None)
    invoice = an_invoice(client, customer, collection_method="send_invoice", days_until_due=30)
    sent = client.invoices.send_invoice(invoice.id)
    assert (sent.status, sent.due_date) == ("open", invoice.created + 30 * DAY)
    sandbox.advance(31 * DAY)
    assert types_about(client, invoice.id)[-2:] == ["invoice.sent", "invoice.overdue"]
    page = sent.hosted_invoice_url.removeprefix(sandbox.url)
    assert "$50.00 due" in sandbox.request("GET", page).text
    assert "Your card was declined." in sandbox.request("POST", page, data={"card": "pm_card_chargeDeclined"}).text
    assert "$50.00 paid" in sandbox.request("POST", page, data={"card": "pm_card_visa"}).text
    assert client.invoices.retrieve(invoice.id).status == "paid"


def test_a_small_invoice_is_paid_at_once_and_carried_to_the_next(client: Any) -> None:
    customer = a_customer(client)
    small = client.invoices.finalize_invoice(an_invoice(client, customer, 49).id)
    assert (small.status, small.amount_due, small.ending_balance) == ("paid", 0, 49)
    assert client.customers.balance_transactions.list(customer).data[0].type == "invoice_too_small"
    next_one = client.invoices.pay(an_invoice(client, customer, 1000).id)
    assert (next_one.total, next_one.starting_balance, next_one.amount_paid) == (1000, 49, 1049)
    assert client.customers.retrieve(customer).balance == 0


def test_credit_on_the_balance_pays_first_and_comes_back_when_the_invoice_is_void(client: Any) -> None:
    customer = a_customer(client)
    client.customers.balance_transactions.create(customer, {"amount": -2000, "currency": "usd"})
    invoice = client.invoices.finalize_invoice(an_invoice(client, customer).id)
    assert (invoice.amount_due, client.customers.retrieve(customer).balance) == (3000, 0)
    void = client.invoices.void_invoice(invoice.id)
    assert (void.status, client.customers.retrieve(customer).balance) == ("void", -2000)
    with pytest.raises(stripe.InvalidRequestError):
        client.invoices.pay(invoice.id)


def test_an_uncollectible_invoice_can_still_be_paid_elsewhere(client: Any) -> None:
    invoice = client.invoices.finalize_invoice(an_invoice(client, a_customer(client)).id)
    assert client.invoices.mark_uncollectible(invoice.id).status == "uncollectible"
    paid = client.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid) == ("paid", 5000)
    assert client.invoice_payments.list({"invoice": invoice.id}).data[0].status == "canceled"


def test_only_a_draft_changes(client: Any) -> None:
    customer = a_customer(client)
    item = client.invoice_items.create(
        {"customer": customer, "quantity": 3, "unit_amount_decimal": "33.5", "currency": "usd"}
    )
    draft = client.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include"})
    assert draft.total == 101
    client.invoice_items.update(item.id, {"amount": 700})
    assert client.invoices.retrieve(draft.id).total == 700
    client.invoices.finalize_invoice(draft.id)
    for refused in (
        lambda: client.invoice_items.update(item.id, {"amount": 900}),
        lambda: client.invoice_items.delete(item.id),
        lambda: client.invoices.delete(draft.id),
        lambda: client.invoices.finalize_invoice(draft.id),
        lambda: client.invoices.update(draft.id, {"description": "late"}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as error:
            refused()
        assert error.value.code == "invoice_not_editable"
    assert client.invoices.update(draft.id, {"metadata": {"a": "b"}}).metadata.a == "b"


def test_a_deleted_draft_gives_its_items_back(client: Any) -> None:
    customer = a_customer(client)
    client.invoices.delete(an_invoice(client, customer).id)
    assert client.invoices.create({"customer": customer}).total == 0
    assert an_invoice(client, customer, 100).total == 5100


# Credit notes, refunds, disputes


def test_a_credit_note_before_payment_lowers_what_is_due(client: Any) -> None:
    invoice = client.invoices.finalize_invoice(an_invoice(client, a_customer(client)).id)
    note = client.credit_notes.create({"invoice": invoice.id, "amount": 1500, "reason": "order_change"})
    assert (note.type, note.number) == ("pre_payment", f"{invoice.number}-CN-01")
    assert client.invoices.retrieve(invoice.id).amount_remaining == 3500
    with pytest.raises(stripe.InvalidRequestError):
        client.credit_notes.create({"invoice": invoice.id, "amount": 3501})
    second = client.credit_notes.create({"invoice": invoice.id, "amount": 500})
    assert client.credit_notes.void_credit_note(second.id).status == "void"
    paid = client.invoices.pay(invoice.id)
    assert (paid.amount_paid, paid.pre_payment_credit_notes_amount) == (3500, 1500)


def test_a_credit_note_for_all_of_an_invoice_settles_it(client: Any) -> None:
    invoice = client.invoices.finalize_invoice(an_invoice(client, a_customer(client)).id)
    client.credit_notes.create({"invoice": invoice.id, "amount": 5000})
    assert client.invoices.retrieve(invoice.id).to_dict()["status"] == "paid"
    assert client.invoices.retrieve(invoice.id).amount_paid == 0


def test_a_credit_note_after_payment_gives_back_exactly_its_amount(client: Any) -> None:
    customer = a_customer(client)
    paid = client.invoices.pay(an_invoice(client, customer, 3000, 2000).id)
    line = paid.lines.data[0]
    wanted = {"invoice": paid.id, "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 900}]}
    assert client.credit_notes.preview({**wanted, "refund_amount": 900}).amount == 900
    with pytest.raises(stripe.InvalidRequestError, match="must equal the credit note amount"):
        client.credit_notes.create({**wanted, "refund_amount": 800})
    note = client.credit_notes.create({**wanted, "refund_amount": 600, "credit_amount": 300})
    assert (note.lines.data[0].invoice_line_item, note.post_payment_amount) == (line.id, 900)
    refund = client.refunds.retrieve(note.refunds[0].refund)
    assert (refund.amount, client.customers.retrieve(customer).balance) == (600, -300)
    assert client.invoices.retrieve(paid.id).post_payment_credit_notes_amount == 900


def test_a_charge_is_refunded_in_parts_and_no_further_and_the_fee_stays(client: Any) -> None:
    wanted = {"amount": 1000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    charge = client.payment_intents.create(wanted).latest_charge
    client.refunds.create({"charge": charge, "amount": 400})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        client.refunds.create({"charge": charge, "amount": 601})
    client.refunds.create({"charge": charge})
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.refunds.create({"charge": charge})
    assert error.value.code == "charge_already_refunded"
    assert client.charges.retrieve(charge).refunded
    moved = client.balance_transactions.list({"limit": 3}).data
    assert [(one.type, one.amount, one.fee) for one in moved] == [
        ("refund", -600, 0), ("refund", -400, 0), ("charge", 1000, 59),
    ]  # fmt: skip


@pytest.mark.parametrize(("outcome", "net"), [("won", -1500), ("lost", -2500)])
def test_a_dispute_takes_the_money_and_a_fee_until_it_is_won(
    sandbox: SandboxStripe, client: Any, outcome: str, net: int
) -> None:
    wanted = {"amount": 1000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    charge = client.payment_intents.create(wanted).latest_charge
    dispute = sandbox.dispute(charge, reason="product_not_received")
    assert client.disputes.retrieve(dispute).status == "needs_response"
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.refunds.create({"charge": charge})
    assert error.value.code == "charge_disputed"
    sandbox.close_dispute(dispute, outcome)
    moved = client.balance_transactions.list({"source": dispute}).data
    assert sum(one.net for one in moved) == net
    assert types_about(client, dispute) == [
        "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed",
        *(["charge.dispute.funds_reinstated"] if outcome == "won" else []),
    ]  # fmt: skip


def test_evidence_decides_the_dispute_of_a_test_card(client: Any) -> None:
    wanted = {"amount": 1000, "currency": "usd", "confirm": True, "payment_method": "pm_card_createDispute"}
    charge = client.payment_intents.create(wanted).latest_charge
    dispute = client.disputes.list({"charge": charge}).data[0]
    assert client.charges.retrieve(charge).disputed
    evidence = {"evidence": {"uncategorized_text": "winning_evidence"}}
    assert client.disputes.update(dispute.id, evidence).status == "won"


# Time


def test_customers_of_a_test_clock_live_by_it_alone(sandbox: SandboxStripe, client: Any) -> None:
    start = 1_900_000_000
    clock = client.test_helpers.test_clocks.create({"frozen_time": start}).id
    invoice = an_invoice(client, a_customer(client, test_clock=clock), auto_advance=True)
    assert (invoice.created, invoice.test_clock) == (start, clock)
    sandbox.advance(2 * HOUR)
    assert client.invoices.retrieve(invoice.id).status == "draft"
    assert client.test_helpers.test_clocks.advance(clock, {"frozen_time": start + DAY}).status == "advancing"
    assert client.test_helpers.test_clocks.retrieve(clock).status == "ready"
    paid = client.invoices.retrieve(invoice.id)
    assert (paid.status, paid.status_transitions.paid_at) == ("paid", start + HOUR)
    with pytest.raises(stripe.InvalidRequestError, match="must be later"):
        client.test_helpers.test_clocks.advance(clock, {"frozen_time": start})


def test_the_balance_is_the_sum_of_what_moved(client: Any) -> None:
    moved = [one.net for one in client.balance_transactions.list({"limit": 100}).auto_paging_iter()]
    balance = client.balance.retrieve()
    assert balance.available[0].amount + balance.pending[0].amount == sum(moved)
