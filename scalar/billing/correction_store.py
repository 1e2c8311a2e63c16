"""SQL of what earlier invoices and credit notes have made of a month that is billed again, in part, on a later one."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date

from scalar.billing.invoice_model import Charge, InvoiceLine, LineKind
from scalar.database import Transaction, columns

# Of a job, tier and GPU type in a month (`k`): rated, less what credit notes took off it, and what of that was taken
# back since. Micro-dollars; below zero: more was given back than it was charged.
_LEFT = """coalesce((
        select sum(l.amount) from rated_lines l
        where l.job_id = k.job_id and l.tier = k.tier and l.gpu_type = k.gpu_type
          and l.hour >= k.month::timestamp at time zone 'UTC'
          and l.hour < (k.month + interval '1 month') at time zone 'UTC'), 0)
    + coalesce((
        select sum(n.difference) * 10000 from credit_note_lines n
            join invoice_lines l on l.invoice_id = n.invoice_id and l.position = n.position
        where n.invoice_id in (select id from invoices i where i.organisation_id = k.organisation_id)
          and l.kind = 'usage' and l.job_id = k.job_id and l.tier = k.tier and l.gpu_type = k.gpu_type
          and l.usage_month = k.month), 0)
    + coalesce((
        select sum(l.micros) from invoices i join invoice_lines l on l.invoice_id = i.id
        where i.organisation_id = k.organisation_id and i.state not in ('draft', 'void')
          and l.kind = 'already_credited' and l.job_id = k.job_id and l.tier = k.tier and l.gpu_type = k.gpu_type
          and l.usage_month = k.month), 0)"""


def already_credited(tx: Transaction, invoices: Collection[str]) -> dict[str, list[Charge]]:
    """Of jobs that get something back on these drafts (what the platform lost, what was metered or rated too much), and
    that a credit note corrected before: so much is taken back that nobody gets more than was charged. By invoice.
    """
    rows = tx.execute(
        f"""with less as materialized (
                select x.invoice_id, l.organisation_id, date_trunc('month', l.hour at time zone 'UTC')::date as month,
                    l.job_id, l.tier, l.gpu_type, -sum(l.amount) as credited
                from invoiced_lines x join rated_lines l on l.id = x.rated_line_id
                where x.invoice_id = any(%s) group by 1, 2, 3, 4, 5, 6 having sum(l.amount) < 0)
            select k.invoice_id, k.month, k.job_id, coalesce(j.name, k.job_id) as job_name, k.tier, k.gpu_type,
                least(k.credited, -({_LEFT}))::bigint as micros
            from less k left join jobs j on j.id = k.job_id
            where exists (select from credit_notes n join invoices i on i.id = n.invoice_id
                          where i.organisation_id = k.organisation_id)""",
        [list(invoices)],
    )
    found: dict[str, list[Charge]] = defaultdict(list)
    for row in rows:
        if row["micros"] > 0:
            found[row.pop("invoice_id")].append(Charge(kind=LineKind.ALREADY_CREDITED, **row))
    return found


def left_of(tx: Transaction, organisation_id: str, lines: Sequence[InvoiceLine]) -> dict[int, int]:
    """Micro-dollars that these lines' jobs were charged for their month and have not got back; by position."""
    keys = [(line.position, line.job_id, line.tier, line.gpu_type, line.usage_month) for line in lines]
    if not keys:
        return {}
    rows = tx.execute(
        f"""select k.position, ({_LEFT})::bigint as micros from (
                select %s::text as organisation_id, e.*
                from unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::date[])
                    as e (position, job_id, tier, gpu_type, month)) k""",
        [organisation_id, *columns(keys)],
    )
    return {row["position"]: row["micros"] for row in rows}


def shortfalls_billed(tx: Transaction, organisations: Sequence[str]) -> dict[str, dict[date, int]]:
    """Micro-dollars that stand on invoices for what months lacked of their commitment, by organisation and month."""
    rows = tx.execute(
        """select i.organisation_id, coalesce(l.usage_month, i.month) as month, sum(l.micros + coalesce((
               select sum(n.difference) * 10000 from credit_note_lines n
               where n.invoice_id = l.invoice_id and n.position = l.position), 0))::bigint as micros
           from invoices i join invoice_lines l on l.invoice_id = i.id
           where i.organisation_id = any(%s) and i.state not in ('draft', 'void') and l.kind = 'commitment'
           group by 1, 2""",
        [list(organisations)],
    )
    found: dict[str, dict[date, int]] = defaultdict(dict)
    for row in rows:
        found[row["organisation_id"]][row["month"]] = row["micros"]
    return found
