"""SQL of invoices and their lines: one statement a function."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.errors import CheckViolation
from psycopg.types.json import Jsonb

from scalar.billing.invoice_model import Invoice, InvoiceDraft, InvoiceLine, InvoiceState, LineKind
from scalar.billing.ledger import Account, Entry, Kind
from scalar.database import Transaction, one
from scalar.errors import IllegalMove
from scalar.ids import new_id

_INVOICE = """id, number, organisation_id, month, state, bill_to, tax_name, tax_percent, subtotal_micros, subtotal,
    tax, to_wallet, carried_in, total, credit_applied_micros as credit_applied, from_credit, carried_out, due, paid,
    credited, built_at, opened_at, due_at, paid_at, ended_at, stripe_invoice_id, carried_into"""
_LINE = [each.name for each in fields(InvoiceLine)]


def lock_invoices(tx: Transaction) -> None:
    """Nobody else drafts, opens or moves one until this transaction ends; who only reads doesn't wait."""
    tx.execute("lock table invoices in share row exclusive mode")


def invoice(tx: Transaction, invoice_id: str, *, for_update: bool = False) -> Invoice | None:
    """By its id or its number. With `for_update`, nobody else changes it until this transaction ends."""
    if for_update:
        tx.execute("lock table invoices in row exclusive mode")
    lock = "for no key update" if for_update else ""
    row = tx.execute(
        f"select {_INVOICE} from invoices where id = %(id)s or number = %(id)s {lock}", {"id": invoice_id}
    ).fetchone()
    return _invoice(row) if row else None


@dataclass(frozen=True, kw_only=True)
class InvoiceFilter:
    """None: any. `before`: an invoice's id, of which those after it in the list are wanted."""

    organisation_id: str | None = None
    states: Sequence[InvoiceState] = ()
    month: date | None = None
    before: str | None = None
    limit: int = 50


def invoices(tx: Transaction, which: InvoiceFilter) -> list[Invoice]:
    """Newest first."""
    rows = tx.execute(
        f"""select {_INVOICE} from invoices
            where (%(org)s::text is null or organisation_id = %(org)s)
              and (%(states)s::text[] is null or state = any(%(states)s))
              and (%(month)s::date is null or month = %(month)s)
              and (%(before)s::text is null or id < %(before)s)
            order by id desc limit %(limit)s""",
        {
            "org": which.organisation_id,
            "states": [str(state) for state in which.states] or None,
            "month": which.month,
            "before": which.before,
            "limit": which.limit,
        },
    )
    return [_invoice(row) for row in rows]


def drafts(tx: Transaction, month: date, organisation_id: str | None = None) -> dict[str, str]:
    """Ids of a month's drafts, by organisation."""
    rows = tx.execute(
        """select organisation_id, id from invoices where month = %(month)s and state = 'draft'
             and (%(org)s::text is null or organisation_id = %(org)s) order by organisation_id""",
        {"month": month, "org": organisation_id},
    )
    return {row["organisation_id"]: row["id"] for row in rows}


def drafts_of(tx: Transaction, month: date) -> list[Invoice]:
    """All that a month has."""
    rows = tx.execute(
        f"select {_INVOICE} from invoices where month = %s and state = 'draft' order by organisation_id", [month]
    )
    return [_invoice(row) for row in rows]


def insert_drafts(tx: Transaction, month: date, organisations: Sequence[str], now: datetime) -> None:
    """For those that have no invoice of that month."""
    tx.execute(
        """insert into invoices (id, organisation_id, month, built_at)
           select id, org, %s, %s from unnest(%s::text[], %s::text[]) as new (id, org)
           on conflict (organisation_id, month) where state <> 'void' do nothing""",
        [month, now, [new_id("inv") for _ in organisations], list(organisations)],
    )


def replace_lines(tx: Transaction, lines: dict[str, Sequence[InvoiceLine]]) -> None:
    """Each of these drafts has these lines, and no others."""
    tx.execute("delete from invoice_lines where invoice_id = any(%s)", [list(lines)])
    with tx.cursor().copy(f"copy invoice_lines (invoice_id, {', '.join(_LINE)}) from stdin") as copy:
        for invoice_id, each in lines.items():
            for line in each:
                copy.write_row([invoice_id, *(getattr(line, name) for name in _LINE)])


def set_totals(tx: Transaction, drafts: Iterable[tuple[str, InvoiceDraft, dict[str, Any]]], now: datetime) -> None:
    """(id, what it came to, whom it goes to) of each draft."""
    tx.cursor().executemany(
        """update invoices set bill_to = %(bill_to)s, tax_name = %(tax_name)s, tax_percent = %(tax_percent)s,
               subtotal_micros = %(subtotal_micros)s, subtotal = %(subtotal)s, tax = %(tax)s, to_wallet = %(to_wallet)s,
               carried_in = %(carried_in)s, total = %(total)s, credit_applied_micros = %(credit_applied)s,
               from_credit = %(from_credit)s, carried_out = %(carried_out)s, due = %(due)s, built_at = %(now)s
           where id = %(id)s""",
        [{"id": each, "bill_to": Jsonb(to), "now": now, **_totals(draft)} for each, draft, to in drafts],
    )


def delete_empty(tx: Transaction, invoices: Sequence[str]) -> set[str]:
    """Drop those drafts that no rated line is on; the ids of them."""
    rows = tx.execute(
        """delete from invoices where id = any(%s)
             and not exists (select from invoiced_lines x where x.invoice_id = invoices.id) returning id""",
        [list(invoices)],
    )
    return {row["id"] for row in rows}


def lines(tx: Transaction, invoice_id: str) -> list[InvoiceLine]:
    return lines_of(tx, [invoice_id])[invoice_id]


