"""SQL of customers at Stripe: one statement a function."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from scalar.database import Transaction, one

_DETAILS = """jsonb_strip_nulls(jsonb_build_object('name', coalesce(b.name, o.name), 'email', b.email,
    'address', b.address, 'country', b.country, 'region', b.region))"""


@dataclass(frozen=True, kw_only=True)
class CustomerWork:
    organisation_id: str
    stripe_id: str | None
    details: dict[str, Any]
    version: int
    tries: int
    intended_at: datetime


def lease_customers(
    tx: Transaction, now: datetime, until: datetime, limit: int, *, only: str | None = None
) -> list[CustomerWork]:
    """Billing accounts that Stripe does not know, or knows otherwise."""
    rows = tx.execute(
        f"""with wanted as (
               select b.organisation_id, b.stripe_customer_id, {_DETAILS} as details
               from billing_accounts b join organisations o on o.id = b.organisation_id
               left join stripe_customers c on c.organisation_id = b.organisation_id
               where (b.stripe_customer_id is null or c.told is distinct from {_DETAILS})
                 and coalesce(c.not_before, '-infinity') <= %(now)s
                 and (%(only)s::text is null or b.organisation_id = %(only)s)
               order by b.organisation_id limit %(limit)s),
           leased as (
               insert into stripe_customers as c (organisation_id, intended_at, tries, not_before)
               select organisation_id, %(now)s, 1, %(until)s from wanted
               on conflict (organisation_id) do update set tries = c.tries + 1, not_before = excluded.not_before
                   where c.not_before <= %(now)s
               returning organisation_id, version, tries, intended_at)
           select w.organisation_id, w.stripe_customer_id as stripe_id, w.details, l.version, l.tries, l.intended_at
           from leased l join wanted w using (organisation_id) order by 1""",
        {"now": now, "until": until, "limit": limit, "only": only},
    )
    return [CustomerWork(**row) for row in rows]


def keep_customer(tx: Transaction, work: CustomerWork, stripe_id: str) -> None:
    tx.execute(
        "update billing_accounts set stripe_customer_id = %s where organisation_id = %s",
        [stripe_id, work.organisation_id],
    )
    tx.execute(
        """update stripe_customers set told = %s, version = version + 1, tries = 0, not_before = '-infinity',
               problem = null where organisation_id = %s""",
        [Jsonb(work.details), work.organisation_id],
    )


def put_customer_off(tx: Transaction, organisation_id: str, until: datetime, problem: str, *, new_key: bool) -> None:
    tx.execute(
        """update stripe_customers set not_before = %s, problem = %s, version = version + %s
           where organisation_id = %s""",
        [until, problem, int(new_key), organisation_id],
    )


def forget_customer(tx: Transaction, stripe_id: str, now: datetime) -> str | None:
    """It was deleted at Stripe: it is made anew. The organisation's id."""
    row = tx.execute(
        """update billing_accounts set stripe_customer_id = null where stripe_customer_id = %s
           returning organisation_id""",
        [stripe_id],
    ).fetchone()
    if row is None:
        return None
    tx.execute(
        """update stripe_customers set told = null, version = version + 1, tries = 0, intended_at = %s,
               not_before = '-infinity' where organisation_id = %s""",
        [now, row["organisation_id"]],
    )
    return str(row["organisation_id"])


def intend_card(tx: Transaction, organisation_id: str, payment_method: str) -> int:
    """Its number: the same for a card that was asked for before, and of which nobody has heard what came of it."""
    row = one(
        tx,
        """update stripe_customers set card_version = card_version + (card is distinct from %(card)s)::integer,
               card = %(card)s where organisation_id = %(org)s returning card_version""",
        {"org": organisation_id, "card": payment_method},
    )
    return int(row["card_version"])


def end_card(tx: Transaction, organisation_id: str, version: int) -> None:
    tx.execute(
        "update stripe_customers set card = null where organisation_id = %s and card_version = %s",
        [organisation_id, version],
    )


def organisation_of_customer(tx: Transaction, stripe_id: str) -> str | None:
    row = tx.execute(
        "select organisation_id from billing_accounts where stripe_customer_id = %s", [stripe_id]
    ).fetchone()
    return row["organisation_id"] if row else None


def customer_of(tx: Transaction, organisation_id: str) -> str | None:
    row = tx.execute(
        "select stripe_customer_id from billing_accounts where organisation_id = %s", [organisation_id]
    ).fetchone()
    return row["stripe_customer_id"] if row else None
