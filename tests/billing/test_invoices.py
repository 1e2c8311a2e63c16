"""The life of an invoice on a real database, and what each step leaves in the books."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from scalar.accounts.trail import trail
from scalar.billing import crediting, invoice_checks, invoices, ledger_store, periods, wallets
from scalar.billing import invoice_sources as sources
from scalar.billing import invoice_store as store
from scalar.billing.coupon_store import insert_coupon
from scalar.billing.coupons import Coupon
from scalar.billing.credit_notes import Correction
from scalar.billing.invoice_drafts import draft_month
from scalar.billing.invoice_model import INVOICE_MOVES, Invoice, InvoiceState, LineKind
from scalar.billing.invoice_store import InvoiceFilter
from scalar.billing.ledger import CASH_STRIPE, REVENUE, Posting, move, receivable, unbilled
from scalar.billing.rate_cards import RateCard
from scalar.billing.rate_cards_store import insert_card
from scalar.billing.tax import TaxRate
from scalar.database import Database, Transaction
from scalar.errors import Conflict, IdempotencyConflict, IllegalMove, InvalidRequest, NotFound
from tests.billing.billed import (
    DOLLAR,
    FEBRUARY,
    JANUARY,
    MARCH,
    TWO_WEEKS,
    a_customer_with_a_job,
    a_job_with_a_run,
    at,
    draft,
    opened,
    state_of,
    use,
)
from tests.made_up import a_customer

OPEN, PAID, VOID, UNCOLLECTIBLE = (
    InvoiceState.OPEN,
    InvoiceState.PAID,
    InvoiceState.VOID,
    InvoiceState.UNCOLLECTIBLE,
)


PAY_DAY = at(2, 10)


def books(tx: Transaction) -> dict[str, int]:
    """Balances by account, without whose they are. They are what the entries add up to, and agree with the invoices."""
    assert ledger_store.balances(tx) == ledger_store.summed(tx)
    assert invoice_checks.receivables_that_differ(tx) == []
    for month in (JANUARY, FEBRUARY, MARCH):
        assert invoice_checks.unbilled_that_differs(tx, month) == []
        assert invoice_checks.invoices_that_do_not_add_up(tx, month) == []
        assert invoice_checks.invoices_below_zero(tx, month) == []
    return {name.partition(":org_")[0]: amount for name, amount in ledger_store.balances(tx).items()}


def pay(tx: Transaction, invoice: Invoice, cents: int, source: str = "pi_1", now: datetime = PAY_DAY) -> Invoice:
    """As payments do it: the money in the books, and the invoice told."""
    entries = move(cents * 10_000, debit=CASH_STRIPE, credit=receivable(invoice.organisation_id))
    paid = invoices.mark_paid(tx, invoice.id, cents, source=source, at=now)
    ledger_store.post(tx, Posting(source=f"payment/{source}", kind="payment", at=now, entries=entries))
    return paid


def taxed(tx: Transaction, organisation_id: str) -> None:
    rate = TaxRate(country="DE", region=None, name="VAT", percent=Decimal(19), effective_from=JANUARY)
    sources.insert_tax_rate(tx, rate, actor="test", now=at(1))
    tx.execute(
        """insert into billing_accounts (organisation_id, country) values (%s, 'DE')
           on conflict (organisation_id) do update set country = excluded.country""",
        [organisation_id],
    )


def test_the_moves_in_postgres_are_those_in_the_code(tx: Transaction) -> None:
    rows = tx.execute("select from_state, to_state from invoice_moves")
    assert {(row["from_state"], row["to_state"]) for row in rows} == set(INVOICE_MOVES)


def test_from_usage_to_a_paid_invoice(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 6_004_000)
    use(tx, job, at(1, 6), 4_000_900)
    assert books(tx) == {"unbilled": 10_004_900, "revenue": -10_004_900}
    made = draft(tx, org)
    assert (made.state, made.number, made.total, made.due) == ("draft", None, 1000, 1000)
    assert books(tx)["unbilled"] == 10_004_900
    invoice = opened(tx, org)
    assert (invoice.number, invoice.state, invoice.opened_at) == ("INV-2026-0001", OPEN, at(2, 3))
    assert invoice.due_at == at(2, 17)
    assert books(tx) == {"receivable": 10_000_000, "revenue": -10_004_900, "rounding": 4_900}
    (line,) = store.lines(tx, invoice.id)
    assert (line.micros, line.cents, line.gpu_seconds) == (10_004_900, 1000, Decimal("10004.900000"))
    paid = pay(tx, invoice, 1000)
    assert (paid.state, paid.paid, paid.paid_at, paid.outstanding) == (PAID, 1000, at(2, 10), 0)
    assert books(tx) == {"cash:stripe": 10_000_000, "revenue": -10_004_900, "rounding": 4_900}
    assert [deed.action for deed in trail(tx, invoice.id)] == ["invoice.open", "invoice.payment"]


def test_a_draft_made_again_is_the_same_and_has_what_came_late(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    first = draft(tx, org)
    lines = store.lines(tx, first.id)
    again = draft(tx, org)
    assert replace(again, built_at=first.built_at) == first
    assert store.lines(tx, first.id) == lines
    use(tx, job, at(1, 5), 2 * DOLLAR)
    later = draft(tx, org)
    assert (later.id, later.total) == (first.id, 700)
    assert later.number is None


def test_usage_after_the_opening_goes_to_the_next_invoice(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    january = opened(tx, org)
    use(tx, job, at(1, 6), 3 * DOLLAR)
    use(tx, job, at(2, 1), 2 * DOLLAR)
    assert draft(tx, org, JANUARY) is None
    february = opened(tx, org, FEBRUARY)
    assert [(line.usage_month, line.cents) for line in store.lines(tx, february.id)] == [
        (JANUARY, 300),
        (FEBRUARY, 200),
    ]
    assert (january.number, february.number) == ("INV-2026-0001", "INV-2026-0002")
    assert "unbilled" not in books(tx)


def test_a_line_waits_for_its_own_month_and_is_not_taken_by_a_later_one(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    use(tx, job, at(2, 5), 2 * DOLLAR)
    assert opened(tx, org, FEBRUARY, now=at(3, 3)).total == 200
    assert opened(tx, org, JANUARY, now=at(3, 3)).total == 500


def test_the_drafts_of_a_month_that_is_not_over_are_not_made(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    with pytest.raises(InvalidRequest, match="not over"):
        draft(tx, org, now=at(1, 31, 23))
    assert sources.backlog(tx, at(1, 31, 23)) == []
    (waiting,) = sources.backlog(tx, at(2, 1))
    assert (waiting.month, waiting.lines) == (JANUARY, 1)
    draft(tx, org)
    assert sources.backlog(tx, at(2, 1)) == []


def test_each_customer_has_an_invoice_of_their_own_and_numbers_have_no_gap(tx: Transaction) -> None:
    for name in ("acme", "beta", "gamma"):
        use(tx, a_customer_with_a_job(tx, name)[1], at(1, 5), 5 * DOLLAR)
    made = invoices.open_month(tx, JANUARY, actor="test", now=at(2, 3), due_in=TWO_WEEKS)
    assert [each.number for each in made] == ["INV-2026-0001", "INV-2026-0002", "INV-2026-0003"]
    assert len({each.organisation_id for each in made}) == 3
    assert invoices.open_month(tx, JANUARY, actor="test", now=at(2, 3), due_in=TWO_WEEKS) == []
    assert invoices.open_invoice(tx, made[0].id, actor="test", now=at(2, 4), due_in=TWO_WEEKS) == made[0]


def test_an_opening_that_is_undone_leaves_no_gap(database: Database) -> None:
    with database.transaction() as tx:
        org, job = a_customer_with_a_job(tx)
        use(tx, job, at(1, 5), 5 * DOLLAR)
    with database.transaction() as tx:
        assert opened(tx, org).number == "INV-2026-0001"
        tx.rollback()
    with database.transaction() as tx:
        assert opened(tx, org).number == "INV-2026-0001"


@pytest.mark.parametrize(
    "change",
    [
        "update invoices set total = total + 1, subtotal = subtotal + 1, due = due + 1",
        "update invoices set bill_to = '{}'",
        "update invoices set number = 'INV-2026-0009'",
        "delete from invoices",
        "update invoice_lines set cents = 0",
        "delete from invoice_lines",
        """insert into invoice_lines (invoice_id, position, kind, description, micros, cents)
           select id, 9, 'tax', 'more', 0, 0 from invoices""",
        "delete from invoiced_lines",
        "update invoiced_lines set invoice_id = invoice_id",
        "truncate invoice_lines cascade",
    ],
)
def test_what_is_open_never_changes(tx: Transaction, change: str) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    opened(tx, org)
    with pytest.raises(psycopg.errors.RestrictViolation):
        tx.execute(change)


def test_a_month_has_one_invoice(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    opened(tx, org)
    with pytest.raises(psycopg.errors.UniqueViolation):
        tx.execute(
            "insert into invoices (id, organisation_id, month, built_at) values ('x', %s, %s, now())", [org, JANUARY]
        )


def test_tax_coupon_and_commitment_are_in_the_books_where_they_belong(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    taxed(tx, org)
    coupon = Coupon(id="coupon_1", code="TEN", organisation_id=org, percent_off=Decimal(10), starts_at=at(1))
    insert_coupon(tx, coupon, actor="test", now=at(1))
    card = RateCard(id="card_1", name="own", organisation_id=org, effective_from=at(1), minimum_commitment=15 * DOLLAR)
    insert_card(tx, card, actor="test", now=at(1))
    use(tx, job, at(1, 5), 10 * DOLLAR)
    use(tx, job, at(1, 5), -2 * DOLLAR)
    invoice = opened(tx, org)
    # 10 - 2 - 0.80 + 5 = 12.20, and 2.32 of tax.
    assert [(line.kind, line.cents) for line in store.lines(tx, invoice.id)] == [
        (LineKind.USAGE, 1000),
        (LineKind.CREDIT, -200),
        (LineKind.COUPON, -80),
        (LineKind.COMMITMENT, 500),
        (LineKind.TAX, 232),
    ]
    assert books(tx) == {
        "receivable": 14_520_000,
        "revenue": -15_000_000,
        "credits": 2_800_000,
        "tax": -2_320_000,
    }
    january = (at(1), at(2))
    assert ledger_store.between(tx, [wallets.CREDITS], *january) == 2_800_000
    assert periods.periods(tx)[-1].revenue == 15_000_000
    assert (invoice.tax_name, invoice.tax_percent) == ("VAT", Decimal(19))
    # Once is once; the commitment is for each month.
    assert [(line.kind, line.cents) for line in store.lines(tx, opened(tx, org, FEBRUARY).id)] == [
        (LineKind.COMMITMENT, 1500),
        (LineKind.TAX, 285),
    ]


def test_credit_that_was_drawn_is_shown_and_takes_off_what_is_due(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    wallets.top_up(tx, org, 4 * DOLLAR, "lot/1", at(1))
    use(tx, job, at(1, 5), 10 * DOLLAR)
    wallets.draw(tx, org, at(1, 5))
    invoice = opened(tx, org)
    assert (invoice.total, invoice.from_credit, invoice.due, invoice.state) == (1000, 400, 600, OPEN)
    assert books(tx) == {"receivable": 6 * DOLLAR, "cash:stripe": 4 * DOLLAR, "revenue": -10 * DOLLAR}


def test_what_is_left_in_the_wallet_pays_for_the_tax_too(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    taxed(tx, org)
    wallets.top_up(tx, org, 20 * DOLLAR, "lot/1", at(1))
    use(tx, job, at(1, 5), 10_004_900)
    wallets.draw(tx, org, at(1, 5))
    # February's usage is paid from the same wallet, and has nothing to do with January's invoice.
    use(tx, job, at(2, 1), 5 * DOLLAR)
    wallets.draw(tx, org, at(2, 1))
    invoice = opened(tx, org)
    assert (invoice.total, invoice.from_credit, invoice.due, invoice.state) == (1190, 1190, 0, PAID)
    assert books(tx) == {
        "cash:stripe": 20 * DOLLAR,
        "wallet": -(20 * DOLLAR - 10_004_900 - 5 * DOLLAR - 1_900_000),
        "revenue": -15_004_900,
        "tax": -1_900_000,
    }
    february = opened(tx, org, FEBRUARY)
    assert (february.total, february.from_credit, february.state) == (595, 595, PAID)


def test_less_than_half_a_dollar_is_carried_to_the_next_invoice(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 300_000)
    january = opened(tx, org)
    assert (january.total, january.carried_out, january.due, january.state) == (30, 30, 0, PAID)
    assert books(tx) == {"receivable": 300_000, "revenue": -300_000}
    # Nothing new: no invoice only to say so.
    assert draft(tx, org, FEBRUARY) is None
    use(tx, job, at(3, 5), DOLLAR)
    march = opened(tx, org, MARCH)
    assert [(line.kind, line.cents) for line in store.lines(tx, march.id)] == [("usage", 100), ("carried_in", 30)]
    assert (march.total, march.due, march.carried_in) == (130, 130, 30)
    assert store.invoice(tx, january.id).carried_into == march.id
    pay(tx, march, 130, now=at(4, 10))
    assert books(tx) == {"cash:stripe": 1_300_000, "revenue": -1_300_000}


def test_void_leaves_the_books_as_before_and_its_usage_to_another(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    taxed(tx, org)
    use(tx, job, at(1, 5), 10_004_900)
    before = books(tx)
    first = opened(tx, org)
    voided = invoices.void(tx, first.id, actor="test", reason="wrong address", now=at(2, 4))
    assert (voided.state, voided.ended_at) == (VOID, at(2, 4))
    assert books(tx) == before
    assert invoices.void(tx, first.id, actor="test", reason="again", now=at(2, 5)) == voided
    second = opened(tx, org, now=at(2, 5))
    assert (second.number, second.total, second.month) == ("INV-2026-0002", first.total, JANUARY)
    assert len(store.lines(tx, first.id)) == 2


def test_void_gives_back_the_credit_and_what_was_carried_in(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 300_000)
    opened(tx, org)
    use(tx, job, at(2, 5), 10 * DOLLAR)
    wallets.top_up(tx, org, 4 * DOLLAR, "lot/1", at(2, 5))
    february = opened(tx, org, FEBRUARY)
    assert (february.total, february.from_credit, february.due) == (1030, 400, 630)
    invoices.void(tx, february.id, actor="test", reason="test", now=at(3, 4))
    assert books(tx) == {
        "receivable": 300_000,
        "unbilled": 6 * DOLLAR,
        "cash:stripe": 4 * DOLLAR,
        "revenue": -10_300_000,
    }
    again = opened(tx, org, FEBRUARY, now=at(3, 5))
    assert (again.total, again.from_credit, again.due) == (1030, 400, 630)


def test_moves_that_are_refused(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    made = draft(tx, org)
    with pytest.raises(IllegalMove):
        invoices.void(tx, made.id, actor="test", reason="a draft", now=at(2, 3))


def test_what_is_paid_in_part_is_not_void(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    invoice = opened(tx, org)
    assert pay(tx, invoice, 200).state is OPEN
    with pytest.raises(Conflict, match="credit note"):
        invoices.void(tx, invoice.id, actor="test", reason="test", now=at(2, 11))
    assert pay(tx, invoice, 300, "pi_2").state is PAID
    with pytest.raises(Conflict, match="0 cents left"):
        invoices.mark_paid(tx, invoice.id, 1, source="pi_3", at=at(2, 12))


def test_a_payment_counts_once_and_never_more_than_is_due(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    invoice = opened(tx, org)
    for _ in range(2):
        assert pay(tx, invoice, 200).paid == 200
    for cents, error in ((301, Conflict), (0, InvalidRequest), (-5, InvalidRequest)):
        with pytest.raises(error):
            invoices.mark_paid(tx, invoice.id, cents, source="pi_2", at=at(2, 11))
    with pytest.raises(NotFound):
        invoices.mark_paid(tx, "inv_none", 5, source="pi_4", at=at(2, 11))


def test_a_bad_debt_and_the_money_that_comes_after_all(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    invoice = opened(tx, org)
    lost = invoices.mark_uncollectible(tx, invoice.id, actor="test", reason="bankrupt", now=at(3, 1))
    assert (lost.state, lost.ended_at, lost.outstanding) == (UNCOLLECTIBLE, at(3, 1), 500)
    assert books(tx) == {"bad_debt": 5 * DOLLAR, "revenue": -5 * DOLLAR}
    paid = pay(tx, invoice, 500, now=at(5, 1))
    assert (paid.state, paid.paid_at) == (PAID, at(5, 1))
    assert books(tx) == {"cash:stripe": 5 * DOLLAR, "revenue": -5 * DOLLAR}


def test_a_payment_that_is_taken_back_is_to_be_made_again(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 5 * DOLLAR)
    invoice = pay(tx, opened(tx, org), 500)
    entries = move(5 * DOLLAR, debit=receivable(org), credit=CASH_STRIPE)
    ledger_store.post(tx, Posting(source="dispute/1", kind="dispute", at=at(2, 20), entries=entries))
    for _ in range(2):
        back = invoices.take_back(tx, invoice.id, 500, source="dp_1", at=at(2, 20), reason="disputed")
        assert (back.state, back.paid, back.paid_at, back.outstanding) == (OPEN, 0, None, 500)
    assert books(tx) == {"receivable": 5 * DOLLAR, "revenue": -5 * DOLLAR}
    assert pay(tx, invoice, 500, "pi_2").state is PAID


def a_correction(seconds: int = 4000) -> list[Correction]:
    return [Correction(position=1, gpu_seconds=Decimal(seconds))]


def test_a_credit_note_takes_off_what_is_due(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    taxed(tx, org)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    note = crediting.credit(tx, invoice.id, a_correction(), reason="The node was slow", actor="test", now=at(2, 5))
    assert (note.number, note.subtotal, note.tax, note.total) == ("CN-2026-0001", 600, 114, 714)
    assert (note.off_due, note.to_wallet) == (714, 0)
    (usage, tax) = note.differences
    assert (usage.seconds_before, usage.seconds_after, usage.cents) == (10_000, 4000, -600)
    assert (tax.cents_before, tax.cents_after) == (190, 76)
    assert crediting.notes_of(tx, invoice.id) == [note]
    after = store.invoice(tx, invoice.id)
    assert (after.total, after.credited, after.outstanding, after.state) == (1190, 714, 476, OPEN)
    assert books(tx) == {
        "receivable": 4_760_000,
        "revenue": -10 * DOLLAR,
        "credits": 6 * DOLLAR,
        "tax": -760_000,
    }
    pay(tx, invoice, 476)
    assert state_of(tx, invoice) is PAID


def test_a_credit_note_for_what_was_paid_is_credit_in_the_wallet(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    pay(tx, invoice, 700)
    note = crediting.credit(tx, invoice.id, a_correction(5000), reason="Slow", actor="test", now=at(2, 11))
    assert (note.total, note.off_due, note.to_wallet) == (500, 300, 200)
    assert state_of(tx, invoice) is PAID
    assert books(tx) == {
        "cash:stripe": 7 * DOLLAR,
        "wallet": -2 * DOLLAR,
        "credits": 5 * DOLLAR,
        "revenue": -10 * DOLLAR,
    }
    second = crediting.credit(tx, invoice.id, a_correction(0), reason="All of it", actor="test", now=at(2, 12))
    assert (second.number, second.total, second.to_wallet) == ("CN-2026-0002", 500, 500)
    with pytest.raises(InvalidRequest, match="only become less"):
        crediting.credit(tx, invoice.id, a_correction(0), reason="More", actor="test", now=at(2, 13))
    # The next invoice takes from it.
    use(tx, job, at(2, 5), 10 * DOLLAR)
    wallets.draw(tx, org, at(2, 5))
    assert opened(tx, org, FEBRUARY).due == 300


def test_a_credit_note_with_a_key_is_made_once(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    how = {"reason": "Slow", "actor": "test", "now": at(2, 5), "key": "k1"}
    first = crediting.credit(tx, invoice.id, a_correction(), **how)
    assert crediting.credit(tx, invoice.id, a_correction(), **how) == first
    assert store.invoice(tx, invoice.id).credited == first.total
    with pytest.raises(IdempotencyConflict):
        crediting.credit(tx, invoice.id, a_correction(1), **how)


def test_only_what_is_open_or_paid_is_corrected(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    made = draft(tx, org)
    with pytest.raises(Conflict, match="is draft"):
        crediting.credit(tx, made.id, a_correction(), reason="Slow", actor="test", now=at(2, 2))


def test_a_credit_for_an_earlier_month_goes_to_the_wallet_where_nothing_else_is_charged(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    taxed(tx, org)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    pay(tx, opened(tx, org), 1190)
    use(tx, job, at(1, 5), -4 * DOLLAR)
    invoice = opened(tx, org, FEBRUARY)
    assert (invoice.total, invoice.due, invoice.to_wallet, invoice.state) == (0, 0, 476, PAID)
    assert books(tx) == {
        "cash:stripe": 11_900_000,
        "wallet": -4_760_000,
        "revenue": -10 * DOLLAR,
        "credits": 4 * DOLLAR,
        "tax": -1_140_000,
    }


def test_a_month_is_closed_once_all_is_rated_and_opened(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    tx.execute("insert into metered_hours values (%s, 1, %s)", [at(1, 5), at(1, 5, 1)])
    for now, why in ((at(1, 31), "not over"), (at(2, 1), "1 hour.s. are not rated"), (at(2, 1), "on no invoice")):
        with pytest.raises(Conflict, match=why):
            periods.close(tx, JANUARY, actor="test", now=now)
    tx.execute("insert into rated_hours (hour, rated_at, built_at) values (%s, now(), %s)", [at(1, 5), at(1, 5, 1)])
    draft(tx, org)
    with pytest.raises(Conflict, match=r"1 draft\(s\) are left"):
        periods.close(tx, JANUARY, actor="test", now=at(2, 2))
    opened(tx, org)
    assert periods.close(tx, JANUARY, actor="test", now=at(2, 4))
    assert not periods.close(tx, JANUARY, actor="test", now=at(2, 5))
    closed = next(each for each in periods.periods(tx) if each.month == JANUARY)
    assert (closed.closed_at, closed.closed_by, closed.invoices, closed.drafts) == (at(2, 4), "test", 1, 0)
    assert (closed.revenue, closed.invoiced, closed.unpaid) == (10 * DOLLAR, 1000, 1000)


def test_a_closed_month_takes_nothing_and_its_late_usage_goes_on(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    other = a_job_with_a_run(tx, a_customer(tx, "late"))
    use(tx, job, at(1, 5), 10 * DOLLAR)
    opened(tx, org)
    periods.close(tx, JANUARY, actor="test", now=at(2, 4))
    with pytest.raises(Conflict, match="closed"), tx.transaction():
        use(tx, job, at(1, 6), DOLLAR)
    # Rating posts it now; who had no invoice in January has none still.
    use(tx, other, at(1, 6), DOLLAR, posted_at=at(2, 4))
    assert draft_month(tx, JANUARY, at(2, 4)).drafts == 0
    (waiting,) = sources.backlog(tx, at(3, 1))
    assert waiting.month == FEBRUARY
    made = invoices.open_month(tx, FEBRUARY, actor="test", now=at(3, 3), due_in=TWO_WEEKS)
    assert [each.total for each in made] == [100]
    assert "unbilled" not in books(tx)


def test_reopening_is_written_down(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    opened(tx, org)
    periods.close(tx, JANUARY, actor="alice", now=at(2, 4))
    periods.reopen(tx, JANUARY, actor="bob", reason="A node's log came late")
    use(tx, job, at(1, 6), DOLLAR)
    deeds = [(deed.actor, deed.action, deed.details) for deed in trail(tx, "2026-01")]
    assert deeds == [
        ("alice", "period.close", {}),
        ("bob", "period.reopen", {"reason": "A node's log came late"}),
    ]
    with pytest.raises(NotFound, match="not closed"):
        periods.reopen(tx, JANUARY, actor="bob", reason="again")


def test_checks_see_what_is_wrong(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    assert invoice_checks.lines_on_no_invoice(tx, JANUARY) == [f"{org}: rated lines that are on no invoice"]
    made = draft(tx, org)
    assert invoice_checks.lines_on_no_invoice(tx, JANUARY) == []
    tx.execute("update invoices set total = total + 1, subtotal = subtotal + 1, due = due + 1 where id = %s", [made.id])
    (wrong,) = invoice_checks.invoices_that_do_not_add_up(tx, JANUARY)
    assert wrong.startswith(f"{made.id}: lines 1000, total 1001")
    stray = move(7, debit=receivable(org), credit=CASH_STRIPE)
    ledger_store.post(tx, Posting(source="stray", kind="test", at=at(1, 6), entries=stray))
    assert invoice_checks.receivables_that_differ(tx) == [f"{org}: the ledger has 7 owed, invoices 0"]
    assert invoice_checks.unbilled_that_differs(tx, JANUARY) == []
    tx.execute("delete from invoiced_lines")
    assert len(invoice_checks.invoices_that_do_not_add_up(tx, JANUARY)) == 1


def test_lists_are_by_organisation_state_and_month_newest_first(tx: Transaction) -> None:
    made = []
    for name in ("acme", "beta"):
        org, job = a_customer_with_a_job(tx, name)
        use(tx, job, at(1, 5), 5 * DOLLAR)
        use(tx, job, at(2, 5), 5 * DOLLAR)
        made += [opened(tx, org), opened(tx, org, FEBRUARY)]
    pay(tx, made[0], 500)

    def found(**which) -> list[str]:
        return [each.number for each in store.invoices(tx, InvoiceFilter(**which))]

    assert len(found()) == 4
    assert sorted(found(organisation_id=made[0].organisation_id)) == sorted([made[0].number, made[1].number])
    assert found(states=[PAID]) == [made[0].number]
    assert set(found(month=FEBRUARY)) == {made[1].number, made[3].number}
    assert found(limit=2) + found(limit=2, before=store.invoices(tx, InvoiceFilter(limit=2))[-1].id) == found()
    assert store.invoice(tx, made[0].number).id == made[0].id


def test_a_months_drafts_are_made_and_opened_at_once_by_one_only(database: Database) -> None:
    """Two that make the same drafts at the same time wait for each other, and make them once."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - for this one

    with database.transaction() as tx:
        for number in range(5):
            use(tx, a_customer_with_a_job(tx, f"org {number}")[1], at(1, 5), 5 * DOLLAR)

    def both(_: int) -> None:
        with database.transaction() as tx:
            draft_month(tx, JANUARY, at(2, 2))
            invoices.open_month(tx, JANUARY, actor="test", now=at(2, 3), due_in=timedelta(days=14))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(both, range(3)))
    with database.transaction() as tx:
        numbers = sorted(each.number for each in store.invoices(tx, InvoiceFilter()))
        assert numbers == [f"INV-2026-{number:04d}" for number in range(1, 6)]
        assert books(tx)["receivable"] == 5 * DOLLAR


