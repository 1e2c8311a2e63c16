"""Volume prices: the month's total decides on all of its seconds."""

from decimal import Decimal

import pytest

from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.volume import Volume

TWO_ONE = Volume.of([Bracket(up_to=Decimal(100), price=Decimal("0.002")), Bracket(up_to=None, price=Decimal("0.001"))])


@pytest.mark.parametrize(
    ("before", "seconds", "month", "dollars"),
    [
        ("0", "40", "40", "0.08"),
        ("0", "40", "100", "0.08"),
        ("0", "40", "100.000001", "0.04"),
        ("60", "40", "100", "0.08"),
        ("90", "20", "110", "0.02"),
        ("90", "20", "0", "0.02"),  # a month is never less than what is known of it
    ],
)
def test_all_seconds_cost_what_the_months_total_says(before: str, seconds: str, month: str, dollars: str) -> None:
    assert TWO_ONE.charge(Decimal(before), Decimal(seconds), month=Decimal(month)) == Decimal(dollars)


@pytest.mark.parametrize(
    ("before", "after", "reprices"),
    [("0", "100", False), ("100", "101", True), ("101", "100", True), ("101", "900", False)],
)
def test_what_was_charged_is_repriced_where_a_threshold_is_crossed(before: str, after: str, reprices: bool) -> None:
    assert TWO_ONE.reprices(Decimal(before), Decimal(after)) is reprices


def test_the_dearest_bracket_bounds_every_charge() -> None:
    assert TWO_ONE.at_most(Decimal(1000)) == 2
