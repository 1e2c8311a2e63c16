"""Flat prices."""

from decimal import Decimal

import pytest

from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.model import exact, per_gpu_hour


@pytest.mark.parametrize(
    ("hourly", "seconds", "dollars"),
    [
        ("3.60", "3600", "3.6"),
        ("3.60", "0.000001", "0.000000001"),
        ("3.60", "0", "0"),
        ("4.00", "3600", "3.9999999996"),
        ("0", "3600", "0"),
    ],
)
def test_each_second_costs_the_same(hourly: str, seconds: str, dollars: str) -> None:
    assert Flat(price=per_gpu_hour(hourly)).charge(Decimal(10**9), Decimal(seconds)) == Decimal(dollars)


def test_a_discount_is_taken_off_the_price() -> None:
    assert Flat(price=Decimal("0.001")).discounted(Decimal("12.5")) == Flat(price=Decimal("0.000875"))


@pytest.mark.parametrize("price", ["-0.001", "NaN", "1.01"])
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match="is no price"):
        exact(Decimal(price))
