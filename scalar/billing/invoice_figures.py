"""What finance looks at: who pays most, and who hasn't paid. SQL; cents."""

from dataclasses import dataclass
from datetime import date, datetime

from scalar.billing.invoice_model import InvoiceState
from scalar.database import Transaction


@dataclass(frozen=True, kw_only=True)
class CustomerOfMonth:
    organisation_id: str
    name: str
    number: str | None
    state: InvoiceState
    total: int
    """Without what was carried in."""
    from_credit: int
    outstanding: int


def customers_of(tx: Transaction, month: date, *, limit: int = 20) -> list[CustomerOfMonth]:
    """Those with the largest invoices of a month first; drafts count, void ones don't."""
    rows = tx.execute(
        """select i.organisation_id, o.name, i.number, i.state, i.total - i.carried_in as total, i.from_credit,
               i.due - i.paid - i.credited as outstanding
           from invoices i join organisations o on o.id = i.organisation_id
           where i.month = %s and i.state <> 'void' order by total desc, i.organisation_id limit %s""",
        [month, limit],
    )
    return [CustomerOfMonth(**{**row, "state": InvoiceState(row["state"])}) for row in rows]


@dataclass(frozen=True, kw_only=True)
class Unpaid:
    number: str
    organisation_id: str
    name: str
    month: date
    due_at: datetime
    outstanding: int


def unpaid(tx: Transaction, *, limit: int = 100) -> list[Unpaid]:
    """Of every month, what is due longest first."""
    rows = tx.execute(
        """select i.number, i.organisation_id, o.name, i.month, i.due_at, i.due - i.paid - i.credited as outstanding
           from invoices i join organisations o on o.id = i.organisation_id
           where i.state = 'open' order by i.due_at, i.id limit %s""",
        [limit],
    )
    return [Unpaid(**row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class MonthTotals:
    """Of a month's invoices, by what became of them."""

    states: dict[InvoiceState, int]
    """How many there are."""
    total: int
    due: int
    outstanding: int


def totals_of(tx: Transaction, month: date) -> MonthTotals:
    """Void ones count as such, and their amounts don't."""
    rows = tx.execute(
        """select state, count(*) as invoices, sum(total - carried_in)::bigint as total, sum(due)::bigint as due,
               sum(due - paid - credited)::bigint as outstanding
           from invoices where month = %s group by state""",
        [month],
    ).fetchall()
    standing = [row for row in rows if row["state"] != InvoiceState.VOID]
    return MonthTotals(
        states={InvoiceState(row["state"]): row["invoices"] for row in rows},
        total=sum(row["total"] for row in standing),
        due=sum(row["due"] for row in standing),
        outstanding=sum(row["outstanding"] for row in standing if row["state"] == InvoiceState.OPEN),
    )
