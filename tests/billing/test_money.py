"""Rounding and sharing out: pure."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.billing.money import apportion, cents, dollars, micros, usd


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("1", 1_000_000), ("0.0000005", 0), ("0.0000015", 2), ("0.00000051", 1), ("-0.0000015", -2), ("0", 0)],
)
def test_half_a_micro_dollar_goes_to_the_even_one(amount: str, rounded: int) -> None:
    assert micros(Decimal(amount)) == rounded


@pytest.mark.parametrize(("amount", "rounded"), [(5_000, 0), (15_000, 2), (14_999, 1), (-15_000, -2), (990_000, 99)])
def test_half_a_cent_goes_to_the_even_one(amount: int, rounded: int) -> None:
    assert cents(amount) == rounded


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(1_234_500_000, "$1,234.50"), (0, "$0.00"), (-50_000, "-$0.05"), (125, "$0.000125"), (1_005_000, "$1.005")],
)
def test_an_amount_is_shown_as_exactly_as_it_is(amount: int, shown: str) -> None:
    assert usd(amount) == shown


@given(st.integers(-(10**15), 10**15))
def test_micro_dollars_are_exact_dollars(amount: int) -> None:
    assert micros(dollars(amount)) == amount


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.decimals(0, 10**9, places=6), min_size=1, max_size=50).filter(any),
)
def test_parts_add_up_to_the_whole_and_none_is_off_by_more_than_one(total: int, weights: list[Decimal]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) <= 1


def test_a_weight_of_nothing_gets_nothing() -> None:
    assert apportion(100, [Decimal(0), Decimal(1), Decimal(0)]) == [0, 100, 0]
    with pytest.raises(ValueError, match="nothing to share by"):
        apportion(1, [Decimal(0)])
