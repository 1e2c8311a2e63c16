"""SQL of what invoices are made of: rated lines, credit, commitments, and whom they go to."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from scalar.billing.invoice_model import Charge, LineKind
from scalar.billing.invoicing import commitment_of
from scalar.billing.months import end_of, share_of, start_of
from scalar.billing.tax import NOWHERE, Domicile, TaxRate
from scalar.database import Transaction

# Materialized: else `month_to_bill` is asked for each line, and not for each customer's month.
_FREE = """free as materialized (
        select l.id, l.organisation_id, date_trunc('month', l.hour at time zone 'UTC')::date as month
        from rated_lines l where l.hour < %(end)s and (%(orgs)s::text[] is null or l.organisation_id = any(%(orgs)s))
          and not exists (select from invoiced_lines i where i.rated_line_id = l.id)),
    targets as materialized (
        select organisation_id, month, month_to_bill(organisation_id, month) as target
        from (select distinct organisation_id, month from free) as used)"""


def organisations_with_lines(tx: Transaction, month: date, organisations: Sequence[str] | None) -> list[str]:
    """Those with rated lines that belong on an invoice of this month, and are on none."""
    rows = tx.execute(
        f"with {_FREE} select distinct organisation_id from targets where target = %(month)s order by organisation_id",
        {"end": end_of(month), "month": month, "orgs": organisations},
    )
    return [row["organisation_id"] for row in rows]


def take_lines(tx: Transaction, month: date, organisations: Sequence[str] | None) -> int:
    """Put those lines on the drafts of the month; how many."""
    return tx.execute(
        f"""with {_FREE}
            insert into invoiced_lines (rated_line_id, invoice_id)
            select f.id, i.id from free f join targets t using (organisation_id, month)
                join invoices i on i.organisation_id = f.organisation_id and i.month = t.target and i.state = 'draft'
            where t.target = %(month)s""",
        {"end": end_of(month), "month": month, "orgs": organisations},
    ).rowcount


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Rated lines that are on no invoice, and belong on one of this month. `last_line`: the highest id of them."""

    month: date
    lines: int
    last_line: int


def backlog(tx: Transaction, now: datetime) -> list[Backlog]:
    """Of months that are over."""
    rows = tx.execute(
        f"""with {_FREE}
            select t.target as month, count(*) as lines, max(f.id) as last_line
            from free f join targets t using (organisation_id, month)
            where (t.target + interval '1 month') at time zone 'UTC' <= %(end)s group by t.target order by t.target""",
        {"end": now, "orgs": None},
    )
    return [Backlog(**row) for row in rows]


def charges(tx: Transaction, invoices: Collection[str]) -> dict[str, list[Charge]]:
    """What is on each, added up; what comes to nothing at all is left out."""
    rows = tx.execute(
        """select x.invoice_id, date_trunc('month', l.hour at time zone 'UTC')::date as month, l.kind, l.job_id,
               coalesce(j.name, l.job_id) as job_name, l.tier, l.gpu_type, sum(l.gpu_seconds) as gpu_seconds,
               sum(l.free_seconds) as free_seconds, sum(l.exact) as exact, sum(l.amount)::bigint as micros
           from invoiced_lines x join rated_lines l on l.id = x.rated_line_id left join jobs j on j.id = l.job_id
           where x.invoice_id = any(%s) group by 1, 2, 3, 4, 5, 6, 7
           having sum(l.gpu_seconds) <> 0 or sum(l.amount) <> 0""",
        [list(invoices)],
    )
    found: dict[str, list[Charge]] = defaultdict(list)
    for row in rows:
        found[row.pop("invoice_id")].append(Charge(**{**row, "kind": LineKind(row["kind"])}))
    return found


