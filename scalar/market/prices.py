"""What compute was traded for in an hour, and how the order book stood: values, and how trades add up. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.market.answers import PublicFill

HOUR = timedelta(hours=1)
_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True, kw_only=True)
class Traded:
    """The trades of one hour: dollars per node-hour, the average weighted by node-hours. None: there was no trade."""

    trades: int = 0
    node_hours: Decimal = Decimal(0)
    low: Decimal | None = None
    average: Decimal | None = None
    high: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Book:
    """How the book stood at a moment. Prices are strings of dollars per node-hour, as they are kept in JSON."""

    observed_at: datetime
    quotes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """Window → `bid` and `ask` of exactly it, and what an order would fill at now: to `buy`, and to `sell`."""
    depth: dict[str, list[list[str | int]]] = field(default_factory=dict)
    """`bids` and `asks` of the shortest window: [price, nodes], best first."""
    available_nodes: int | None = None


@dataclass(frozen=True, kw_only=True)
class HourPrices:
    sku: str
    hour: datetime
    traded: Traded
    book: Book | None = None
    """None: the hour is long over."""


def summarise(fills: Iterable[PublicFill], start: datetime, end: datetime) -> dict[tuple[str, datetime], Traded]:
    """By kind of machine and hour; only hours with a trade. Pure."""
    found: dict[tuple[str, datetime], list[PublicFill]] = defaultdict(list)
    for fill in fills:
        if start <= fill.filled_at < end:
            found[fill.sku, hour_of(fill.filled_at)].append(fill)
    return {key: _summed(group) for key, group in found.items()}


def hours(start: datetime, end: datetime) -> Sequence[datetime]:
    return [start + number * HOUR for number in range((end - start) // HOUR)]


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _summed(fills: Sequence[PublicFill]) -> Traded:
    minutes = [sum(part.node_minutes for part in fill.schedule) for fill in fills]
    prices = [fill.price for fill in fills]
    total = sum(minutes)
    weighted = sum((price * amount for price, amount in zip(prices, minutes, strict=True)), Decimal(0))
    # A trade of nothing has a price all the same.
    average = weighted / total if total else sum(prices, Decimal(0)) / len(prices)
    return Traded(
        trades=len(fills),
        node_hours=(Decimal(total) / 60).quantize(_MILLIONTH),
        low=min(prices),
        average=average.quantize(_MILLIONTH),
        high=max(prices),
    )
