"""Months of customers, from the first top-up to the last payment; every figure is worked out by hand.

An H100 is $3.60 an hour: $0.06 a minute, $0.001 a second; its flex is at most $3.00, which it is where there is no
market.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from scalar.billing import crediting, invoice_store, wallets
from scalar.billing import invoice_sources as sources
from scalar.billing.coupons import Coupon
from scalar.billing.credit import Terms
from scalar.billing.credit_notes import Correction
from scalar.billing.invoice_model import InvoiceState, LineKind
from scalar.billing.margins import margin_of_job
from scalar.billing.rate_cards import RateCard
from scalar.billing.rates import cost_so_far, set_rate_card
from scalar.billing.redemptions import end_coupon, make_coupon, redeem
from scalar.billing.tax import TaxRate
from scalar.capacity import fleet
from scalar.database import Transaction
from scalar.errors import PaymentRequired
from scalar.jobs import life, store
from scalar.jobs.endings import TerminationReason
from scalar.market import machines
from scalar.metering.model import HOUR
from scalar.protocol import TaskEnding
from tests.billing.bought import a_block, a_machine
from tests.billing.month import Months, on
from tests.made_up import NOON, a_customer, a_job_of, a_node, alive, node_of, told

DOLLAR = 1_000_000


def a_german(tx: Transaction, name: str = "acme") -> tuple[str, str]:
    """A customer who pays 19 % of VAT."""
    customer = a_customer(tx, name)
    rate = TaxRate(country="DE", region=None, name="VAT", percent=Decimal(19), effective_from=on(1).date())
    sources.insert_tax_rate(tx, rate, actor="test", now=on(1))
    tx.execute("insert into billing_accounts (organisation_id, country) values (%s, 'DE')", [customer[0]])
    return customer


def test_a_new_customer_tops_up_runs_exhausts_overruns_is_invoiced_and_pays(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    wallets.set_terms(tx, acme[0], Terms.PREPAID, limit=None, grace=timedelta(minutes=10), now=NOON)
    # A node for four hours, from noon: $48. It runs the fast job; the flex job's node was not bought.
    a_machine(tx, (a_block(tx, 0, 240, price="12"), 0, 0, 240))
    with (
        pytest.raises(PaymentRequired, match=r"\$28.80 is missing"),
        tx.transaction(),
    ):  # 8 GPUs for the hour that is held at first
        a_job_of(tx, acme, gpus=8, gpu_type="H100")
    wallets.top_up(tx, acme[0], 60 * DOLLAR, "wire/1", NOON)
    fast = months.starts(acme, NOON, gpus=8, new_node=False)
    flex = months.starts(acme, NOON, gpus=2, tier="flex")
    # Held: an hour of each, $28.80 and $6.
    assert wallets.available(tx, acme[0], NOON) == 25_200_000
    for run in (fast, flex):
        told(tx, run, alive(run, sequence=60))
    # Used: $28.80 and $6; a quarter of an hour of each ahead is held, $7.20 and $1.50.
    assert wallets.available(tx, acme[0], NOON + HOUR) == 16_500_000
    months.until(NOON + HOUR)
    assert wallets.available(tx, acme[0], NOON + HOUR) == 16_500_000
    assert months.books()["wallet"] == Decimal("-25.20")

    # Half an hour later $52.20 are used and $8.70 held: it had $60.
    half_past_one = NOON + timedelta(minutes=90)
    for run in (fast, flex):
        told(tx, run, alive(run, sequence=90))
    assert wallets.available(tx, acme[0], half_past_one) == -900_000
    with pytest.raises(PaymentRequired), tx.transaction():
        a_job_of(tx, acme, gpu_type="H100", max_runtime_seconds=60)
    # The grace over, the flex job is stopped; its node takes a minute. The fast job runs on for 150 minutes in all.
    told(tx, flex, alive(flex, sequence=100))
    months.ends(flex, NOON + timedelta(minutes=101), ending=TaskEnding.STOPPED, exit_code=137)
    assert store.run(tx, flex.id).reason == TerminationReason.OUT_OF_CREDIT
    months.ends(fast, NOON + timedelta(minutes=150))

    # 150 min x 8 x $0.06 = $72; 101 min x 2 x $0.05 = $10.10. $82.10, of which $60 were paid ahead.
    months.until(NOON + 5 * HOUR)
    assert wallets.available(tx, acme[0], NOON + 5 * HOUR) == -22_100_000
    invoice = months.opens(11, on(12, 3))[acme[0]]
    assert (invoice.total, invoice.from_credit, invoice.due) == (8_210, 6_000, 2_210)
    assert sorted(line.cents for line in months.lines(invoice)) == [1_010, 7_200]
    assert months.pays(invoice, 2_210, on(12, 5)).state is InvoiceState.PAID
    assert wallets.available(tx, acme[0], on(12, 5)) == 0
    assert months.books() == {
        "cash:stripe": Decimal("82.10"),
        "revenue": Decimal("-82.10"),
        "cash:market": Decimal(-48),
        "supplier_cost": Decimal(48),
    }
    # Its node: 150 min x 8 GPUs are 2.5 node-hours at $12; it alone bears the half hour idle of its last hour, $6; the
    # block's last hour, in which nobody ran, is the company's.
    margin = margin_of_job(tx, fast.job_id, on(12, 5))
    assert (margin.revenue, margin.cost, margin.idle_cost) == (72 * DOLLAR, 30 * DOLLAR, 6 * DOLLAR)
    assert margin.exact


def test_what_a_node_and_a_block_took_with_them_is_credited_by_itself(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    trained = months.starts(acme, on(1, 20, 10), gpus=8)
    told(tx, trained, alive(trained, started_at=on(1, 20, 10), sequence=140))
    served = months.starts(acme, on(1, 20, 10), tier="flex")
    months.until(on(1, 20, 12))
    # The hours from ten to twelve, 8 GPUs; and of the flex job nothing but its start is known.
    assert months.charged([on(1, 20, 10), on(1, 20, 11)]) == [28_800_000, 28_800_000]
    fleet.mark_gone(tx, node_of(tx, trained), "test", on(1, 20, 12, 30))
    life.stop_run(tx, served, TerminationReason.BLOCK_ENDED, on(1, 20, 12, 30))
    months.ends(served, on(1, 20, 12, 30), ending=TaskEnding.STOPPED, exit_code=137)
    assert [store.run(tx, run.id).reason for run in (trained, served)] == ["node_lost", "block_ended"]
    life.cancel(tx, served.job_id, organisation_id=acme[0], actor="test", now=on(1, 20, 12, 31))
    # Tried again by itself: two hours, to its end.
    a_node(tx, "another", now=on(1, 20, 12, 40))
    again = months.starts_again(trained.job_id, on(1, 20, 12, 40))
    months.ends(again, on(1, 20, 14, 40))
    months.until(on(1, 20, 16))
    # Lost: 140 minutes x 8 x $0.06 = $67.20; 150 minutes x $0.05 = $7.50. Charged: two hours x 8 x $3.60.
    assert months.charged(on(1, 20, hour) for hour in (10, 11, 12, 13, 14)) == [0, 0, 9_600_000, 28_800_000, 19_200_000]
    invoice = months.opens(1, on(2, 3))[acme[0]]
    by_job = {(line.job_id, line.kind): line.cents for line in months.lines(invoice)}
    assert by_job == {
        (trained.job_id, LineKind.USAGE): 12_480,
        (trained.job_id, LineKind.CREDIT): -6_720,
        (served.job_id, LineKind.USAGE): 750,
        (served.job_id, LineKind.CREDIT): -750,
    }
    assert invoice.due == 5_760
    months.pays(invoice, 5_760, on(2, 5))
    assert months.books() == {
        "cash:stripe": Decimal("57.60"),
        "revenue": Decimal("-132.30"),
        "credits": Decimal("74.70"),
    }


def test_a_preempted_job(tx: Transaction) -> None:
    """A Flex job loses its node to the end of its block, beside a Fast one that ends in time."""
    months, acme = Months(tx), a_customer(tx)
    fast = months.starts(acme, on(1, 20, 10), max_runtime_seconds=9_000)
    flex = months.starts(acme, on(1, 20, 10), tier="flex", gpus=2, new_node=False)
    assert node_of(tx, flex) == node_of(tx, fast)
    half_past = on(1, 20, 12, 30)
    tx.execute("update nodes set available_until = %s", [half_past])
    # Three minutes before its end: what might outlast it is stopped.
    assert machines.call_time(tx, on(1, 20, 12, 26)) == []
    assert machines.call_time(tx, on(1, 20, 12, 28)) == [flex.id]
    months.ends(flex, on(1, 20, 12, 28, 41), ending=TaskEnding.STOPPED, exit_code=143)
    months.ends(fast, on(1, 20, 12, 29, 10))
    assert [store.run(tx, run.id).reason for run in (flex, fast)] == ["block_ended", "completed"]
    # By itself it is tried again elsewhere: half an hour.
    a_node(tx, "another", now=on(1, 20, 12, 40))
    again = months.starts_again(flex.job_id, on(1, 20, 12, 40))
    months.ends(again, on(1, 20, 13, 10))
    months.until(on(1, 20, 16))
    # Fast: 8,950 s x $0.001. Flex: nothing but the half hour, 2 x $0.05 a minute, of which one hour has 20.
    assert months.charged(on(1, 20, hour) for hour in (10, 11, 12, 13)) == [
        3_600_000,
        3_600_000,
        1_750_000 + 2_000_000,
        1_000_000,
    ]
    assert cost_so_far(tx, flex.job_id) == 3
    # What was lost is on the invoice, and given back: 8,921 s x 2 x $3.00 an hour = $14.868333.
    january = months.opens(1, on(2, 3))[acme[0]]
    assert {(line.job_id, line.kind): (line.micros, line.cents) for line in months.lines(january)} == {
        (fast.job_id, LineKind.USAGE): (8_950_000, 895),
        (flex.job_id, LineKind.USAGE): (17_868_333, 1_787),
        (flex.job_id, LineKind.CREDIT): (-14_868_333, -1_487),
    }
    assert january.due == 1_195
    months.pays(january, 1_195, on(2, 5))
    assert months.books() == {
        "cash:stripe": Decimal("11.95"),
        "revenue": Decimal("-26.818333"),
        "credits": Decimal("14.868333"),
    }


def test_what_was_lost_and_paid_from_the_wallet_pays_for_what_is_used_next(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    wallets.set_terms(tx, acme[0], Terms.PREPAID, limit=None, grace=timedelta(minutes=5), now=on(1))
    wallets.top_up(tx, acme[0], 100 * DOLLAR, "wire/1", on(1))
    run = months.starts(acme, on(1, 20, 10), gpus=8)
    told(tx, run, alive(run, started_at=on(1, 20, 10), sequence=120))
    months.until(on(1, 20, 12))
    # Two hours of 8 GPUs, $57.60, came out of the wallet.
    assert months.books()["wallet"] == Decimal("-42.40")
    fleet.mark_gone(tx, node_of(tx, run), "test", on(1, 20, 12))
    life.cancel(tx, run.job_id, organisation_id=acme[0], actor="test", now=on(1, 20, 12))
    months.until(on(1, 20, 13))
    assert wallets.available(tx, acme[0], on(1, 20, 13)) == 100 * DOLLAR
    january = months.opens(1, on(2, 3))[acme[0]]
    assert (january.total, january.due, january.state) == (0, 0, InvoiceState.PAID)
    # Three hours, $86.40: $57.60 are paid for already, $28.80 come out of the wallet.
    months.runs(acme, on(2, 20), 3 * 3600, gpus=8, max_runtime_seconds=3 * 3600)
    february = months.opens(2, on(3, 3))[acme[0]]
    assert (february.total, february.from_credit, february.due) == (8_640, 8_640, 0)
    assert wallets.available(tx, acme[0], on(3, 3)) == 13_600_000
    assert months.books() == {
        "cash:stripe": Decimal(100),
        "wallet": Decimal("-13.60"),
        "revenue": Decimal(-144),
        "credits": Decimal("57.60"),
    }


def test_a_node_that_is_lost_after_the_invoice_was_paid_is_credited_on_the_next(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    run = months.starts(acme, on(1, 31, 22))
    told(tx, run, alive(run, started_at=on(1, 31, 22), sequence=180))
    # Two hours of January, $7.20; one of February.
    january = months.opens(1, on(2, 3))[acme[0]]
    months.pays(january, 720, on(2, 4))
    fleet.mark_gone(tx, node_of(tx, run), "test", on(2, 5))
    life.cancel(tx, run.job_id, organisation_id=acme[0], actor="test", now=on(2, 5))
    february = months.opens(2, on(3, 3))[acme[0]]
    # $3.60 - $3.60 of February, and -$7.20 of January: to the wallet.
    assert (february.total, february.to_wallet, february.state) == (0, 720, InvoiceState.PAID)
    assert months.books() == {
        "cash:stripe": Decimal("7.20"),
        "revenue": Decimal("-10.80"),
        "credits": Decimal("10.80"),
        "wallet": Decimal("-7.20"),
    }


def test_a_month_is_corrected_by_a_credit_note_after_it_was_paid(tx: Transaction) -> None:
    months, acme = Months(tx), a_german(tx)
    months.runs(acme, on(1, 20, 6), 10 * 3600)
    invoice = months.opens(1, on(2, 3))[acme[0]]
    # Ten hours: $36, and 19 % of it.
    assert (invoice.subtotal, invoice.tax, invoice.due) == (3_600, 684, 4_284)
    months.pays(invoice, 4_284, on(2, 5))
    slow = Correction(position=1, gpu_seconds=Decimal(8 * 3600))
    note = crediting.credit(tx, invoice.id, [slow], reason="The node was slow", actor="op", now=on(2, 10))
    # Eight hours are $28.80, their tax $5.472: $7.20 and $1.37 less, which is credit.
    assert (note.subtotal, note.tax, note.off_due, note.to_wallet) == (720, 137, 0, 857)
    (usage, tax) = note.differences
    assert (usage.seconds_before, usage.seconds_after) == (36_000, 28_800)
    assert (usage.cents_before, usage.cents_after) == (3_600, 2_880)
    assert (tax.cents_before, tax.cents_after) == (684, 547)
    unchanged = invoice_store.invoice(tx, invoice.id)
    assert (unchanged.total, unchanged.paid, unchanged.state) == (4_284, 4_284, InvoiceState.PAID)
    # February: two hours, $7.20 and $1.368 of tax: what the note gave, to the cent.
    months.runs(acme, on(2, 11), 2 * 3600)
    february = months.opens(2, on(3, 3))[acme[0]]
    assert (february.total, february.from_credit, february.due) == (857, 857, 0)
    assert february.state is InvoiceState.PAID
    assert months.books() == {
        "cash:stripe": Decimal("42.84"),
        "revenue": Decimal("-43.20"),
        "credits": Decimal("7.20"),
        "tax": Decimal("-6.84"),
    }


def test_a_commitment_a_coupon_a_grant_and_tax_on_one_invoice(tx: Transaction) -> None:
    months, acme = Months(tx), a_german(tx)
    card = RateCard(id="", name="2026", organisation_id=acme[0], effective_from=on(1), minimum_commitment=100 * DOLLAR)
    set_rate_card(tx, card, actor="test", now=on(1))
    quarter = Coupon(id="", code="QUARTER", organisation_id=acme[0], percent_off=Decimal(25), starts_at=on(1))
    make_coupon(tx, quarter, actor="test", now=on(1))
    wallets.grant_credit(tx, acme[0], 20 * DOLLAR, "grant/1", on(1), expires_at=on(2))
    months.runs(acme, on(1, 20), 20 * 3600)
    months.until(on(1, 21))
    invoice = months.opens(1, on(2, 3))[acme[0]]
    # Twenty hours: $72. A quarter off. $28 are missing to $100. 19 % of $82.
    assert [(line.kind, line.cents) for line in months.lines(invoice)] == [
        (LineKind.USAGE, 7_200),
        (LineKind.COUPON, -1_800),
        (LineKind.COMMITMENT, 2_800),
        (LineKind.TAX, 1_558),
    ]
    assert (invoice.subtotal, invoice.total, invoice.from_credit, invoice.due) == (8_200, 9_758, 2_000, 7_758)
    assert months.books() == {
        "receivable": Decimal("77.58"),
        "revenue": Decimal(-100),
        "credits": Decimal(38),
        "tax": Decimal("-15.58"),
    }
    months.pays(invoice, 7_758, on(2, 5))
    # February without any use: the commitment alone, and the coupon is gone.
    february = months.opens(2, on(3, 3))[acme[0]]
    assert [(line.kind, line.cents) for line in months.lines(february)] == [
        (LineKind.COMMITMENT, 10_000),
        (LineKind.TAX, 1_900),
    ]
    months.pays(february, 11_900, on(3, 5))
    assert months.books() == {
        "cash:stripe": Decimal("196.58"),
        "revenue": Decimal(-200),
        "credits": Decimal(38),
        "tax": Decimal("-34.58"),
    }


def test_a_coupon_for_whoever_redeems_it_is_off_one_invoice_of_theirs_and_of_nobody_elses(tx: Transaction) -> None:
    months, acme, globex = Months(tx), a_customer(tx), a_customer(tx, "globex")
    hello = Coupon(id="", code="HELLO", organisation_id=None, amount_off_micros=25 * DOLLAR, starts_at=on(1, 5))
    gone = Coupon(id="", code="GONE", organisation_id=None, everybody=True, percent_off=Decimal(50), starts_at=on(1))
    for coupon in (hello, gone):
        make_coupon(tx, coupon, actor="ops", now=on(1, 5))
    for each in (acme, globex):
        months.runs(each, on(1, 20), 10 * 3600)
    redeem(tx, "HELLO", acme[0], actor="acme", now=on(1, 25))
    end_coupon(tx, "GONE", actor="ops", now=on(2, 1))
    # Ten hours: $36.
    january = months.opens(1, on(2, 3))
    assert {each: january[each].due for each in (acme[0], globex[0])} == {acme[0]: 1_100, globex[0]: 3_600}
    for each in (acme, globex):
        months.runs(each, on(2, 20), 10 * 3600)
    february = months.opens(2, on(3, 3))
    assert [february[each].due for each in (acme[0], globex[0])] == [3_600, 3_600]
    assert months.books()["credits"] == 25


def test_what_is_less_than_half_a_dollar_is_carried_forward(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    months.runs(acme, on(1, 20), 450)
    january = months.opens(1, on(2, 3))[acme[0]]
    assert (january.total, january.carried_out, january.due, january.state) == (45, 45, 0, InvoiceState.PAID)
    months.runs(acme, on(2, 20), 34)
    february = months.opens(2, on(3, 3))[acme[0]]
    # $0.45 + $0.034, of which the cents are 3.
    assert (february.carried_in, february.total, february.carried_out, february.due) == (45, 48, 48, 0)
    assert months.books() == {"receivable": Decimal("0.48"), "revenue": Decimal("-0.484"), "rounding": Decimal("0.004")}
    months.runs(acme, on(3, 20), 20)
    march = months.opens(3, on(4, 3))[acme[0]]
    # With two cents more it is just enough.
    assert (march.carried_in, march.total, march.due, march.state) == (48, 50, 50, InvoiceState.OPEN)
    months.pays(march, 50, on(4, 5))
    assert months.books() == {
        "cash:stripe": Decimal("0.50"),
        "revenue": Decimal("-0.504"),
        "rounding": Decimal("0.004"),
    }
