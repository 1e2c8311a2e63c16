"""A pricing model as JSON, as `rate_card_prices` keeps it: `{"model": "flat", "per_gpu_second": "0.001"}`."""

from collections.abc import Callable
from decimal import InvalidOperation
from typing import Any

from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.graduated import Graduated
from scalar.billing.pricing.market import Market
from scalar.billing.pricing.model import PricingModel
from scalar.billing.pricing.package import Package
from scalar.billing.pricing.volume import Volume

_READERS: dict[str, Callable[[dict[str, Any]], PricingModel]] = {
    Flat.kind: Flat.from_json,
    Graduated.kind: Graduated.from_json,
    Volume.kind: Volume.from_json,
    Package.kind: Package.from_json,
    Market.kind: Market.from_json,
}


def read(data: dict[str, Any]) -> PricingModel:
    """Raises: `ValueError` where it is no model."""
    try:
        return _READERS[data["model"]](data)
    except (KeyError, TypeError, InvalidOperation) as error:
        raise ValueError(f"{data!r} is no pricing model") from error
