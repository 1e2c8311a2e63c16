"""Tax, from a table of rates by country and region. Pure.

A region's own rate goes before its country's; of several, the one that came into force last. Who is exempt, or lives
where the table has no rate, pays none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal


@dataclass(frozen=True, kw_only=True)
class TaxRate:
    country: str
    region: str | None
    name: str
    """As an invoice calls it: VAT, Sales tax."""
    percent: Decimal
    effective_from: date


@dataclass(frozen=True, kw_only=True)
class Domicile:
    """Where a customer is taxed."""

    country: str | None = None
    region: str | None = None
    exempt: bool = False


NOWHERE = Domicile()


def rate_for(rates: Iterable[TaxRate], domicile: Domicile, on: date) -> TaxRate | None:
    if domicile.exempt or domicile.country is None:
        return None
    fitting = [
        rate
        for rate in rates
        if rate.country == domicile.country and rate.region in (None, domicile.region) and rate.effective_from <= on
    ]
    return max(fitting, key=lambda rate: (rate.region is not None, rate.effective_from), default=None)


def tax_on(cents: int, percent: Decimal) -> int:
    """Whole cents, on whole cents, as whoever checks an invoice works it out; half goes to the even one."""
    return int((cents * percent / 100).to_integral_value(ROUND_HALF_EVEN))
