"""What hours do to money: clocks that change, months that end, brackets within an hour, and events that come late."""

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from scalar.billing import ledger_store, periods, rated_checks
from scalar.billing.invoice_model import Invoice, InvoiceState
from scalar.billing.ledger import REVENUE
from scalar.billing.months import end_of, start_of
from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.graduated import Graduated
from scalar.billing.rate_cards import RateCard
from scalar.billing.rates import cost_so_far, set_rate_card
from scalar.database import Transaction
from scalar.jobs.model import JobRun
from scalar.metering.batches import NewEvent
from scalar.metering.ingest import take
from scalar.metering.model import HOUR, UsageKind
from tests.billing.billed import FEBRUARY, JANUARY
from tests.billing.month import Months, on
from tests.made_up import a_customer

BERLIN = ZoneInfo("Europe/Berlin")
TEN_HOURS = Decimal(36_000)


@pytest.fixture
def in_berlin(tx: Transaction) -> Transaction:
    """On a server that is set to local time."""
    tx.execute("set local timezone = 'Europe/Berlin'")
    return tx


@pytest.mark.parametrize(
    "one_o_clock",
    [
        pytest.param(on(10, 25, 1), id="the clocks go back: an hour is there twice"),
        pytest.param(on(3, 29, 1), id="the clocks go forward: an hour is left out"),
    ],
)
def test_the_hour_that_the_clocks_change_is_an_hour(in_berlin: Transaction, one_o_clock: datetime) -> None:
    tx, months = in_berlin, Months(in_berlin)
    acme = a_customer(tx)
    # Two hours around the change, and forty minutes around it.
    long = months.starts(acme, one_o_clock - HOUR / 2)
    months.ends(long, (one_o_clock + 3 * HOUR / 2).astimezone(BERLIN), heard_at=one_o_clock + 2 * HOUR)
    short = months.runs(acme, one_o_clock - timedelta(minutes=20), 40 * 60)
    assert cost_so_far(tx, long.job_id) == Decimal("7.20")
    assert cost_so_far(tx, short.job_id) == Decimal("2.40")
    months.until(one_o_clock + 3 * HOUR)
    # Half an hour and twenty minutes before it: $1.80 + $1.20; the hour: $3.60, and $1.20; then half an hour: $1.80.
    hours = [one_o_clock - HOUR, one_o_clock, one_o_clock + HOUR]
    assert months.charged(hours) == [3_000_000, 4_800_000, 1_800_000]
    month = one_o_clock.month
    invoice = months.opens(month, on(month + 1, 3))[acme[0]]
    assert invoice.due == 960
    assert months.books() == {"receivable": Decimal("9.60"), "revenue": Decimal("-9.60")}


def test_a_leap_seconds_worth_of_events_that_come_late(tx: Transaction) -> None:
    """Clocks that show 23:59:60 are refused (`test_usage_events`); those that don't say the second before it, or
    midnight. June has its hour, and July nothing of it.
    """
    months, acme = Months(tx), a_customer(tx)
    run = months.starts(acme, on(6, 30, 23))
    signs_of_life(tx, run, [30], on(6, 30, 23, 30))
    hours = [on(6, 30, 23), on(7, 1)]
    months.until(on(7, 1, 2))
    assert months.charged(hours) == [1_800_000, 0]
    # The last microsecond before it: 3,599.999999 seconds, $3.599999999.
    last = timedelta(hours=1) - timedelta(microseconds=1)
    event = NewEvent(run_id=run.id, rank=0, kind=UsageKind.ALIVE, sequence=60, at=on(6, 30, 23) + last)
    assert not take(tx, {0: event}, node_id=None, now=on(7, 1, 2)).refused
    months.until(on(7, 1, 3))
    assert rated_seconds(tx) == {hours[0]: Decimal("3599.999999")}
    assert months.charged(hours) == [3_600_000, 0]
    # And the microsecond to midnight, with the end.
    months.ends(run, on(7, 1), heard_at=on(7, 1, 3))
    months.until(on(7, 1, 4))
    assert rated_seconds(tx) == {hours[0]: Decimal(3600)}
    assert months.charged(hours) == [3_600_000, 0]
    assert cost_so_far(tx, run.job_id) == Decimal("3.60")
    assert {each: invoice.due for each, invoice in months.opens(6, on(7, 3)).items()} == {acme[0]: 360}
    assert months.opens(7, on(8, 3)) == {}
    assert months.books() == {"receivable": Decimal("3.60"), "revenue": Decimal("-3.60")}


