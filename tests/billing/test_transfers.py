"""Invoices that are paid by bank transfer: in the books, at Stripe, and out of dunning."""

import pytest

from scalar.accounts.trail import trail
from scalar.billing import ledger_store, transfers
from scalar.billing.dunning_store import dunning_of
from scalar.billing.transfer_store import transfers_of
from scalar.database import Transaction
from scalar.errors import Conflict, IdempotencyConflict, InvalidRequest
from tests.billing.billed import DOLLAR, a_customer_with_a_job, at, opened, use
from tests.billing.stripe_made_up import Shop

HOW = {"note": "wire 17", "actor": "op", "now": at(2, 10)}


def test_a_transfer_pays_an_invoice_in_parts_and_each_is_entered_once(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    first = transfers.enter(tx, invoice.id, 400, source="transfer/1", **HOW)
    assert (first.state, first.outstanding) == ("open", 600)
    assert transfers.enter(tx, invoice.id, 400, source="transfer/1", **HOW) == first
    for refused, cents, source, why in (
        (IdempotencyConflict, 401, "transfer/1", "another transfer"),
        (Conflict, 601, "transfer/2", "600 cents left"),
        (InvalidRequest, 0, "transfer/2", "above zero"),
    ):
        with pytest.raises(refused, match=why), tx.transaction():
            transfers.enter(tx, invoice.id, cents, source=source, **HOW)
    paid = transfers.enter(tx, str(invoice.number), 600, source="transfer/2", **HOW)
    assert (paid.state, paid.paid_at, paid.outstanding) == ("paid", at(2, 10), 0)
    assert ledger_store.balances(tx) == {"cash:bank": 10 * DOLLAR, "revenue": -10 * DOLLAR}
    assert [(each.cents, each.note) for each in transfers_of(tx, invoice.id)] == [(400, "wire 17"), (600, "wire 17")]
    assert [deed.action for deed in trail(tx, invoice.id)] == ["invoice.open", "invoice.payment", "invoice.payment"]


def test_a_transfer_for_what_was_written_off_is_no_bad_debt_any_more(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    transfers.invoices.mark_uncollectible(tx, invoice.id, actor="op", reason="Gone", now=at(2, 9))
    assert transfers.enter(tx, invoice.id, 1000, source="transfer/1", **HOW).state == "paid"
    assert ledger_store.balances(tx) == {"cash:bank": 10 * DOLLAR, "revenue": -10 * DOLLAR}


def test_a_transfer_ends_dunning_and_no_card_is_charged(shop: Shop) -> None:
    acme = shop.an_organisation(card="pm_card_visa")
    shop.card(acme[0], declines="insufficient_funds")
    invoice = shop.an_invoice(acme)
    shop.tick()
    with shop.database.transaction() as tx:
        assert dunning_of(tx, invoice.id)["ended_at"] is None
        transfers.enter(tx, invoice.id, 10_000, source="transfer/1", note="", actor="op", now=shop.now())
        assert dunning_of(tx, invoice.id)["outcome"] == "paid"
    shop.card(acme[0], declines=None)
    shop.later(days=3)
    assert shop.tick() == []
    assert shop.at_stripe(invoice.id).status == "paid"
    assert shop.rows("select * from payments") == []
    assert shop.books() == {"cash:bank": 10_000, "revenue": -10_000}
