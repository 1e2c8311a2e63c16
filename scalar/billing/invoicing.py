"""How an invoice is worked out: values in, values out. Pure.

    charges ─► the best coupon ─► what is missing to the commitment ═ subtotal ─► tax ─► (credits over: to the wallet)
            ─► carried in ═ total ─► paid from credit ─► (too little: carried out) ═ due

The charges, coupons and the commitment are exact in micro-dollars. They become cents once, on the sum so far: each
line's cents are within one of its own micro-dollars, and together they are the cents of the whole. Tax is worked out on
those cents, as anybody would who checks it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from scalar.billing.coupons import Coupon, best, taken_off
from scalar.billing.invoice_model import MINIMUM_DUE, Charge, InvoiceDraft, InvoiceLine, LineKind
from scalar.billing.money import cents
from scalar.billing.tax import TaxRate, tax_on

_KINDS = list(LineKind)
_MICRO_DOLLAR = Decimal("0.000001")


def build(
    organisation_id: str,
    month: date,
    *,
    charges: Sequence[Charge] = (),
    coupons: Sequence[Coupon] = (),
    commitment: int = 0,
    shortfalls_billed: Mapping[date, int] | None = None,
    credit: int = 0,
    carried_in: int = 0,
    tax_rate: TaxRate | None = None,
) -> InvoiceDraft:
    """The invoice of one organisation for one month; the same inputs, in whatever order, are the same invoice.

    `commitment`: micro-dollars that the month is to bring at least, counted on usage before credits and coupons: a
    credit for our fault is not eaten up by it. What came late counts for its own month: `shortfalls_billed` has, by
    month, what earlier invoices asked for because it was missing then.
    `credit`: micro-dollars drawn from wallet and grants that no earlier invoice has shown: it pays for what was used
    first, first. `carried_in`: cents.
    """
    ordered = sorted(charges, key=_order)
    lines = [
        *map(_charge_line, ordered),
        *_coupon_line(ordered, coupons),
        *_late_commitment_lines(month, ordered, shortfalls_billed or {}),
        *_commitment_line(month, ordered, commitment),
    ]
    lines = rounded(lines)
    lines += _tax_line(sum(line.cents for line in lines), tax_rate)
    lines += _to_wallet_line(sum(line.cents for line in lines))
    lines += _carried_in_line(carried_in)
    draft = InvoiceDraft(
        organisation_id=organisation_id,
        month=month,
        lines=tuple(replace(line, position=number) for number, line in enumerate(lines, start=1)),
        tax_rate=tax_rate,
    )
    return paid_from_credit(draft, credit)


def paid_from_credit(draft: InvoiceDraft, credit: int) -> InvoiceDraft:
    """With so many micro-dollars of drawn credit to pay from; what is then due, and too little, is carried out."""
    exact, charged = max(draft.charged_micros, 0), max(draft.charged, 0)
    applied = min(credit, exact)
    from_credit = charged if applied == exact else min(cents(applied), charged)
    due = draft.total - from_credit
    return replace(draft, credit_applied=applied, from_credit=from_credit, carried_out=due if due < MINIMUM_DUE else 0)


def rounded(lines: Iterable[InvoiceLine]) -> list[InvoiceLine]:
    """Each line's cents: what it adds to the cents of the sum so far. They add up to the cents of the whole."""
    so_far, given, done = 0, 0, []
    for line in lines:
        so_far += line.micros
        upto = cents(so_far)
        done.append(replace(line, cents=upto - given))
        given = upto
    return done


def commitment_of(minimums: Iterable[tuple[int, Fraction]]) -> int:
    """Micro-dollars a month asks for at least: each card's minimum, by the part of the month that it was in force."""
    return round(sum((minimum * part for minimum, part in minimums), Fraction(0)))


def _order(charge: Charge) -> tuple[date, str, str, str, int]:
    return (charge.month, charge.job_id, charge.tier, charge.gpu_type, _KINDS.index(charge.kind))


