"""SQL of spending caps: one statement a function."""

from dataclasses import dataclass
from datetime import datetime

from scalar.database import Transaction
from scalar.ids import new_id


@dataclass(frozen=True, kw_only=True)
class CapRow:
    scope: str
    subject: str
    shown: str
    monthly_limit: int
    spent: int
    held: int


def put(tx: Transaction, organisation_id: str, scope: str, subject: str, limit: int) -> None:
    tx.execute(
        """insert into spend_caps (id, organisation_id, scope, subject, monthly_limit) values (%s, %s, %s, %s, %s)
           on conflict (organisation_id, scope, subject) do update set monthly_limit = excluded.monthly_limit""",
        [new_id("cap"), organisation_id, scope, subject, limit],
    )


def remove(tx: Transaction, organisation_id: str, scope: str, subject: str) -> None:
    tx.execute(
        "delete from spend_caps where organisation_id = %s and scope = %s and subject = %s",
        [organisation_id, scope, subject],
    )


def key_of(tx: Transaction, organisation_id: str, named: str) -> str | None:
    """The id of a customer's key, by its id or prefix."""
    row = tx.execute(
        "select id from api_keys where organisation_id = %(org)s and (id = %(key)s or prefix = %(key)s)",
        {"org": organisation_id, "key": named},
    ).fetchone()
    return str(row["id"]) if row else None


def uses(tx: Transaction, organisation_id: str, month: datetime, *, of_job: str | None = None) -> list[CapRow]:
    """What is gone of each cap since the start of the month: rated, and held beyond that.

    `of_job`: only the caps that this job counts for.
    """
    rows = tx.execute(
        """with caps as (
               select c.* from spend_caps c left join jobs j on j.id = %(job)s
               where c.organisation_id = %(org)s and (%(job)s::text is null or c.scope = 'organisation'
                   or (c.scope = 'key' and c.subject = j.created_by)
                   or (c.scope = 'project' and c.subject = j.labels ->> 'project')))
           select c.scope, c.subject, coalesce(k.prefix, c.subject) as shown, c.monthly_limit,
               (select coalesce(sum(l.amount), 0)::bigint from rated_lines l
                where l.organisation_id = %(org)s and l.hour >= %(month)s
                  and (c.scope = 'organisation' or (c.scope = 'key' and l.key_id = c.subject)
                       or (c.scope = 'project' and l.project = c.subject))) as spent,
               (select coalesce(sum(greatest(h.amount - rated.amount, 0)), 0)::bigint from holds h
                cross join lateral (select coalesce(sum(l.amount), 0) as amount from rated_lines l
                                    where l.job_id = h.job_id) rated
                where h.organisation_id = %(org)s and h.released_at is null
                  and (c.scope = 'organisation' or (c.scope = 'key' and h.key_id = c.subject)
                       or (c.scope = 'project' and h.project = c.subject))) as held
           from caps c left join api_keys k on c.scope = 'key' and k.id = c.subject
           order by c.scope, shown""",
        {"org": organisation_id, "month": month, "job": of_job},
    )
    return [CapRow(**row) for row in rows]
