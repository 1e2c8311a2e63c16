"""Corrections of an invoice that is open: how each line was, how it should have been, and the difference. Pure.

An invoice is never edited. Who corrects lines says what they should have been; a coupon that took off a part of them,
and the tax, follow by themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from scalar.billing.invoice_model import OF_JOBS, SUBTOTAL_KINDS, InvoiceLine, LineKind
from scalar.billing.tax import tax_on
from scalar.errors import InvalidRequest

_MICROSECOND = Decimal("0.000001")

CORRECTABLE = frozenset({LineKind.USAGE, LineKind.COMMITMENT})


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a line should have been: so many GPU-seconds, at the price that they had, or so many cents."""

    position: int
    gpu_seconds: Decimal | None = None
    cents: int | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One line of a credit note."""

    position: int
    description: str
    seconds_before: Decimal | None
    seconds_after: Decimal | None
    cents_before: int
    cents_after: int

    @property
    def cents(self) -> int:
        """Below zero: it is given back. A coupon's may be above."""
        return self.cents_after - self.cents_before


@dataclass(frozen=True, kw_only=True)
class CreditNoteDraft:
    """Cents, above zero: what is given back."""

    differences: tuple[Difference, ...]
    subtotal: int
    tax: int

    @property
    def total(self) -> int:
        return self.subtotal + self.tax


@dataclass(frozen=True, kw_only=True)
class CreditNote:
    """As it is kept; cents."""

    id: str
    number: str
    invoice_id: str
    reason: str
    subtotal: int
    tax: int
    total: int
    off_due: int
    """Of what was still to be paid."""
    to_wallet: int
    created_at: datetime
    created_by: str
    differences: tuple[Difference, ...] = ()


def corrected(lines: Sequence[InvoiceLine], corrections: Sequence[Correction]) -> CreditNoteDraft:
    """What those corrections give back. `lines`: as they stand, earlier credit notes taken off.

    Raises: `InvalidRequest` where a line isn't there, can't be corrected or becomes more, or nothing is given back.
    """
    by_position = {line.position: line for line in lines}
    after = dict(by_position)
    for correction in corrections:
        line = by_position.get(correction.position)
        if line is None or line.kind not in CORRECTABLE:
            raise InvalidRequest(f"Line {correction.position} can't be corrected: only usage and a commitment can.")
        after[line.position] = _correct(line, correction)
    _recompute(by_position, after)
    return _note(by_position, after)


def as_they_stand(lines: Sequence[InvoiceLine], differences: Sequence[Difference]) -> list[InvoiceLine]:
    """An invoice's lines, with what earlier credit notes made of them, oldest first."""
    latest = {each.position: each for each in differences}
    return [
        replace(line, cents=latest[line.position].cents_after, gpu_seconds=latest[line.position].seconds_after)
        if line.position in latest
        else line
        for line in lines
    ]


def _correct(line: InvoiceLine, correction: Correction) -> InvoiceLine:
    if (correction.gpu_seconds is None) is (correction.cents is None):
        raise InvalidRequest(f"Line {line.position}: say one of gpu_seconds and amount.")
    cents, seconds = correction.cents, correction.gpu_seconds
    if seconds is not None:
        if not line.gpu_seconds or not 0 <= seconds <= line.gpu_seconds:
            raise InvalidRequest(
                f"Line {line.position} has {line.gpu_seconds or 0} GPU-seconds: it can only become less."
            )
        seconds = seconds.quantize(_MICROSECOND)
        cents = round(Fraction(line.cents) * Fraction(seconds) / Fraction(line.gpu_seconds))
    if cents is None or not 0 <= cents <= line.cents:
        raise InvalidRequest(f"Line {line.position} is {_dollars(line.cents)}: it can only become less, down to zero.")
    return replace(line, cents=cents, gpu_seconds=seconds if seconds is not None else line.gpu_seconds)


def _recompute(before: Mapping[int, InvoiceLine], after: dict[int, InvoiceLine]) -> None:
    """Coupons, by how much of what they were taken off is left; and the tax, on the new subtotal."""
    was, now = _charges(before.values()), max(_charges(after.values()), 0)
    for line in before.values():
        if line.kind is LineKind.COUPON:
            part = Fraction(now, was) if was > 0 else Fraction(1)
            cents = round(line.cents * part) if line.percent is not None else max(line.cents, -now)
            after[line.position] = replace(line, cents=cents)
    for line in before.values():
        if line.kind is LineKind.TAX:
            taxed = sum(each.cents for each in after.values() if each.kind in SUBTOTAL_KINDS)
            after[line.position] = replace(line, cents=tax_on(taxed, line.percent or Decimal(0)))


def _charges(lines: Iterable[InvoiceLine]) -> int:
    return sum(line.cents for line in lines if line.kind in OF_JOBS)


def _note(before: Mapping[int, InvoiceLine], after: Mapping[int, InvoiceLine]) -> CreditNoteDraft:
    differences = tuple(
        _difference(line, after[position]) for position, line in before.items() if after[position].cents != line.cents
    )
    tax_lines = {line.position for line in before.values() if line.kind is LineKind.TAX}
    note = CreditNoteDraft(
        differences=differences,
        subtotal=-sum(each.cents for each in differences if each.position not in tax_lines),
        tax=-sum(each.cents for each in differences if each.position in tax_lines),
    )
    if note.subtotal <= 0 or note.tax < 0:
        raise InvalidRequest("These corrections give nothing back.")
    left = sum(line.cents for line in after.values() if line.kind in SUBTOTAL_KINDS | {LineKind.TAX})
    if left < 0:
        raise InvalidRequest("These corrections give back more than the invoice charged.")
    return note


def _difference(before: InvoiceLine, after: InvoiceLine) -> Difference:
    return Difference(
        position=before.position,
        description=before.description,
        seconds_before=before.gpu_seconds,
        seconds_after=after.gpu_seconds,
        cents_before=before.cents,
        cents_after=after.cents,
    )


def _dollars(cents: int) -> str:
    return f"${Decimal(cents) / 100:,.2f}"
