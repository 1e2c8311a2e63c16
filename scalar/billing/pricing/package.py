"""Package: so many GPU-seconds at a time; one that is begun is paid in full, once in its month."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar, Self

from scalar.billing.pricing.model import text

_MICRO = Decimal("1e-6")


@dataclass(frozen=True, kw_only=True)
class Package:
    gpu_seconds: Decimal
    price: Decimal
    """Dollars for all of them, to the micro-dollar."""

    kind: ClassVar[str] = "package"
    depends_on_quantity: ClassVar[bool] = True
    depends_on_the_total: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises: `ValueError` where it is no package."""
        if not (self.gpu_seconds.is_finite() and self.gpu_seconds > 0):
            raise ValueError("a package has some GPU-seconds")
        if not (self.price.is_finite() and self.price >= 0 and self.price == self.price.quantize(_MICRO)):
            raise ValueError("a package has a price in dollars, with six decimals at most")

    def charge(
        self,
        before: Decimal,
        seconds: Decimal,
        *,
        month: Decimal = Decimal(0),  # noqa: ARG002 - every model is asked the same
        market: Decimal | None = None,  # noqa: ARG002
    ) -> Decimal:
        return (self._begun(before + seconds) - self._begun(before)) * self.price

    def reprices(self, before: Decimal, after: Decimal) -> bool:  # noqa: ARG002
        return False

    def at_most(self, seconds: Decimal) -> Decimal:
        """One more than they fill: the end of a month may cut one in two."""
        return (self._begun(seconds) + 1) * self.price

    def discounted(self, percent: Decimal) -> Self:
        price = (self.price * (100 - percent) / 100).quantize(_MICRO, ROUND_HALF_EVEN)
        return type(self)(gpu_seconds=self.gpu_seconds, price=price)

    def to_json(self) -> dict[str, Any]:
        return {"model": self.kind, "gpu_seconds": text(self.gpu_seconds), "price": text(self.price)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(gpu_seconds=Decimal(data["gpu_seconds"]), price=Decimal(data["price"]))

    def _begun(self, quantity: Decimal) -> Decimal:
        whole, rest = divmod(quantity, self.gpu_seconds)
        return whole + (1 if rest else 0)
