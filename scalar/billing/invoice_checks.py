"""What must hold of a month's invoices before they are opened, and before its books are closed: where it doesn't."""

from datetime import date, datetime

from scalar.billing import invoice_sources as sources
from scalar.billing.months import end_of, start_of
from scalar.database import Transaction
from scalar.metering.store import unbuilt_hours


def before_opening(tx: Transaction, month: date, *, organisation_id: str | None = None) -> list[str]:
    """Why the drafts of a month (of one organisation, or of all) can't be opened, in words; empty: they can."""
    hours = unrated_hours(tx, month)
    return [
        *([f"{len(hours)} hour(s) are not rated, the first {hours[0]:%Y-%m-%d %H:%M}"] if hours else []),
        *lines_on_no_invoice(tx, month, organisation_id=organisation_id),
        *invoices_that_do_not_add_up(tx, month, organisation_id=organisation_id),
        *invoices_below_zero(tx, month, organisation_id=organisation_id),
        *unbilled_that_differs(tx, month, organisation_id=organisation_id),
    ]


def unrated_hours(tx: Transaction, month: date) -> list[datetime]:
    """Hours in which something was used that aren't metered, or not rated as they were metered last."""
    rows = tx.execute(
        """select m.hour from metered_hours m left join rated_hours r on r.hour = m.hour
           where m.hour >= %(start)s and m.hour < %(end)s
             and (r.hour is null or r.built_at is distinct from m.built_at)""",
        {"start": start_of(month), "end": end_of(month)},
    )
    unmetered = unbuilt_hours(tx, since=start_of(month), until=end_of(month))
    return sorted({*(row["hour"] for row in rows), *unmetered})


def lines_on_no_invoice(tx: Transaction, month: date, *, organisation_id: str | None = None) -> list[str]:
    """Rated lines that belong on an invoice of this month. (That none is on two, Postgres sees to.)"""
    which = None if organisation_id is None else [organisation_id]
    found = sources.organisations_with_lines(tx, month, which)
    return [f"{each}: rated lines that are on no invoice" for each in found]


def invoices_that_do_not_add_up(tx: Transaction, month: date, *, organisation_id: str | None = None) -> list[str]:
    """Lines against totals, and against the rated lines that they were made of, to the micro-dollar."""
    rows = tx.execute(
        """with printed as (
               select l.invoice_id, sum(l.cents) as cents,
                   sum(l.cents) filter (where l.kind not in ('tax', 'to_wallet', 'carried_in')) as subtotal,
                   sum(l.micros) filter (where l.kind not in ('tax', 'to_wallet', 'carried_in')) as micros,
                   sum(l.micros) filter (where l.kind in ('usage', 'credit')) as rated
               from invoice_lines l join invoices i on i.id = l.invoice_id
               where i.month = %(month)s and (%(only)s::text is null or i.organisation_id = %(only)s) group by 1),
           rated as (
               select x.invoice_id, sum(r.amount) as amount
               from invoiced_lines x join rated_lines r on r.id = x.rated_line_id
                   join invoices i on i.id = x.invoice_id
               where i.month = %(month)s and (%(only)s::text is null or i.organisation_id = %(only)s) group by 1)
           select i.id, i.number, i.total, i.subtotal, i.subtotal_micros, coalesce(p.cents, 0) as cents,
               coalesce(p.subtotal, 0) as printed, coalesce(p.micros, 0) as micros, coalesce(p.rated, 0) as rated,
               coalesce(r.amount, 0) as amount
           from invoices i left join printed p on p.invoice_id = i.id left join rated r on r.invoice_id = i.id
           where i.month = %(month)s and (%(only)s::text is null or i.organisation_id = %(only)s)
             and (i.total <> coalesce(p.cents, 0) or i.subtotal <> coalesce(p.subtotal, 0)
               or i.subtotal_micros <> coalesce(p.micros, 0)
               or (i.state <> 'void' and coalesce(p.rated, 0) <> coalesce(r.amount, 0))) order by i.id""",
        {"month": month, "only": organisation_id},
    )
    return [
        f"{row['number'] or row['id']}: lines {row['cents']}, total {row['total']}; lines {row['printed']} "
        f"({row['micros']}), subtotal {row['subtotal']} ({row['subtotal_micros']}); "
        f"usage {row['rated']}, rated {row['amount']}"
        for row in rows
    ]


