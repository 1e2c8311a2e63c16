"""Amounts of money: exact decimals of a dollar, and whole micro-dollars in the ledger. Pure.

price x seconds ─► exact ─► micros: rounded once ─► the ledger ─► cents: rounded once ─► an invoice
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

MICROS_A_DOLLAR = 1_000_000
MICROS_A_CENT = 10_000


def micros(dollars: Decimal) -> int:
    """Whole micro-dollars; half goes to the even one, so that rounding favours nobody."""
    return int((dollars * MICROS_A_DOLLAR).to_integral_value(ROUND_HALF_EVEN))


def dollars(micros: int) -> Decimal:
    return Decimal(micros) / MICROS_A_DOLLAR


def cents(micros: int) -> int:
    """Whole cents, as an invoice and a card have them; half goes to the even one."""
    return int((Decimal(micros) / MICROS_A_CENT).to_integral_value(ROUND_HALF_EVEN))


def usd(micros: int) -> str:
    """For people: $1,234.50; below a cent as exactly as it is: $0.000125."""
    sign, value = ("-" if micros < 0 else ""), abs(micros)
    if value % MICROS_A_CENT:
        text = f"{dollars(value):,.6f}".rstrip("0")
        whole, _, part = text.partition(".")
        return f"{sign}${whole}.{part.ljust(2, '0')}"
    return f"{sign}${dollars(value):,.2f}"


def apportion(total: int, weights: Sequence[Decimal | int]) -> list[int]:
    """Whole parts of a total by weight, that add up to it exactly: each is rounded on the sum so far.

    Raises: `ValueError` where weights are negative, or all zero and there is something to share.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("a weight is negative")
    whole = sum((Decimal(weight) for weight in weights), Decimal(0))
    if not whole:
        if total:
            raise ValueError("nothing to share by")
        return [0] * len(weights)
    parts, so_far, given = [], Decimal(0), 0
    for weight in weights:
        so_far += weight
        upto = int((total * so_far / whole).to_integral_value(ROUND_HALF_EVEN)) if so_far != whole else total
        parts.append(upto - given)
        given = upto
    return parts