def _charge_line(charge: Charge) -> InvoiceLine:
    what = f"{charge.job_name}: {charge.gpu_type}, {charge.tier}"
    if charge.kind is LineKind.CREDIT:
        what = f"Credit, time lost by the platform: {what}"
    elif charge.kind is LineKind.ALREADY_CREDITED:
        what = f"Given back by a credit note already: {what}"
    elif charge.free_seconds:
        what = f"{what} ({charge.free_seconds.normalize():f} s free)"
    hours = charge.gpu_seconds / 3600
    return InvoiceLine(
        position=0,
        kind=charge.kind,
        description=what,
        micros=charge.micros,
        cents=0,
        usage_month=charge.month,
        job_id=charge.job_id,
        tier=charge.tier,
        gpu_type=charge.gpu_type,
        gpu_seconds=charge.gpu_seconds,
        unit_price=abs(charge.exact / hours).quantize(_MICRO_DOLLAR) if hours else None,
    )


def _coupon_line(charges: Sequence[Charge], coupons: Sequence[Coupon]) -> list[InvoiceLine]:
    whole = sum(charge.micros for charge in charges)
    coupon = best(coupons, whole)
    if coupon is None or not (off := taken_off(coupon, whole)):
        return []
    percent = coupon.percent_off
    what = f"Coupon {coupon.code}" + (f", {percent.normalize():f} %" if percent is not None else "")
    line = InvoiceLine(position=0, kind=LineKind.COUPON, description=what, micros=-off, cents=0)
    return [replace(line, percent=percent, coupon_id=coupon.id)]


def _commitment_line(month: date, charges: Sequence[Charge], commitment: int) -> list[InvoiceLine]:
    used = _used_in(month, charges)
    if used >= commitment:
        return []
    what = f"Minimum commitment of {month:%B %Y}: what is missing to it"
    return [InvoiceLine(position=0, kind=LineKind.COMMITMENT, description=what, micros=commitment - used, cents=0)]


def _late_commitment_lines(
    month: date, charges: Sequence[Charge], shortfalls_billed: Mapping[date, int]
) -> list[InvoiceLine]:
    """What came late was paid for already, as far as its month's commitment was billed without it."""
    taken_back = {
        each: min(billed, _used_in(each, charges))
        for each, billed in sorted(shortfalls_billed.items())
        if each != month
    }
    return [
        InvoiceLine(
            position=0,
            kind=LineKind.COMMITMENT,
            description=f"Minimum commitment of {each:%B %Y}: used after all, and paid for already",
            micros=-micros,
            cents=0,
            usage_month=each,
        )
        for each, micros in taken_back.items()
        if micros > 0
    ]


def _used_in(month: date, charges: Sequence[Charge]) -> int:
    return sum(charge.micros for charge in charges if charge.kind is LineKind.USAGE and charge.month == month)


def _tax_line(subtotal: int, rate: TaxRate | None) -> list[InvoiceLine]:
    if rate is None or not (tax := tax_on(subtotal, rate.percent)):
        return []
    what = f"{rate.name}, {rate.percent.normalize():f} %"
    return [_in_cents(LineKind.TAX, what, tax, percent=rate.percent)]


def _to_wallet_line(so_far: int) -> list[InvoiceLine]:
    return [_in_cents(LineKind.TO_WALLET, "Credited to your wallet", -so_far)] if so_far < 0 else []


def _carried_in_line(carried_in: int) -> list[InvoiceLine]:
    return [_in_cents(LineKind.CARRIED_IN, "Carried forward from earlier invoices", carried_in)] if carried_in else []


def _in_cents(kind: LineKind, what: str, amount: int, *, percent: Decimal | None = None) -> InvoiceLine:
    return InvoiceLine(position=0, kind=kind, description=what, micros=amount * 10_000, cents=amount, percent=percent)