def lines_of(tx: Transaction, invoices: Sequence[str]) -> dict[str, list[InvoiceLine]]:
    """Of each, in order."""
    rows = tx.execute(
        f"""select invoice_id, {", ".join(_LINE)} from invoice_lines
            where invoice_id = any(%s) order by invoice_id, position""",
        [list(invoices)],
    )
    found: dict[str, list[InvoiceLine]] = {each: [] for each in invoices}
    for row in rows:
        found[row.pop("invoice_id")].append(InvoiceLine(**{**row, "kind": LineKind(row["kind"])}))
    return found


def next_number(tx: Transaction, series: str, year: int) -> str:
    """INV-2026-0001, and so on without a gap: whoever comes next waits until this transaction has ended."""
    row = one(
        tx,
        """insert into document_numbers as n (series, year, last) values (%s, %s, 1)
           on conflict (series, year) do update set last = n.last + 1 returning last""",
        [series, year],
    )
    return f"{series}-{year}-{row['last']:04d}"


def open_draft(tx: Transaction, invoice_id: str, number: str, *, now: datetime, due_in: timedelta) -> None:
    """Raises: `IllegalMove`."""
    _move(
        tx,
        invoice_id,
        InvoiceState.OPEN,
        "number = %(number)s, opened_at = %(now)s, due_at = %(due_at)s",
        {"number": number, "now": now, "due_at": now + due_in},
    )


def move(tx: Transaction, invoice_id: str, state: InvoiceState, now: datetime) -> None:
    """Of an open one. Raises: `IllegalMove`."""
    paid, ended = state is InvoiceState.PAID, state in {InvoiceState.VOID, InvoiceState.UNCOLLECTIBLE}
    _move(
        tx,
        invoice_id,
        state,
        "paid_at = %(paid_at)s, ended_at = %(ended_at)s",
        {"paid_at": now if paid else None, "ended_at": now if ended else None},
    )


def add_paid(tx: Transaction, invoice_id: str, cents: int) -> None:
    tx.execute("update invoices set paid = paid + %s where id = %s", [cents, invoice_id])


def take_back(tx: Transaction, invoice_id: str, cents: int) -> None:
    """Not paid any more: open again, if it was."""
    tx.execute(
        """update invoices set paid = paid - %s, state = case when state = 'paid' then 'open' else state end,
               paid_at = null where id = %s""",
        [cents, invoice_id],
    )


def add_credited(tx: Transaction, invoice_id: str, cents: int) -> None:
    tx.execute("update invoices set credited = credited + %s where id = %s", [cents, invoice_id])


def insert_payment(tx: Transaction, source: str, invoice_id: str, cents: int, at: datetime) -> bool:
    """False where this source was noted before."""
    inserted = tx.execute(
        """insert into invoice_payments (source, invoice_id, cents, at) values (%s, %s, %s, %s)
           on conflict do nothing""",
        [source, invoice_id, cents, at],
    )
    return inserted.rowcount == 1


def set_stripe_invoice(tx: Transaction, invoice_id: str, stripe_invoice_id: str) -> None:
    tx.execute("update invoices set stripe_invoice_id = %s where id = %s", [stripe_invoice_id, invoice_id])


def take_carried(tx: Transaction, organisation_id: str, invoice_id: str) -> None:
    """What was carried out of earlier invoices is on this one."""
    tx.execute(
        """update invoices set carried_into = %s
           where organisation_id = %s and state = 'paid' and carried_out > 0 and carried_into is null""",
        [invoice_id, organisation_id],
    )


def give_carried_back(tx: Transaction, invoice_id: str) -> None:
    tx.execute("update invoices set carried_into = null where carried_into = %s", [invoice_id])


def free_lines(tx: Transaction, invoice_id: str) -> None:
    """The rated lines of a void invoice are on none."""
    tx.execute("delete from invoiced_lines where invoice_id = %s", [invoice_id])


def posted(tx: Transaction, sources: Sequence[str]) -> list[Entry]:
    """What the ledger has of these."""
    rows = tx.execute(
        """select a.name, a.kind, a.organisation_id, e.amount from ledger_entries e
               join ledger_transactions t on t.id = e.transaction_id join ledger_accounts a on a.name = e.account
           where t.source = any(%s) order by e.id""",
        [list(sources)],
    )
    return [Entry(amount=row.pop("amount"), account=Account(**{**row, "kind": Kind(row["kind"])})) for row in rows]


def _move(tx: Transaction, invoice_id: str, state: InvoiceState, changes: str, values: dict[str, Any]) -> None:
    try:
        tx.execute(
            f"update invoices set state = %(state)s, {changes} where id = %(id)s",
            {"id": invoice_id, "state": state, **values},
        )
    except CheckViolation as error:
        if error.diag.constraint_name != "invoices_legal_move":
            raise
        raise IllegalMove(f"{invoice_id} can't become {state}.") from error


def _totals(draft: InvoiceDraft) -> dict[str, Any]:
    rate = draft.tax_rate
    return {
        "tax_name": rate.name if rate else None,
        "tax_percent": rate.percent if rate else None,
        "subtotal_micros": draft.subtotal_micros,
        "subtotal": draft.subtotal,
        "tax": draft.cents(LineKind.TAX),
        "to_wallet": draft.cents(LineKind.TO_WALLET),
        "carried_in": draft.cents(LineKind.CARRIED_IN),
        "total": draft.total,
        "credit_applied": draft.credit_applied,
        "from_credit": draft.from_credit,
        "carried_out": draft.carried_out,
        "due": draft.due,
    }


def _invoice(row: dict[str, Any]) -> Invoice:
    return Invoice(**{**row, "state": InvoiceState(row["state"])})
