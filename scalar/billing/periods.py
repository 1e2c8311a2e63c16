"""Closing a month: when it may be, and that it takes nothing more. Reopening is written down."""

from dataclasses import dataclass
from datetime import date, datetime

from scalar.accounts.store import audit
from scalar.billing import invoice_checks as checks
from scalar.billing import invoice_store as store
from scalar.billing import ledger_store, month_ties
from scalar.billing.ledger_store import OffBalance
from scalar.billing.months import end_of
from scalar.database import Transaction
from scalar.errors import Conflict, NotFound


def close(tx: Transaction, month: date, *, actor: str, now: datetime) -> bool:
    """The month's books take nothing more; False where they were closed already.

    Raises: `Conflict` with all that stands in the way.
    """
    store.lock_invoices(tx)
    if month in ledger_store.closed_periods(tx):
        return False
    reasons = in_the_way(tx, month, now)
    if reasons:
        raise Conflict(f"{month:%Y-%m} can't be closed: {'; '.join(reasons[:5])}.", reasons=reasons)
    closed = ledger_store.close_period(tx, month, actor=actor, now=now)
    audit(tx, actor, "period.close", f"{month:%Y-%m}")
    return closed


def reopen(tx: Transaction, month: date, *, actor: str, reason: str) -> None:
    """Raises: `NotFound` where it is not closed."""
    if not ledger_store.reopen_period(tx, month):
        raise NotFound(f"{month:%Y-%m} is not closed.")
    audit(tx, actor, "period.reopen", f"{month:%Y-%m}", reason=reason)


def rebuild_balances(tx: Transaction, *, actor: str) -> list[OffBalance]:
    """Throw the ledger's balances away and add them up anew from its entries; those that were something else."""
    off = ledger_store.off_balances(tx)
    ledger_store.rebuild(tx)
    changed = {each.account: {"was": each.balance, "is": each.entries} for each in off}
    audit(tx, actor, "ledger.rebuild_balances", "ledger", changed=changed)
    return off


def in_the_way(tx: Transaction, month: date, now: datetime) -> list[str]:
    """Why a month can't be closed, in words; empty: it can."""
    if now < end_of(month):
        return ["it is not over"]
    drafts = store.drafts(tx, month)
    return [
        *([f"{len(drafts)} draft(s) are left"] if drafts else []),
        *checks.before_opening(tx, month),
        *checks.receivables_that_differ(tx),
        *month_ties.off(tx, month),
    ]


@dataclass(frozen=True, kw_only=True)
class Period:
    """A month of the books, with its invoices; cents, but revenue, which is micro-dollars."""

    month: date
    closed_at: datetime | None
    closed_by: str | None
    revenue: int
    """Earned in it, whoever was invoiced for it when."""
    invoices: int
    drafts: int
    invoiced: int
    """On invoices of the month that aren't drafts or void; what was carried in counts where it was first."""
    credited: int
    """By credit notes to them."""
    unpaid: int


def period(tx: Transaction, month: date) -> Period:
    """One with nothing in it has nothing but zeros."""
    found = periods(tx, limit=1, only=month)
    nothing = {"revenue": 0, "invoices": 0, "drafts": 0, "invoiced": 0, "credited": 0, "unpaid": 0}
    return found[0] if found else Period(month=month, closed_at=None, closed_by=None, **nothing)


def periods(tx: Transaction, *, limit: int = 24, only: date | None = None) -> list[Period]:
    """Newest first: months with something in their books, or an invoice."""
    rows = tx.execute(
        """with earned as (
               select date_trunc('month', t.at at time zone 'UTC')::date as month, sum(-e.amount)::bigint as amount
               from ledger_entries e join ledger_transactions t on t.id = e.transaction_id
               where e.account = 'revenue' group by 1),
           billed as (
               select month, count(*) filter (where state <> 'draft') as invoices,
                   count(*) filter (where state = 'draft') as drafts,
                   sum(total - carried_in) filter (where state not in ('draft', 'void')) as invoiced,
                   sum(due - paid - credited) filter (where state = 'open') as unpaid
               from invoices group by 1),
           given as (
               select i.month, sum(n.total) as credited from credit_notes n join invoices i on i.id = n.invoice_id
               group by 1)
           select month, c.closed_at, c.closed_by, coalesce(e.amount, 0)::bigint as revenue,
               coalesce(b.invoices, 0) as invoices, coalesce(b.drafts, 0) as drafts,
               coalesce(b.invoiced, 0)::bigint as invoiced, coalesce(g.credited, 0)::bigint as credited,
               coalesce(b.unpaid, 0)::bigint as unpaid
           from earned e full join billed b using (month) full join given g using (month)
               full join closed_periods c using (month)
           where %(only)s::date is null or month = %(only)s
           order by month desc limit %(limit)s""",
        {"only": only, "limit": limit},
    )
    return [Period(**row) for row in rows]
