"""Market prices: the market's, and a margin, up to a cap."""

from decimal import Decimal

import pytest

from scalar.billing.pricing.market import Market
from scalar.billing.pricing.model import per_gpu_hour

FIFTH = Market(margin_percent=Decimal(20), cap=per_gpu_hour("3.60"))


@pytest.mark.parametrize(
    ("asked", "hourly"),
    [
        ("1.80", "2.16"),
        ("3.00", "3.60"),
        ("3.01", "3.60"),
        ("0", "0"),
        (None, "3.60"),  # nobody has ever seen a price
    ],
)
def test_an_hour_costs_the_markets_price_and_the_margin(asked: str | None, hourly: str) -> None:
    market = None if asked is None else Decimal(asked) / 3600
    charge = FIFTH.charge(Decimal(0), Decimal(3600), market=market)
    assert charge.quantize(Decimal("1e-6")) == Decimal(hourly)
    assert charge <= FIFTH.at_most(Decimal(3600))


def test_a_discount_is_taken_off_the_cap_as_well() -> None:
    assert FIFTH.discounted(Decimal(10)).charge(Decimal(0), Decimal(3600), market=Decimal(1)) == Decimal("3.24")


def test_a_margin_out_of_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        Market(margin_percent=Decimal(-101), cap=Decimal("0.001"))