def test_what_happens_to_an_invoice_is_told(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    crediting.credit(tx, invoice.id, a_correction(), reason="Slow", actor="test", now=at(2, 5))
    pay(tx, invoice, 400)
    rows = tx.execute("select type, data from webhook_events where type like 'invoice.%%' order by id")
    told = {row["type"]: row["data"] for row in rows}
    assert set(told) == {"invoice.opened", "invoice.credited", "invoice.paid"}
    assert told["invoice.opened"]["due"] == "10.00"
    assert (told["invoice.credited"]["credited"], told["invoice.credited"]["outstanding"]) == ("6.00", "4.00")
    assert (told["invoice.paid"]["number"], told["invoice.paid"]["outstanding"]) == ("INV-2026-0001", "0.00")


def test_late_usage_takes_back_what_its_month_lacked_of_the_commitment(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    card = RateCard(id="card_1", name="own", organisation_id=org, effective_from=at(1), minimum_commitment=15 * DOLLAR)
    insert_card(tx, card, actor="test", now=at(1))
    use(tx, job, at(1, 5), 10 * DOLLAR)
    assert opened(tx, org).total == 1500
    use(tx, job, at(1, 6), 3 * DOLLAR)
    use(tx, job, at(2, 6), 14 * DOLLAR)
    # Late: $3 that January's commitment paid for. February itself has $14 of its $15.
    assert opened(tx, org, FEBRUARY).total == 1500
    use(tx, job, at(1, 7), 3 * DOLLAR)
    use(tx, job, at(3, 7), 15 * DOLLAR)
    # $3 more: $2 of them were paid for. January has used $16 now, and $16 of it were billed.
    march = opened(tx, org, MARCH)
    assert [(line.kind, line.usage_month, line.cents) for line in store.lines(tx, march.id)] == [
        ("usage", JANUARY, 300),
        ("usage", MARCH, 1500),
        ("commitment", JANUARY, -200),
    ]
    assert books(tx) == {"receivable": 46 * DOLLAR, "revenue": -46 * DOLLAR}


def test_what_a_credit_note_gave_back_is_not_credited_again_when_the_run_is_lost(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    crediting.credit(tx, invoice.id, [Correction(position=1, cents=600)], reason="Slow", actor="test", now=at(2, 5))
    use(tx, job, at(1, 5), -10 * DOLLAR)
    february = opened(tx, org, FEBRUARY)
    assert [(line.kind, line.cents) for line in store.lines(tx, february.id)] == [
        (LineKind.CREDIT, -1000),
        (LineKind.ALREADY_CREDITED, 400),
        (LineKind.TO_WALLET, 600),
    ]
    # Charged $10, given back $10: by the credit note, and in the wallet.
    assert books(tx) == {
        "receivable": 6 * DOLLAR,
        "wallet": -6 * DOLLAR,
        "revenue": -10 * DOLLAR,
        "credits": 10 * DOLLAR,
    }
    with pytest.raises(InvalidRequest, match=r"of its job \$0\.00 is left to give back"):
        crediting.credit(tx, invoice.id, [Correction(position=1, cents=0)], reason="More", actor="test", now=at(3, 5))


def test_what_a_credit_note_gave_back_is_not_given_back_again_when_less_is_metered(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    crediting.credit(tx, invoice.id, [Correction(position=1, cents=0)], reason="Slow", actor="test", now=at(2, 5))
    tx.execute(
        """insert into rated_lines (hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind, gpu_seconds,
               exact, amount, rate_card_id, ledger_source, rated_at)
           select hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind, -gpu_seconds / 2, -exact / 2,
               -amount / 2, rate_card_id, 'usage/again', rated_at from rated_lines"""
    )
    entries = move(-5 * DOLLAR, debit=unbilled(org), credit=REVENUE)
    ledger_store.post(tx, Posting(source="usage/again", kind="usage", at=at(1, 5), entries=entries))
    february = opened(tx, org, FEBRUARY)
    assert [(line.kind, line.cents) for line in store.lines(tx, february.id)] == [
        (LineKind.USAGE, -500),
        (LineKind.ALREADY_CREDITED, 500),
    ]
    assert (february.total, books(tx)) == (0, {"revenue": -5 * DOLLAR, "credits": 5 * DOLLAR})


def test_a_credit_that_leaves_something_of_a_corrected_job_stands_whole(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    invoice = opened(tx, org)
    crediting.credit(tx, invoice.id, [Correction(position=1, cents=600)], reason="Slow", actor="test", now=at(2, 5))
    use(tx, job, at(1, 5), -5 * DOLLAR)
    assert [line.cents for line in store.lines(tx, opened(tx, org, FEBRUARY).id)] == [-500, 500]
    assert books(tx)["credits"] == 9 * DOLLAR


def test_a_line_whose_job_was_credited_as_lost_gives_back_only_the_rest(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    other = tx.execute("select id, created_by from jobs where id = %s", [job]).fetchone()
    second = a_job_with_a_run(tx, (org, other["created_by"]), name="other")
    use(tx, job, at(1, 5), 10 * DOLLAR)
    use(tx, job, at(1, 5), -7 * DOLLAR)
    use(tx, second, at(1, 5), 20 * DOLLAR)
    invoice = opened(tx, org)
    line = next(each for each in store.lines(tx, invoice.id) if each.job_id == job and each.kind is LineKind.USAGE)
    how = {"reason": "Slow", "actor": "test", "now": at(2, 5)}
    with pytest.raises(InvalidRequest, match=r"\$3\.00 is left"):
        crediting.credit(tx, invoice.id, [Correction(position=line.position, cents=600)], **how)
    assert crediting.credit(tx, invoice.id, [Correction(position=line.position, cents=700)], **how).total == 300
    assert books(tx)["receivable"] == 20 * DOLLAR


def test_a_draft_is_not_opened_while_something_is_wrong_with_it(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    other, its_job = a_customer_with_a_job(tx, "other")
    use(tx, job, at(1, 5), 10 * DOLLAR)
    use(tx, its_job, at(1, 5), 10 * DOLLAR)
    made = draft(tx, org)
    stray = Posting(source="stray", kind="test", at=at(1, 6), entries=move(7, debit=unbilled(org), credit=REVENUE))
    ledger_store.post(tx, stray)
    why = f"{org}: the ledger has 10000007 unbilled, 10000000 is on no invoice"
    how = {"actor": "test", "now": at(2, 3), "due_in": TWO_WEEKS}
    for opening in (lambda: invoices.open_invoice(tx, made.id, **how), lambda: invoices.open_month(tx, JANUARY, **how)):
        with pytest.raises(Conflict, match="can't be opened") as refused, tx.transaction():
            opening()
        assert refused.value.details == {"reasons": [why]}
    assert state_of(tx, made) == "draft"
    # Another customer's are opened all the same, one by one.
    assert opened(tx, other).state == OPEN


def test_nothing_is_opened_while_an_hour_of_its_month_is_not_rated(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    tx.execute("insert into metered_hours values (%s, 1, %s)", [at(1, 9), at(1, 9, 1)])
    with pytest.raises(Conflict, match=r"1 hour\(s\) are not rated, the first 2026-01-09 00:00"), tx.transaction():
        opened(tx, org)
    tx.execute("insert into rated_hours (hour, rated_at, built_at) values (%s, now(), %s)", [at(1, 9), at(1, 9, 1)])
    assert opened(tx, org).state == OPEN


def test_a_month_is_not_closed_while_receivables_differ(tx: Transaction) -> None:
    org, job = a_customer_with_a_job(tx)
    use(tx, job, at(1, 5), 10 * DOLLAR)
    opened(tx, org)
    entries = move(DOLLAR, debit=CASH_STRIPE, credit=receivable(org))
    ledger_store.post(tx, Posting(source="stray", kind="test", at=at(2, 4), entries=entries))
    with pytest.raises(Conflict, match=f"{org}: the ledger has 9000000 owed, invoices 10000000"):
        periods.close(tx, JANUARY, actor="test", now=at(2, 5))
