"""Graduated: each second costs what the bracket says that it falls in, as a tax does.

With brackets up to 100 at $3 and above it at $2, 150 seconds cost 100 x $3 + 50 x $2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Self

from scalar.billing.pricing import brackets
from scalar.billing.pricing.brackets import Bracket


@dataclass(frozen=True, kw_only=True)
class Graduated:
    brackets: tuple[Bracket, ...]

    kind: ClassVar[str] = "graduated"
    depends_on_quantity: ClassVar[bool] = True
    depends_on_the_total: ClassVar[bool] = False

    @classmethod
    def of(cls, rows: Iterable[Bracket]) -> Self:
        """Raises: `ValueError` where they are no brackets."""
        return cls(brackets=brackets.checked(rows))

    def charge(
        self,
        before: Decimal,
        seconds: Decimal,
        *,
        month: Decimal = Decimal(0),  # noqa: ARG002 - every model is asked the same
        market: Decimal | None = None,  # noqa: ARG002
    ) -> Decimal:
        pieces = brackets.split(self.brackets, before, seconds)
        return sum((part * price for part, price in pieces), Decimal(0))

    def reprices(self, before: Decimal, after: Decimal) -> bool:  # noqa: ARG002
        return False

    def at_most(self, seconds: Decimal) -> Decimal:
        return seconds * brackets.dearest(self.brackets)

    def discounted(self, percent: Decimal) -> Self:
        return type(self)(brackets=brackets.cheaper(self.brackets, percent))

    def to_json(self) -> dict[str, Any]:
        return {"model": self.kind, "brackets": brackets.to_json(self.brackets)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(brackets=brackets.from_json(data["brackets"]))