def invoices_below_zero(tx: Transaction, month: date, *, organisation_id: str | None = None) -> list[str]:
    """Nobody is charged less than nothing, nor a line of this month's usage."""
    rows = tx.execute(
        """select coalesce(i.number, i.id) as name, l.position, l.cents from invoices i join invoice_lines l
               on l.invoice_id = i.id
           where i.month = %(month)s and (%(only)s::text is null or i.organisation_id = %(only)s)
             and l.kind = 'usage' and l.usage_month = i.month and l.micros < 0
           union all
           select coalesce(number, id), 0, least(total, due, from_credit, carried_out) from invoices
           where month = %(month)s and (%(only)s::text is null or organisation_id = %(only)s)
             and least(total, due, from_credit, carried_out) < 0 order by 1, 2""",
        {"month": month, "only": organisation_id},
    )
    return [f"{row['name']}, line {row['position']}: {row['cents']} cents" for row in rows]


def unbilled_that_differs(tx: Transaction, month: date, *, organisation_id: str | None = None) -> list[str]:
    """Customers of the month of whom the ledger has another amount unbilled than is on no open invoice."""
    rows = tx.execute(
        """with customers as (
               select distinct organisation_id as org from invoices
               where month = %(month)s and (%(only)s::text is null or organisation_id = %(only)s)),
           lines as (
               select r.organisation_id as org, sum(r.amount) as amount
               from rated_lines r join customers c on c.org = r.organisation_id
                   left join invoiced_lines x on x.rated_line_id = r.id left join invoices i on i.id = x.invoice_id
               where x.invoice_id is null or i.state = 'draft' group by 1),
           drawn as (
               select organisation_id as org, sum(amount) as amount from credit_draws group by 1),
           applied as (
               select organisation_id as org, sum(credit_applied_micros) as amount from invoices
               where state not in ('draft', 'void') group by 1)
           select c.org, coalesce(b.amount, 0) as books,
               coalesce(l.amount, 0) - coalesce(d.amount, 0) + coalesce(a.amount, 0) as expected
           from customers c left join lines l using (org) left join drawn d using (org) left join applied a using (org)
               left join ledger_balances b on b.account = 'unbilled:' || c.org
           where coalesce(b.amount, 0) <> coalesce(l.amount, 0) - coalesce(d.amount, 0) + coalesce(a.amount, 0)
           order by c.org""",
        {"month": month, "only": organisation_id},
    )
    return [f"{row['org']}: the ledger has {row['books']} unbilled, {row['expected']} is on no invoice" for row in rows]


def receivables_that_differ(tx: Transaction) -> list[str]:
    """Customers of whom the ledger has another amount owed than is left on their open invoices, or was carried out."""
    rows = tx.execute(
        """with owed as (
               select organisation_id as org, sum(
                   case when state = 'open' then due - paid - credited else 0 end
                   + case when carried_out > 0 and carried_into is null and state <> 'draft' then carried_out else 0 end
                   ) * 10000 as amount
               from invoices where state <> 'void' group by 1)
           select coalesce(o.org, a.organisation_id) as org, coalesce(b.amount, 0) as books,
               coalesce(o.amount, 0) as owed
           from owed o full join ledger_accounts a on a.name = 'receivable:' || o.org
               left join ledger_balances b on b.account = a.name
           where (a.name is null or a.name like 'receivable:%%') and coalesce(b.amount, 0) <> coalesce(o.amount, 0)
           order by 1"""
    )
    return [f"{row['org']}: the ledger has {row['books']} owed, invoices {row['owed']}" for row in rows]
