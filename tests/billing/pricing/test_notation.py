"""Models as JSON, and what all models have in common."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.billing.pricing import notation

BRACKETS = [{"up_to": "3600", "per_gpu_second": "0.001"}, {"up_to": None, "per_gpu_second": "0.0009"}]
MODELS = [
    {"model": "flat", "per_gpu_second": "0.001111111111"},
    {"model": "graduated", "brackets": BRACKETS},
    {"model": "volume", "brackets": BRACKETS},
    {"model": "package", "gpu_seconds": "3600", "price": "3.6"},
    {"model": "market", "margin_percent": "20", "cap_per_gpu_second": "0.001"},
]
SECONDS = st.decimals(0, 10_000_000, places=6)


@pytest.mark.parametrize("data", MODELS, ids=lambda data: data["model"])
def test_a_model_is_written_as_it_was_read(data: dict[str, Any]) -> None:
    assert notation.read(data).to_json() == data


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"model": "free"},
        {"model": "flat"},
        {"model": "flat", "per_gpu_second": "x"},
        {"model": "volume", "brackets": 3},
    ],
)
def test_what_is_no_model_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no pricing model"):
        notation.read(data)


@pytest.mark.parametrize("data", MODELS, ids=lambda data: data["model"])
@given(before=SECONDS, seconds=SECONDS, more=SECONDS, market=st.none() | st.decimals(0, 1, places=12))
def test_no_charge_is_negative_or_above_the_worst_or_longer_than_eighteen_decimals(
    data: dict[str, Any], before: Decimal, seconds: Decimal, more: Decimal, market: Decimal | None
) -> None:
    model = notation.read(data)
    charge = model.charge(before, seconds, month=before + seconds + more, market=market)
    assert 0 <= charge <= model.at_most(seconds)
    assert charge == charge.quantize(Decimal("1e-18"))
    assert model.discounted(Decimal(50)).charge(before, seconds, month=before + seconds + more, market=market) <= charge
