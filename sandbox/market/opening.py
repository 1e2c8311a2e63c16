"""What a start needs before there is a market: the customer's token, and prices."""

from sandbox.market.options import Options
from sandbox.market.prices import PriceProcess, PriceSource, recorded
from sandbox.market.resources import new_id
from sandbox.market.skus import Sku


def price_sources(skus: dict[str, Sku], options: Options) -> dict[str, PriceSource]:
    """Raises: ValueError for a CSV of no SKU, or without prices."""
    given = {name.lower(): path for name, path in options.prices}
    found: dict[str, PriceSource] = {}
    for sku in skus.values():
        named = {sku.id.lower(), sku.alias.lower(), sku.accelerator.lower()} & given.keys()
        if named:
            found[sku.id] = recorded(given.pop(named.pop()))
        else:
            found[sku.id] = PriceProcess(seed=f"{options.seed}:{sku.id}", level=sku.dollars_per_gpu_hour)
    if given:
        raise ValueError(f"prices of no SKU that is traded here: {', '.join(given)}")
    return found


def new_token() -> str:
    return "sk_live_" + new_id("x")[2:] + new_id("x")[2:]
