"""Volume: all seconds of a month cost what the bracket of the month's total says.

With brackets up to 100 at $3 and above it at $2, 150 seconds cost 150 x $2: the second that crosses the threshold
makes those before it cheaper too, and they are rated again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from scalar.billing.pricing import brackets
from scalar.billing.pricing.brackets import Bracket


@dataclass(frozen=True, kw_only=True)
class Volume:
    brackets: tuple[Bracket, ...]

    kind: ClassVar[str] = "volume"
    depends_on_quantity: ClassVar[bool] = True
    depends_on_the_total: ClassVar[bool] = True

    @classmethod
    def of(cls, rows: Iterable[Bracket]) -> Self:
        """Raises: `ValueError` where they are no brackets."""
        return cls(brackets=brackets.checked(rows))

    def charge(
        self,
        before: Decimal,
        seconds: Decimal,
        *,
        month: Decimal,
        market: Decimal | None = None,  # noqa: ARG002 - every model is asked the same
    ) -> Decimal:
        total = max(month, before + seconds)
        return seconds * brackets.reached(self.brackets, total).price

    def reprices(self, before: Decimal, after: Decimal) -> bool:
        was, is_ = (brackets.reached(self.brackets, total).price for total in (before, after))
        return was != is_

    def at_most(self, seconds: Decimal) -> Decimal:
        return seconds * brackets.dearest(self.brackets)

    def discounted(self, percent: Decimal) -> Self:
        return type(self)(brackets=brackets.cheaper(self.brackets, percent))

    def to_json(self) -> dict[str, Any]:
        return {"model": self.kind, "brackets": brackets.to_json(self.brackets)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(brackets=brackets.from_json(data["brackets"]))