def credit_to_apply(tx: Transaction, organisations: Sequence[str]) -> dict[str, int]:
    """Micro-dollars of credit that was drawn and that no open invoice has shown."""
    rows = tx.execute(
        """select organisation_id, sum(amount)::bigint as amount from (
               select organisation_id, amount from credit_draws where organisation_id = any(%(orgs)s)
               union all
               select organisation_id, -credit_applied_micros from invoices
               where organisation_id = any(%(orgs)s) and state not in ('draft', 'void')) as each
           group by organisation_id""",
        {"orgs": list(organisations)},
    )
    return {row["organisation_id"]: row["amount"] for row in rows}


def carried(tx: Transaction, organisations: Sequence[str]) -> dict[str, int]:
    """Cents that were too few to be charged, and are on no later invoice."""
    rows = tx.execute(
        """select organisation_id, sum(carried_out)::bigint as cents from invoices
           where organisation_id = any(%s) and state = 'paid' and carried_out > 0 and carried_into is null
           group by organisation_id""",
        [list(organisations)],
    )
    return {row["organisation_id"]: row["cents"] for row in rows}


def commitments(tx: Transaction, month: date, organisations: Sequence[str] | None) -> dict[str, int]:
    """Micro-dollars that a month is to bring at least, by what organisations' own cards say."""
    rows = tx.execute(
        """select organisation_id, minimum_commitment, effective_from, effective_until from rate_cards
           where minimum_commitment > 0 and organisation_id is not null and withdrawn_at is null
             and (%(orgs)s::text[] is null or organisation_id = any(%(orgs)s))
             and effective_from < %(end)s and (effective_until is null or effective_until > %(start)s)""",
        {"start": start_of(month), "end": end_of(month), "orgs": organisations},
    )
    minimums = defaultdict(list)
    for row in rows:
        share = share_of(month, row["effective_from"], row["effective_until"])
        minimums[row["organisation_id"]].append((row["minimum_commitment"], share))
    return {organisation_id: commitment_of(each) for organisation_id, each in minimums.items()}


def without_invoice(tx: Transaction, month: date, organisations: Iterable[str]) -> list[str]:
    """Those of them that have none of the month."""
    rows = tx.execute(
        """select org from unnest(%s::text[]) as o (org) where not exists (
               select from invoices i where i.organisation_id = org and i.month = %s and i.state <> 'void')
           order by org""",
        [list(organisations), month],
    )
    return [row["org"] for row in rows]


def commitments_waiting(tx: Transaction, month: date) -> bool:
    """Whether somebody has committed to some of the month, and has no invoice of it."""
    committed = (organisation_id for organisation_id, micros in commitments(tx, month, None).items() if micros)
    return bool(without_invoice(tx, month, committed))


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Whom an invoice goes to."""

    bill_to: dict[str, Any]
    domicile: Domicile = NOWHERE


def customers(tx: Transaction, organisations: Sequence[str]) -> dict[str, Customer]:
    rows = tx.execute(
        """select o.id, coalesce(b.name, o.name) as name, b.email, b.address, b.country, b.region, b.tax_id,
               coalesce(b.tax_exempt, false) as exempt
           from organisations o left join billing_accounts b on b.organisation_id = o.id where o.id = any(%s)""",
        [list(organisations)],
    )
    return {row.pop("id"): _customer(row) for row in rows}


def tax_rates(tx: Transaction) -> list[TaxRate]:
    rows = tx.execute("select country, region, name, percent, effective_from from tax_rates order by id")
    return [TaxRate(**row) for row in rows]


def insert_tax_rate(tx: Transaction, rate: TaxRate, *, actor: str, now: datetime) -> bool:
    """False where that place has one from that day on."""
    inserted = tx.execute(
        """insert into tax_rates (country, region, name, percent, effective_from, created_at, created_by)
           values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing""",
        [rate.country, rate.region, rate.name, rate.percent, rate.effective_from, now, actor],
    )
    return inserted.rowcount == 1


def _customer(row: dict[str, Any]) -> Customer:
    exempt = row.pop("exempt")
    domicile = Domicile(country=row["country"], region=row["region"], exempt=exempt)
    bill_to = {name: value for name, value in row.items() if value}
    return Customer(bill_to={**bill_to, **({"tax_exempt": True} if exempt else {})}, domicile=domicile)
