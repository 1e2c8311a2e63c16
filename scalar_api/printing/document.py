"""What stands on a printed invoice, whatever it is printed as: texts and numbers, in their order. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from scalar.billing.credit_notes import CreditNote, Difference
from scalar.billing.invoice_model import Invoice, InvoiceLine, InvoiceState, LineKind
from scalar.billing.invoice_settings import InvoiceSettings

_TOTALS = {LineKind.TAX, LineKind.TO_WALLET, LineKind.CARRIED_IN}


@dataclass(frozen=True, kw_only=True)
class Row:
    what: str
    detail: str
    """Smaller, under it."""
    seconds: str
    price: str
    amount: str
    credit: bool = False


@dataclass(frozen=True, kw_only=True)
class Note:
    """A credit note."""

    title: str
    reason: str
    where: str
    """What became of the amount."""
    rows: tuple[tuple[str, str, str, str], ...]
    """(line, as it was, as it should have been, the difference)."""
    total: str


@dataclass(frozen=True, kw_only=True)
class Document:
    title: str
    stamp: str
    """Its state, as a stamp would say it; empty where it is simply open."""
    issuer: str
    issuer_lines: tuple[str, ...]
    bill_to: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    totals: tuple[tuple[str, str], ...]
    due: tuple[str, str]
    notes: tuple[Note, ...]
    printed_for: datetime
    """When what it says came about: the same invoice is the same document."""


def document(
    invoice: Invoice, lines: Sequence[InvoiceLine], notes: Sequence[CreditNote], settings: InvoiceSettings
) -> Document:
    return Document(
        title=f"Invoice {invoice.number}" if invoice.number else "Draft invoice",
        stamp=_STAMPS.get(invoice.state, ""),
        issuer=settings.issuer_name,
        issuer_lines=tuple(settings.issuer_lines),
        bill_to=_bill_to(invoice),
        facts=_facts(invoice),
        rows=tuple(_row(line, invoice) for line in lines if line.kind not in _TOTALS),
        totals=tuple(_totals(invoice, lines)),
        due=("Left to pay" if invoice.paid or invoice.credited else "Due", usd(invoice.outstanding)),
        notes=tuple(_note(each) for each in notes),
        printed_for=max([invoice.opened_at or invoice.built_at, *(each.created_at for each in notes)]),
    )


def usd(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}${Decimal(abs(cents)) / 100:,.2f}"


_STAMPS = {
    InvoiceState.DRAFT: "DRAFT",
    InvoiceState.PAID: "PAID",
    InvoiceState.VOID: "VOID",
    InvoiceState.UNCOLLECTIBLE: "WRITTEN OFF",
}


def _bill_to(invoice: Invoice) -> tuple[str, ...]:
    to = invoice.bill_to
    address = to.get("address") or {}
    lines = [str(to.get("name", "")), *(str(value) for value in address.values() if value)]
    place = ", ".join(str(to[name]) for name in ("region", "country") if to.get(name))
    tax = [f"Tax ID {to['tax_id']}"] if to.get("tax_id") else []
    return tuple(line for line in [*lines, place, *tax, str(to.get("email", ""))] if line)


def _facts(invoice: Invoice) -> tuple[tuple[str, str], ...]:
    return (
        ("Month", f"{invoice.month:%B %Y} (UTC)"),
        ("Date", f"{invoice.opened_at:%Y-%m-%d}" if invoice.opened_at else "not opened yet"),
        *([("Due by", f"{invoice.due_at:%Y-%m-%d}")] if invoice.due_at and invoice.due else []),
        *([("Paid", f"{invoice.paid_at:%Y-%m-%d}")] if invoice.paid_at else []),
        ("Reference", invoice.id),
    )


def _row(line: InvoiceLine, invoice: Invoice) -> Row:
    late = line.usage_month is not None and line.usage_month != invoice.month
    detail = [line.job_id or "", f"used in {line.usage_month:%B %Y}" if late and line.usage_month else ""]
    return Row(
        what=line.description,
        detail=", ".join(each for each in detail if each),
        seconds=_seconds(line.gpu_seconds),
        price=f"${line.unit_price:,.6f}".rstrip("0").ljust(5, "0") if line.unit_price is not None else "",
        amount=usd(line.cents),
        credit=line.cents < 0,
    )


def _totals(invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[tuple[str, str]]:
    rest = [(line.description, usd(line.cents)) for line in lines if line.kind in _TOTALS]
    found = [("Subtotal", usd(invoice.subtotal)), *rest, ("Total", usd(invoice.total))]
    for name, cents in (
        ("Paid from credit", invoice.from_credit),
        ("Carried forward to the next invoice", invoice.carried_out),
        ("Credit notes", invoice.credited),
        ("Paid", invoice.paid),
    ):
        if cents:
            found.append((name, usd(-cents)))
    return found


def _note(note: CreditNote) -> Note:
    where = [f"{usd(note.off_due)} off what was due"] if note.off_due else []
    where += [f"{usd(note.to_wallet)} to your wallet"] if note.to_wallet else []
    return Note(
        title=f"Credit note {note.number}, {note.created_at:%Y-%m-%d}",
        reason=note.reason,
        where=f"{' and '.join(where)}.",
        rows=tuple(_compared(each) for each in note.differences),
        total=usd(-note.total),
    )


def _compared(each: Difference) -> tuple[str, str, str, str]:
    def side(seconds: Decimal | None, cents: int) -> str:
        return f"{_seconds(seconds)} s, {usd(cents)}" if seconds is not None else usd(cents)

    return (
        each.description,
        side(each.seconds_before, each.cents_before),
        side(each.seconds_after, each.cents_after),
        usd(each.cents),
    )


def _seconds(seconds: Decimal | None) -> str:
    if seconds is None:
        return ""
    whole, _, part = f"{seconds:,.6f}".partition(".")
    part = part.rstrip("0")
    return f"{whole}.{part}" if part else whole
