"""Packages: one that is begun is paid in full, once."""

from decimal import Decimal

import pytest

from scalar.billing.pricing.package import Package

HOURS = Package(gpu_seconds=Decimal(3600), price=Decimal("3.5"))


@pytest.mark.parametrize(
    ("before", "seconds", "dollars"),
    [
        ("0", "0", "0"),
        ("0", "0.000001", "3.5"),
        ("0", "3600", "3.5"),
        ("0", "3600.000001", "7"),
        ("1", "3599", "0"),
        ("1", "3600", "3.5"),
        ("3600", "1", "3.5"),
        ("0", "36000", "35"),
    ],
)
def test_a_package_that_is_begun_is_paid_in_full(before: str, seconds: str, dollars: str) -> None:
    assert HOURS.charge(Decimal(before), Decimal(seconds)) == Decimal(dollars)


def test_the_end_of_a_month_may_cut_a_package_in_two() -> None:
    assert HOURS.charge(Decimal(0), Decimal(1800)) * 2 <= HOURS.at_most(Decimal(3600))


@pytest.mark.parametrize(("gpu_seconds", "price"), [("0", "1"), ("-1", "1"), ("1", "-1"), ("1", "0.0000001")])
def test_what_is_no_package_is_refused(gpu_seconds: str, price: str) -> None:
    with pytest.raises(ValueError, match="package"):
        Package(gpu_seconds=Decimal(gpu_seconds), price=Decimal(price))
