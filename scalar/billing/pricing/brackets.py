"""Brackets of quantity, each with its price: what graduated and volume prices are made of."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from scalar.billing.pricing.model import exact, less, text


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """From the end of the one before it."""

    up_to: Decimal | None
    """GPU-seconds of a month, that one included; None: without end."""
    price: Decimal
    """Dollars per GPU-second."""


def checked(brackets: Iterable[Bracket]) -> tuple[Bracket, ...]:
    """Raises: `ValueError` where they don't go upwards from zero to the end."""
    found = tuple(brackets)
    ends = [each.up_to for each in found]
    if not found or ends[-1] is not None:
        raise ValueError("the last bracket has no end (up_to: null)")
    limits = [Decimal(0)]
    for end in ends[:-1]:
        if end is None or end != end.quantize(Decimal("1e-6")):
            raise ValueError("every bracket but the last ends at a number of GPU-seconds, with six decimals at most")
        limits.append(end)
    if any(low >= high for low, high in pairwise(limits)):
        raise ValueError("each bracket ends above the one before it")
    return found


def split(brackets: Sequence[Bracket], before: Decimal, seconds: Decimal) -> Iterator[tuple[Decimal, Decimal]]:
    """(seconds, price) of each bracket that [before, before + seconds) lies in: cut exactly at the thresholds."""
    position, end = before, before + seconds
    for each in brackets:
        upper = end if each.up_to is None else min(each.up_to, end)
        if upper > position:
            yield upper - position, each.price
            position = upper


def reached(brackets: Sequence[Bracket], quantity: Decimal) -> Bracket:
    """The one that a quantity lies in."""
    return next(each for each in brackets if each.up_to is None or quantity <= each.up_to)


def dearest(brackets: Sequence[Bracket]) -> Decimal:
    return max(each.price for each in brackets)


def cheaper(brackets: Sequence[Bracket], percent: Decimal) -> tuple[Bracket, ...]:
    return tuple(Bracket(up_to=each.up_to, price=less(each.price, percent)) for each in brackets)


def to_json(brackets: Sequence[Bracket]) -> list[dict[str, Any]]:
    return [
        {"up_to": None if each.up_to is None else text(each.up_to), "per_gpu_second": text(each.price)}
        for each in brackets
    ]


def from_json(rows: Iterable[dict[str, Any]]) -> tuple[Bracket, ...]:
    return checked(
        Bracket(
            up_to=None if row["up_to"] is None else Decimal(row["up_to"]),
            price=exact(Decimal(row["per_gpu_second"])),
        )
        for row in rows
    )
