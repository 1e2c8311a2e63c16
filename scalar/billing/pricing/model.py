"""What every pricing model can say, and the units of a price."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Protocol, Self

SECONDS_AN_HOUR = 3600
_EXACT = Decimal("1e-12")
_DEAREST = Decimal(1)


class PricingModel(Protocol):
    """Quantities are GPU-seconds that are charged for: free ones are gone before a model is asked."""

    @property
    def depends_on_quantity(self) -> bool:
        """Whether a second's price depends on how many others there were in its month."""

    @property
    def depends_on_the_total(self) -> bool:
        """Whether it depends on those that came after it, too."""

    def charge(self, before: Decimal, seconds: Decimal, *, month: Decimal, market: Decimal | None) -> Decimal:
        """Dollars for these seconds, exact.

        `before`: how many there were in this month already. `month`: in the whole month, as far as it is known.
        `market`: what the market asks per GPU-second; None where that is not known.
        """

    def reprices(self, before: Decimal, after: Decimal) -> bool:
        """Whether seconds that are charged for already cost something else once the month's total has gone so."""

    def at_most(self, seconds: Decimal) -> Decimal:
        """No such number of seconds costs more, whatever there was before and however they are split."""

    def discounted(self, percent: Decimal) -> Self: ...

    def to_json(self) -> dict[str, Any]: ...


def exact(price: Decimal) -> Decimal:
    """A price with the decimals that a price may have. Raises: `ValueError` where it is no price."""
    if not price.is_finite() or not 0 <= price <= _DEAREST:
        raise ValueError(f"{price} is no price: from 0 to {_DEAREST} dollars per GPU-second")
    return price.quantize(_EXACT, ROUND_HALF_EVEN).normalize() + 0


def per_gpu_hour(dollars: Decimal | str) -> Decimal:
    """Per GPU-second: $4.00 an hour is $0.001111111111 a second, and an hour of that is $4.00 to the micro-dollar."""
    return exact(Decimal(dollars) / SECONDS_AN_HOUR)


def less(price: Decimal, percent: Decimal) -> Decimal:
    return exact(price * (100 - percent) / 100)


def text(number: Decimal) -> str:
    """As JSON has it: 3600, not 3.6E+3."""
    return f"{number.normalize():f}"
