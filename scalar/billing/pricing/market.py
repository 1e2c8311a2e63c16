"""Market: what the market asked in that hour, and a margin, up to a cap. Flex jobs are priced so."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from scalar.billing.pricing.model import exact, less, text


@dataclass(frozen=True, kw_only=True)
class Market:
    margin_percent: Decimal
    cap: Decimal
    """Dollars per GPU-second: it is never dearer, and costs this where no market price was ever seen."""
    discount_percent: Decimal = Decimal(0)
    """Off what it comes to, the cap included."""

    kind: ClassVar[str] = "market"
    depends_on_quantity: ClassVar[bool] = False
    depends_on_the_total: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises: `ValueError` where the margin is below -100% or out of reason."""
        if not -100 <= self.margin_percent <= 10_000:
            raise ValueError("a margin is from -100 to 10000 percent")

    def price(self, market: Decimal | None) -> Decimal:
        """Dollars per GPU-second, when the market asks so much for one."""
        asked = self.cap if market is None else min(market * (100 + self.margin_percent) / 100, self.cap)
        return less(exact(asked), self.discount_percent)

    def charge(
        self,
        before: Decimal,  # noqa: ARG002 - every model is asked the same
        seconds: Decimal,
        *,
        month: Decimal = Decimal(0),  # noqa: ARG002
        market: Decimal | None,
    ) -> Decimal:
        return seconds * self.price(market)

    def reprices(self, before: Decimal, after: Decimal) -> bool:  # noqa: ARG002
        return False

    def at_most(self, seconds: Decimal) -> Decimal:
        return seconds * self.price(None)

    def discounted(self, percent: Decimal) -> Self:
        return type(self)(margin_percent=self.margin_percent, cap=self.cap, discount_percent=percent)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.kind,
            "margin_percent": text(self.margin_percent),
            "cap_per_gpu_second": text(self.cap),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(margin_percent=Decimal(data["margin_percent"]), cap=exact(Decimal(data["cap_per_gpu_second"])))
