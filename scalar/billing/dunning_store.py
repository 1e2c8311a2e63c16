"""SQL of tries to collect an invoice, and of what follows when they fail: one statement a function."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scalar.billing.collection_store import UNTOLD
from scalar.billing.payment_model import Attempt, AttemptState
from scalar.database import Transaction, one
from scalar.ids import new_id

_ATTEMPT = "id, invoice_id, number, state, cents, version, made_at, ended_at, decline_code, message"


@dataclass(frozen=True, kw_only=True)
class Collectable:
    """A try to collect an invoice, and where it is at Stripe."""

    attempt: Attempt
    stripe_id: str


def intend_attempts(tx: Transaction, now: datetime, limit: int, *, again: bool) -> None:
    """Write down a try for each invoice that is to be charged now: not yet tried, or `again`."""
    rows = tx.execute(
        f"""select s.invoice_id, i.due - i.paid - i.credited as cents,
                (select count(*) from payment_attempts a where a.invoice_id = s.invoice_id) + 1 as number
            from stripe_invoices s join invoices i on i.id = s.invoice_id
            join billing_accounts b on b.organisation_id = i.organisation_id
            left join dunning d on d.invoice_id = s.invoice_id
            where s.state = 'open' and i.state = 'open' and b.auto_pay and i.due - i.paid - i.credited >= 50
              and case when %(again)s then d.next_attempt_at <= %(now)s else d.invoice_id is null end
              and s.not_before <= %(now)s and not {UNTOLD}
              and not exists (select from payment_attempts a where a.invoice_id = s.invoice_id
                  and a.state = 'intended')
            order by s.invoice_id limit %(limit)s for no key update of s skip locked""",
        {"now": now, "limit": limit, "again": again},
    ).fetchall()
    tx.cursor().executemany(
        """insert into payment_attempts (id, invoice_id, number, cents, made_at, not_before)
           values (%s, %s, %s, %s, %s, '-infinity') on conflict do nothing""",
        [(new_id("try"), row["invoice_id"], row["number"], row["cents"], now) for row in rows],
    )


def lease_attempts(tx: Transaction, now: datetime, until: datetime, limit: int) -> list[Collectable]:
    rows = tx.execute(
        f"""with leased as (
               update payment_attempts set not_before = %(until)s where id in (
                   select id from payment_attempts where state = 'intended' and not_before <= %(now)s
                   order by id limit %(limit)s for no key update skip locked) returning {_ATTEMPT})
           select l.*, s.stripe_id from leased l join stripe_invoices s on s.invoice_id = l.invoice_id order by l.id""",
        {"now": now, "until": until, "limit": limit},
    )
    return [Collectable(stripe_id=row.pop("stripe_id"), attempt=_attempt(row)) for row in rows]


def put_attempt_off(tx: Transaction, attempt_id: str, until: datetime, *, new_key: bool) -> None:
    tx.execute(
        "update payment_attempts set not_before = %s, version = version + %s where id = %s",
        [until, int(new_key), attempt_id],
    )


def end_attempt(
    tx: Transaction,
    attempt_id: str,
    state: AttemptState,
    now: datetime,
    *,
    decline_code: str | None = None,
    message: str | None = None,
) -> bool:
    """False where it had ended already."""
    ended = tx.execute(
        """update payment_attempts set state = %s, ended_at = %s, decline_code = %s, message = %s
           where id = %s and state = 'intended'""",
        [state, now, decline_code, message, attempt_id],
    )
    return ended.rowcount == 1


def attempts_of(tx: Transaction, invoice_id: str) -> list[Attempt]:
    rows = tx.execute(f"select {_ATTEMPT} from payment_attempts where invoice_id = %s order by number", [invoice_id])
    return [_attempt(row) for row in rows]


# Dunning


def another_failure(tx: Transaction, invoice_id: str, now: datetime) -> int:
    """How many tries have failed by now; it waits for nothing until `schedule` or `end_dunning` says what follows."""
    row = one(
        tx,
        """insert into dunning as d (invoice_id, began_at, failures, next_attempt_at) values (%s, %s, 1, 'infinity')
           on conflict (invoice_id) do update set failures = d.failures + 1, next_attempt_at = 'infinity',
               ended_at = null, outcome = null
           returning failures""",
        [invoice_id, now],
    )
    return int(row["failures"])


def schedule(tx: Transaction, invoice_id: str, at: datetime) -> None:
    tx.execute("update dunning set next_attempt_at = %s where invoice_id = %s", [at, invoice_id])


def end_dunning(tx: Transaction, invoice_id: str, outcome: str, now: datetime) -> bool:
    """False where it isn't under way; paid late, it ended well after all."""
    ended = tx.execute(
        """update dunning set ended_at = %(now)s, outcome = %(outcome)s, next_attempt_at = null
           where invoice_id = %(id)s and (ended_at is null or (%(outcome)s = 'paid' and outcome <> 'paid'))""",
        {"id": invoice_id, "outcome": outcome, "now": now},
    )
    return ended.rowcount == 1


def try_now(tx: Transaction, invoice_id: str, now: datetime) -> bool:
    """Of an open invoice of which a try has failed, ended or not; False where it is none."""
    again = tx.execute(
        """update dunning d set next_attempt_at = %(now)s, ended_at = null, outcome = null
           from invoices i where d.invoice_id = %(id)s and i.id = d.invoice_id and i.state = 'open'""",
        {"id": invoice_id, "now": now},
    )
    return again.rowcount == 1


def dunning_of(tx: Transaction, invoice_id: str) -> dict[str, Any] | None:
    return tx.execute(
        "select began_at, failures, next_attempt_at, ended_at, outcome from dunning where invoice_id = %s", [invoice_id]
    ).fetchone()


# Overdue, and not charged by us


def overdue(tx: Transaction, now: datetime, waits: Sequence[timedelta], limit: int) -> list[tuple[str, int]]:
    """(id of an open invoice that its customer has to pay by themselves, the number of the notice that is due now)."""
    rows = tx.execute(
        """select i.id, n.told + 1 as notice from invoices i
           left join billing_accounts b on b.organisation_id = i.organisation_id
           left join stripe_invoices s on s.invoice_id = i.id
           cross join lateral (select count(*)::integer as told, max(told_at) as last from overdue_notices
                               where invoice_id = i.id) n
           where i.state = 'open' and i.due_at < %(now)s and (s.invoice_id is null or not coalesce(b.auto_pay, true))
             and greatest(i.due_at, n.last) + (%(waits)s::interval[])[n.told + 1] <= %(now)s
           order by i.due_at, i.id limit %(limit)s""",
        {"now": now, "waits": list(waits), "limit": limit},
    )
    return [(row["id"], row["notice"]) for row in rows]


def keep_notice(tx: Transaction, invoice_id: str, number: int, now: datetime) -> bool:
    """False where it is there."""
    insert = "insert into overdue_notices (invoice_id, number, told_at) values (%s, %s, %s) on conflict do nothing"
    return tx.execute(insert, [invoice_id, number, now]).rowcount == 1


def _attempt(row: dict[str, Any]) -> Attempt:
    return Attempt(**{**row, "state": AttemptState(row["state"])})
