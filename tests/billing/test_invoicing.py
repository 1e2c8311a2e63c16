"""What an invoice comes to, and what a credit note gives back: tables worked out by hand, and what holds of any."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.billing.coupons import Coupon
from scalar.billing.credit_notes import Correction, as_they_stand, corrected
from scalar.billing.invoice_model import Charge, InvoiceDraft, InvoiceLine, LineKind
from scalar.billing.invoicing import build, commitment_of, paid_from_credit, rounded
from scalar.billing.money import cents
from scalar.billing.months import end_of, last_moment_of, month_named, month_of, next_month, share_of
from scalar.billing.tax import Domicile, TaxRate, rate_for, tax_on
from scalar.errors import InvalidRequest

JANUARY = date(2026, 1, 1)
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)
DOLLAR = 1_000_000
VAT = TaxRate(country="DE", region=None, name="VAT", percent=Decimal(19), effective_from=JANUARY)


def a_charge(micros: int = 10 * DOLLAR, **changes) -> Charge:
    """$3.60 an hour unless told otherwise."""
    charge = Charge(
        month=JANUARY,
        kind=LineKind.USAGE,
        job_id="job_1",
        job_name="train",
        tier="fast",
        gpu_type="H100",
        gpu_seconds=Decimal(micros) / 1000,
        free_seconds=Decimal(0),
        exact=Decimal(micros) / DOLLAR,
        micros=micros,
    )
    return replace(charge, **changes)


def a_credit(micros: int, **changes) -> Charge:
    return a_charge(-micros, kind=LineKind.CREDIT, **changes)


def a_coupon(id: str = "coupon_1", **changes) -> Coupon:
    return Coupon(id=id, code="HELLO", organisation_id=None, starts_at=datetime(2026, 1, 1, tzinfo=UTC), **changes)


def an_invoice(*charges: Charge, **more) -> InvoiceDraft:
    return build("org_1", JANUARY, charges=charges, **more)


def shown(draft: InvoiceDraft) -> list[tuple[str, int]]:
    return [(line.kind.value, line.cents) for line in draft.lines]


TEN, HALF = Decimal(10), Decimal(50)


@pytest.mark.parametrize(
    ("charges", "more", "lines", "total", "from_credit", "carried_out", "due"),
    [
        ([], {}, [], 0, 0, 0, 0),
        ([a_charge()], {}, [("usage", 1000)], 1000, 0, 0, 1000),
        ([a_charge()], {"tax_rate": VAT}, [("usage", 1000), ("tax", 190)], 1190, 0, 0, 1190),
        ([a_charge(), a_credit(4 * DOLLAR)], {}, [("usage", 1000), ("credit", -400)], 600, 0, 0, 600),
        # A coupon is off charges less credits; tax is on what is left.
        (
            [a_charge(), a_credit(4 * DOLLAR)],
            {"coupons": [a_coupon(percent_off=TEN)], "tax_rate": VAT},
            [("usage", 1000), ("credit", -400), ("coupon", -60), ("tax", 103)],
            643,
            0,
            0,
            643,
        ),
        # Never more than there is; of several, the one that takes off most.
        (
            [a_charge()],
            {"coupons": [a_coupon(amount_off_micros=50 * DOLLAR), a_coupon("b", percent_off=HALF)]},
            [("usage", 1000), ("coupon", -1000)],
            0,
            0,
            0,
            0,
        ),
        ([a_charge()], {"coupons": [a_coupon(percent_off=HALF)]}, [("usage", 1000), ("coupon", -500)], 500, 0, 0, 500),
        # A commitment counts usage before credits and coupons.
        (
            [a_charge(), a_credit(4 * DOLLAR)],
            {"commitment": 25 * DOLLAR},
            [("usage", 1000), ("credit", -400), ("commitment", 1500)],
            2100,
            0,
            0,
            2100,
        ),
        ([a_charge()], {"commitment": 10 * DOLLAR}, [("usage", 1000)], 1000, 0, 0, 1000),
        ([], {"commitment": 25 * DOLLAR}, [("commitment", 2500)], 2500, 0, 0, 2500),
        # Credit that was drawn pays, the tax too; what is over waits for the next invoice.
        ([a_charge()], {"credit": 4 * DOLLAR}, [("usage", 1000)], 1000, 400, 0, 600),
        ([a_charge()], {"credit": 40 * DOLLAR, "tax_rate": VAT}, [("usage", 1000), ("tax", 190)], 1190, 1190, 0, 0),
        # Less than 50 cents is carried forward, exactly 50 is not.
        ([a_charge(490_000)], {}, [("usage", 49)], 49, 0, 49, 0),
        ([a_charge(500_000)], {}, [("usage", 50)], 50, 0, 0, 50),
        ([a_charge()], {"credit": 9_700_000}, [("usage", 1000)], 1000, 970, 30, 0),
        ([a_charge(300_000)], {"carried_in": 30}, [("usage", 30), ("carried_in", 30)], 60, 0, 0, 60),
        # What was carried in is owed already: neither taxed nor paid from credit.
        (
            [a_charge()],
            {"carried_in": 30, "credit": 40 * DOLLAR, "tax_rate": VAT},
            [("usage", 1000), ("tax", 190), ("carried_in", 30)],
            1220,
            1190,
            30,
            0,
        ),
        # Credits that are more than the charges go to the wallet, their tax with them.
        (
            [a_charge(), a_credit(14 * DOLLAR)],
            {"tax_rate": VAT, "carried_in": 30},
            [("usage", 1000), ("credit", -1400), ("tax", -76), ("to_wallet", 476), ("carried_in", 30)],
            30,
            0,
            30,
            0,
        ),
    ],
)
def test_what_an_invoice_comes_to(charges, more, lines, total, from_credit, carried_out, due) -> None:
    draft = an_invoice(*charges, **more)
    assert shown(draft) == lines
    assert (draft.total, draft.from_credit, draft.carried_out, draft.due) == (total, from_credit, carried_out, due)
    assert [line.position for line in draft.lines] == list(range(1, len(lines) + 1))


def test_a_line_has_the_seconds_behind_it_and_the_price_of_an_hour() -> None:
    (line,) = an_invoice(a_charge(7_200_000, gpu_seconds=Decimal("7200.5"), free_seconds=Decimal("0.5"))).lines
    assert line.gpu_seconds == Decimal("7200.5")
    assert line.unit_price == Decimal("3.599750")
    assert line.description == "train: H100, fast (0.5 s free)"
    assert (line.job_id, line.tier, line.gpu_type, line.usage_month) == ("job_1", "fast", "H100", JANUARY)


def test_seconds_that_came_to_nothing_have_no_price() -> None:
    """An hour was rated anew at another price: its seconds are on an earlier invoice."""
    (line,) = an_invoice(a_charge(5 * DOLLAR, gpu_seconds=Decimal(0))).lines
    assert (line.cents, line.unit_price) == (500, None)


def test_lines_stand_by_month_job_and_type_usage_before_its_credit() -> None:
    charges = [
        a_credit(DOLLAR, job_id="b"),
        a_charge(job_id="b"),
        a_charge(job_id="a", gpu_type="H200"),
        a_charge(job_id="a"),
        a_charge(job_id="z", month=date(2025, 12, 1)),
    ]
    assert [(line.job_id, line.gpu_type, line.kind.value) for line in an_invoice(*charges).lines] == [
        ("z", "H100", "usage"),
        ("a", "H100", "usage"),
        ("a", "H200", "usage"),
        ("b", "H100", "usage"),
        ("b", "H100", "credit"),
    ]


def test_three_thirds_of_a_cent_are_one_cent() -> None:
    draft = an_invoice(*(a_charge(3_334, job_id=f"job_{number}") for number in range(3)))
    assert [line.cents for line in draft.lines] == [0, 1, 0]
    assert draft.total == 1


_amounts = st.integers(min_value=1, max_value=10**9)
_charges = st.lists(
    st.builds(
        lambda micros, job, part: a_charge(micros, job_id=f"job_{job}", gpu_type=part),
        _amounts,
        st.integers(0, 5),
        st.sampled_from(["H100", "H200"]),
    ),
    max_size=40,
    unique_by=lambda each: (each.job_id, each.gpu_type),
)
_coupons = st.one_of(
    st.just(()),
    st.builds(lambda each: (a_coupon(percent_off=Decimal(each) / 10),), st.integers(1, 1000)),
    st.builds(lambda each: (a_coupon(amount_off_micros=each),), _amounts),
)
_rates = st.one_of(st.none(), st.builds(lambda each: replace(VAT, percent=Decimal(each) / 100), st.integers(0, 3000)))


@given(
    charges=_charges,
    credits=st.lists(_amounts, max_size=5),
    coupons=_coupons,
    commitment=st.one_of(st.just(0), _amounts),
    credit=st.one_of(st.just(0), _amounts, st.just(10**12)),
    carried_in=st.integers(0, 49),
    tax_rate=_rates,
    data=st.data(),
)
def test_of_any_invoice(charges, credits, coupons, commitment, credit, carried_in, tax_rate, data) -> None:
    lost = [a_credit(micros, job_id=f"lost_{number}") for number, micros in enumerate(credits)]
    inputs = {
        "coupons": coupons,
        "commitment": commitment,
        "credit": credit,
        "carried_in": carried_in,
        "tax_rate": tax_rate,
    }
    draft = an_invoice(*charges, *lost, **inputs)
    # Nothing is lost to rounding, and each line is what it says to within a cent.
    assert draft.subtotal == cents(draft.subtotal_micros)
    assert draft.total == sum(line.cents for line in draft.lines)
    assert all(abs(line.cents * 10_000 - line.micros) <= 10_000 for line in draft.lines)
    # Nothing is negative that a customer is asked for.
    assert min(draft.total, draft.due, draft.from_credit, draft.carried_out, draft.credit_applied) >= 0
    assert all(line.cents >= 0 for line in draft.lines if line.kind in {LineKind.USAGE, LineKind.COMMITMENT})
    assert draft.due == 0 or draft.due >= 50
    assert draft.total == draft.from_credit + draft.carried_out + draft.due
    assert draft.credit_applied <= credit
    assert abs(draft.credit_applied - draft.from_credit * 10_000) <= 10_000
    # The same inputs in another order are the same invoice.
    assert an_invoice(*data.draw(st.permutations([*lost, *charges])), **inputs) == draft
    assert paid_from_credit(paid_from_credit(draft, 0), credit) == draft


def test_late_usage_counts_for_the_commitment_of_its_own_month() -> None:
    """January lacked $5 of its commitment, and that was billed; then $3 and once more $4 of January come late."""
    late, own = a_charge(3 * DOLLAR, month=JANUARY), a_charge(10 * DOLLAR, month=FEBRUARY)
    how = {"commitment": 15 * DOLLAR, "shortfalls_billed": {JANUARY: 5 * DOLLAR}}
    draft = build("org_1", FEBRUARY, charges=[late, own], **how)
    assert [(line.kind, line.usage_month, line.cents) for line in draft.lines] == [
        ("usage", JANUARY, 300),
        ("usage", FEBRUARY, 1000),
        ("commitment", JANUARY, -300),
        ("commitment", None, 500),
    ]
    later = a_charge(4 * DOLLAR, month=JANUARY)
    assert build("org_1", MARCH, charges=[later], shortfalls_billed={JANUARY: 2 * DOLLAR}).subtotal == 200
    assert build("org_1", MARCH, charges=[later], shortfalls_billed={JANUARY: 0}).subtotal == 400


def test_rounding_loses_nothing_over_many_lines() -> None:
    charges = [a_charge(3_333 + number % 7, job_id=f"job_{number:06d}") for number in range(100_000)]
    draft = an_invoice(*charges)
    assert draft.total == cents(sum(charge.micros for charge in charges))
    assert {line.cents for line in draft.lines} == {0, 1}


def test_rounding_loses_nothing_over_a_million_lines() -> None:
    random = np.random.default_rng(4)
    # Charges of anything from a ten-thousandth of a cent to $900, one in eight a credit: ten thousand, in any order.
    several = (10 ** random.uniform(0, 8.95, 10_000)).astype(np.int64) * random.choice([1] * 7 + [-1], 10_000)
    line = InvoiceLine(position=0, kind=LineKind.USAGE, description="", micros=0, cents=0)
    lines = [replace(line, micros=micros) for micros in several.tolist()]
    drawn = random.integers(0, len(lines), 1_000_000)
    amounts, made = several[drawn], rounded(lines[number] for number in drawn.tolist())
    given = np.fromiter((each.cents for each in made), np.int64, len(made))
    # Together they are the cents of the whole; so is every beginning of them, and each is within one of its own.
    so_far, in_cents = np.cumsum(amounts), np.cumsum(given)
    assert int(in_cents[-1]) == cents(int(so_far[-1]))
    assert np.abs(in_cents * 10_000 - so_far).max() <= 5_000
    assert np.abs(given * 10_000 - amounts).max() <= 10_000


def test_a_commitment_is_for_the_part_of_the_month_that_its_card_holds() -> None:
    noon = datetime(2026, 1, 16, 12, tzinfo=UTC)
    half = share_of(JANUARY, noon, None)
    assert half == Fraction(1, 2)
    assert commitment_of([(100 * DOLLAR, half)]) == 50 * DOLLAR
    assert commitment_of(
        [(100 * DOLLAR, half), (300 * DOLLAR, share_of(JANUARY, datetime(2025, 1, 1, tzinfo=UTC), noon))]
    ) == (200 * DOLLAR)
    assert share_of(JANUARY, datetime(2026, 3, 1, tzinfo=UTC), None) == 0


def test_months() -> None:
    assert next_month(date(2026, 12, 1)) == date(2027, 1, 1)
    assert month_of(datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)) == JANUARY
    assert month_of(end_of(JANUARY)) == date(2026, 2, 1)
    assert month_of(last_moment_of(JANUARY)) == JANUARY
    assert month_named("2026-01") == JANUARY
    for wrong in ("2026-13", "January", "2026-01-01", ""):
        with pytest.raises(InvalidRequest):
            month_named(wrong)


RATES = [
    VAT,
    replace(VAT, percent=Decimal(21), effective_from=date(2026, 7, 1)),
    TaxRate(country="US", region="TX", name="Sales tax", percent=Decimal("8.25"), effective_from=JANUARY),
]


@pytest.mark.parametrize(
    ("domicile", "on", "percent"),
    [
        (Domicile(country="DE"), JANUARY, 19),
        (Domicile(country="DE", region="BE"), JANUARY, 19),
        (Domicile(country="DE"), date(2026, 7, 1), 21),
        (Domicile(country="DE"), date(2025, 12, 1), None),
        (Domicile(country="DE", exempt=True), JANUARY, None),
        (Domicile(country="US", region="TX"), JANUARY, Decimal("8.25")),
        (Domicile(country="US", region="OR"), JANUARY, None),
        (Domicile(country="US"), JANUARY, None),
        (Domicile(), JANUARY, None),
    ],
)
def test_which_tax_is_whose(domicile: Domicile, on: date, percent) -> None:
    rate = rate_for(RATES, domicile, on)
    assert (rate.percent if rate else None) == percent


@pytest.mark.parametrize(
    ("cents", "percent", "tax"), [(1000, "19", 190), (50, "1", 0), (150, "1", 2), (333, "8.25", 27)]
)
def test_tax_is_whole_cents_half_to_even(cents: int, percent: str, tax: int) -> None:
    assert tax_on(cents, Decimal(percent)) == tax


BILLED = an_invoice(
    a_charge(),
    a_charge(20 * DOLLAR, job_id="job_2"),
    coupons=[a_coupon(percent_off=TEN)],
    tax_rate=VAT,
    carried_in=30,
).lines
"""1000 + 2000 - 300 + 513 tax + 30."""


def test_a_correction_shows_the_line_as_it_was_and_as_it_should_have_been() -> None:
    note = corrected(BILLED, [Correction(position=2, gpu_seconds=Decimal(15_000))])
    seen = [(each.position, each.cents_before, each.cents_after, each.cents) for each in note.differences]
    assert seen == [(2, 2000, 1500, -500), (3, -300, -250, 50), (4, 513, 428, -85)]
    (usage, *_) = note.differences
    assert (usage.seconds_before, usage.seconds_after) == (20_000, 15_000)
    assert (note.subtotal, note.tax, note.total) == (450, 85, 535)


def test_a_second_correction_starts_from_what_the_first_left() -> None:
    first = corrected(BILLED, [Correction(position=1, cents=0)])
    now = as_they_stand(BILLED, first.differences)
    with pytest.raises(InvalidRequest, match="only become less"):
        corrected(now, [Correction(position=1, cents=1)])
    with pytest.raises(InvalidRequest, match="give nothing back"):
        corrected(now, [Correction(position=1, cents=0)])
    second = corrected(now, [Correction(position=2, cents=0)])
    assert first.total + second.total == 1000 + 2000 - 300 + 513


@pytest.mark.parametrize(
    ("corrections", "why"),
    [
        ([Correction(position=9, cents=0)], "can't be corrected"),
        ([Correction(position=4, cents=0)], "can't be corrected"),
        ([Correction(position=1, cents=1001)], "only become less"),
        ([Correction(position=1, cents=-1)], "only become less"),
        ([Correction(position=1, gpu_seconds=Decimal(10_001))], "only become less"),
        ([Correction(position=1)], "say one of"),
        ([Correction(position=1, cents=0, gpu_seconds=Decimal(0))], "say one of"),
        ([], "give nothing back"),
    ],
)
def test_corrections_that_are_refused(corrections, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        corrected(BILLED, corrections)


def test_what_was_credited_already_is_not_given_back_again() -> None:
    lines = an_invoice(a_charge(), a_credit(9 * DOLLAR)).lines
    with pytest.raises(InvalidRequest, match="more than the invoice charged"):
        corrected(lines, [Correction(position=1, cents=0)])
    assert corrected(lines, [Correction(position=1, cents=900)]).total == 100


@given(charges=_charges.filter(bool), coupons=_coupons, tax_rate=_rates, data=st.data())
def test_corrections_never_give_back_more_than_was_charged(charges, coupons, tax_rate, data) -> None:
    lines = list(an_invoice(*charges, coupons=coupons, tax_rate=tax_rate).lines)
    charged, given = sum(line.cents for line in lines), 0
    for _ in range(3):
        line = data.draw(st.sampled_from([line for line in lines if line.kind is LineKind.USAGE]))
        cents_left = data.draw(st.integers(0, max(line.cents, 0)))
        try:
            note = corrected(lines, [Correction(position=line.position, cents=cents_left)])
        except InvalidRequest:
            continue
        given += note.total
        lines = as_they_stand(lines, note.differences)
        assert note.total > 0
        assert sum(line.cents for line in lines) == charged - given >= 0