def test_a_month_ends_at_midnight_utc_in_the_middle_of_a_job(in_berlin: Transaction) -> None:
    tx, months = in_berlin, Months(in_berlin)
    acme = a_customer(tx)
    # In Berlin all of it is in November; by UTC half an hour of it is October's.
    months.runs(acme, on(10, 31, 23, 30).astimezone(BERLIN), 5 * 3600 // 2, gpus=8)
    october = months.opens(10, on(11, 3))[acme[0]]
    november = months.opens(11, on(12, 3))[acme[0]]
    # 8 x $1.80, and 8 x two hours.
    assert (october.due, november.due) == (1_440, 5_760)
    assert [earned(tx, invoice) for invoice in (october, november)] == [14_400_000, 57_600_000]
    assert months.books() == {"receivable": Decimal(72), "revenue": Decimal(-72)}


def test_a_bracket_ends_in_the_middle_of_an_hour(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    a_graduated_card(tx, acme)
    late = months.starts(acme, on(1, 20))
    months.runs(acme, on(1, 20), 4 * 3600, gpus=4)
    hours = [on(1, 20, hour) for hour in range(5)]
    months.until(on(1, 20, 6))
    # 4 GPU-hours an hour: the first ten at $3.60, the others at half of it. In the third hour two of them each.
    assert months.charged(hours) == [14_400_000, 14_400_000, 10_800_000, 7_200_000, 0]
    # An hour of another job is told of late, and counts before them: in the third hour one at $3.60, three at $1.80.
    months.ends(late, on(1, 20, 1), heard_at=on(1, 20, 7))
    months.until(on(1, 20, 8))
    assert months.charged(hours) == [18_000_000, 14_400_000, 9_000_000, 7_200_000, 0]
    # 17 GPU-hours: $36 + $12.60. February begins anew: $3.60.
    january = months.opens(1, on(2, 3))[acme[0]]
    months.runs(acme, on(2, 20), 3600)
    february = months.opens(2, on(3, 3))[acme[0]]
    assert (january.due, february.due) == (4_860, 360)
    assert months.books() == {"receivable": Decimal("52.20"), "revenue": Decimal("-52.20")}


def test_events_that_come_out_of_order_and_months_late(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    run = months.starts(acme, on(1, 31, 22), gpus=8)
    # Signs of life, newest first, and twice: to half past eleven. 90 minutes x 8 x $0.06.
    for minutes in ([90, 30], [60], [90, 60, 30]):
        signs_of_life(tx, run, minutes, on(1, 31, 23, 30))
    january = months.opens(1, on(2, 3))[acme[0]]
    assert january.due == 4_320
    months.pays(january, 4_320, on(2, 4))
    # After the invoice was opened, another 29 minutes of January: they go to February's.
    signs_of_life(tx, run, [119, 100], on(2, 10))
    february = months.opens(2, on(3, 3))[acme[0]]
    assert [(line.usage_month, line.cents) for line in months.lines(february)] == [(JANUARY, 1_392)]
    months.pays(february, 1_392, on(3, 4))
    for month in (JANUARY, FEBRUARY):
        assert periods.close(tx, month, actor="op", now=on(3, 5))
    # In June, after both were closed, its end: a second past midnight. Sixty seconds of January, and one of February.
    june = on(6, 20, 12)
    months.ends(run, on(2, 1, 0, 0, 1), heard_at=june)
    months.until(june + HOUR)
    assert rated_checks.due_hours(tx, since=on(1), now=june + 2 * HOUR) == {}
    assert months.charged([on(1, 31, 23), on(2, 1)]) == [28_800_000, 8_000]
    assert [earned(tx, each) for each in (january, february)] == [57_120_000, 0]
    # No month since then has an invoice: what is the first to take it is March's, with $0.48 + $0.008 for it, which is
    # carried to that of June.
    march = months.opens(3, june + HOUR)[acme[0]]
    assert [(line.usage_month, line.micros) for line in months.lines(march)] == [(JANUARY, 480_000), (FEBRUARY, 8_000)]
    assert (march.total, march.carried_out, march.state) == (49, 49, InvoiceState.PAID)
    months.runs(acme, june + 2 * HOUR, 3600)
    last = months.opens(6, on(7, 3))[acme[0]]
    assert (last.carried_in, last.due) == (49, 409)
    months.pays(last, 409, on(7, 4))
    assert months.books() == {
        "cash:stripe": Decimal("61.21"),
        "revenue": Decimal("-61.208"),
        "rounding": Decimal("-0.002"),
    }


def test_a_month_that_is_reopened_takes_what_comes_late(tx: Transaction) -> None:
    months, acme = Months(tx), a_customer(tx)
    run = months.starts(acme, on(1, 31, 22))
    signs_of_life(tx, run, [60], on(1, 31, 23))
    january = months.opens(1, on(2, 3))[acme[0]]
    assert periods.close(tx, JANUARY, actor="op", now=on(2, 5))
    signs_of_life(tx, run, [90], on(2, 10))
    months.until(on(2, 10, 1))
    assert earned(tx, january) == 3_600_000
    periods.reopen(tx, JANUARY, actor="op", reason="A node was cut off")
    months.ends(run, on(2, 1), heard_at=on(2, 20))
    months.until(on(2, 20, 1))
    # The half hour that came while it was closed is February's, the one after it is its own; the invoice is February's.
    assert earned(tx, january) == 5_400_000
    assert periods.close(tx, JANUARY, actor="op", now=on(2, 21))
    assert months.books() == {"receivable": Decimal("3.60"), "unbilled": Decimal("3.60"), "revenue": Decimal("-7.20")}
    february = months.opens(2, on(3, 3))[acme[0]]
    assert (february.due, earned(tx, february)) == (360, 1_800_000)
    assert months.books() == {"receivable": Decimal("7.20"), "revenue": Decimal("-7.20")}


def a_graduated_card(tx: Transaction, customer: tuple[str, str]) -> None:
    """Ten GPU-hours a month at $3.60, the others at $1.80."""
    model = Graduated.of(
        [Bracket(up_to=TEN_HOURS, price=Decimal("0.001")), Bracket(up_to=None, price=Decimal("0.0005"))]
    )
    card = RateCard(
        id="", name="2026", organisation_id=customer[0], effective_from=on(1), prices={("*", "fast"): model}
    )
    set_rate_card(tx, card, actor="test", now=on(1))


def signs_of_life(tx: Transaction, run: JobRun, minutes: list[int], now: datetime) -> None:
    """In one batch, in that order."""
    start = run_start(tx, run)
    events = {
        number: NewEvent(run_id=run.id, rank=0, kind=UsageKind.ALIVE, sequence=each, at=start + timedelta(minutes=each))
        for number, each in enumerate(minutes)
    }
    assert not take(tx, events, node_id=None, now=now).refused


def run_start(tx: Transaction, run: JobRun) -> datetime:
    return tx.execute("select started_at as at from job_runs where id = %s", [run.id]).fetchone()["at"]


def earned(tx: Transaction, invoice: Invoice) -> int:
    """What the books of the invoice's month have, in micro-dollars."""
    return -ledger_store.between(tx, [REVENUE], start_of(invoice.month), end_of(invoice.month))


def rated_seconds(tx: Transaction) -> dict[datetime, Decimal]:
    """GPU-seconds by hour."""
    rows = tx.execute("select hour, sum(gpu_seconds) as seconds from rated_lines group by hour")
    return {row["hour"]: row["seconds"] for row in rows}
