"""Flat: each GPU-second costs the same."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from scalar.billing.pricing.model import exact, less, text


@dataclass(frozen=True, kw_only=True)
class Flat:
    price: Decimal
    """Dollars per GPU-second."""

    kind: ClassVar[str] = "flat"
    depends_on_quantity: ClassVar[bool] = False
    depends_on_the_total: ClassVar[bool] = False

    def charge(
        self,
        before: Decimal,  # noqa: ARG002 - every model is asked the same
        seconds: Decimal,
        *,
        month: Decimal = Decimal(0),  # noqa: ARG002
        market: Decimal | None = None,  # noqa: ARG002
    ) -> Decimal:
        return seconds * self.price

    def reprices(self, before: Decimal, after: Decimal) -> bool:  # noqa: ARG002
        return False

    def at_most(self, seconds: Decimal) -> Decimal:
        return seconds * self.price

    def discounted(self, percent: Decimal) -> Self:
        return type(self)(price=less(self.price, percent))

    def to_json(self) -> dict[str, Any]:
        return {"model": self.kind, "per_gpu_second": text(self.price)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(price=exact(Decimal(data["per_gpu_second"])))
