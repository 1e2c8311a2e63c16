"""SQL of top-ups by card: one statement a function."""

from datetime import datetime
from typing import Any

from scalar.billing.payment_model import TopUp, TopUpState
from scalar.database import Transaction, one
from scalar.ids import new_id

_TOP_UP = """id, organisation_id, cents, state, stripe_id, version, tries, created_at, created_by, ended_at, message"""


def insert_top_up(
    tx: Transaction, organisation_id: str, cents: int, *, by: str, now: datetime, idempotency_key: str | None
) -> TopUp | None:
    """None where this key has made one."""
    row = tx.execute(
        f"""insert into top_ups (id, organisation_id, cents, created_at, created_by, idempotency_key)
            values (%s, %s, %s, %s, %s, %s) on conflict (organisation_id, idempotency_key) do nothing
            returning {_TOP_UP}""",
        [new_id("top"), organisation_id, cents, now, by, idempotency_key],
    ).fetchone()
    return _top_up(row) if row else None


def top_up(tx: Transaction, top_up_id: str, *, for_update: bool = False) -> TopUp | None:
    lock = "for no key update" if for_update else ""
    row = tx.execute(f"select {_TOP_UP} from top_ups where id = %s {lock}", [top_up_id]).fetchone()
    return _top_up(row) if row else None


def top_up_of_key(tx: Transaction, organisation_id: str, key: str) -> TopUp:
    row = one(
        tx,
        f"select {_TOP_UP} from top_ups where organisation_id = %s and idempotency_key = %s",
        [organisation_id, key],
    )
    return _top_up(row)


def lease_top_ups(
    tx: Transaction, now: datetime, until: datetime, limit: int, *, only: str | None = None
) -> list[TopUp]:
    rows = tx.execute(
        f"""update top_ups set not_before = %(until)s, tries = tries + 1 where id in (
                select id from top_ups where state in ('intended', 'pending') and not_before <= %(now)s
                  and (%(only)s::text is null or id = %(only)s)
                order by id limit %(limit)s for no key update skip locked) returning {_TOP_UP}""",
        {"now": now, "until": until, "limit": limit, "only": only},
    )
    return [_top_up(row) for row in rows]


def put_top_up_off(tx: Transaction, top_up_id: str, until: datetime, *, new_key: bool = False) -> None:
    tx.execute(
        "update top_ups set not_before = %s, version = version + %s where id = %s", [until, int(new_key), top_up_id]
    )


def move_top_up(
    tx: Transaction, top_up_id: str, state: TopUpState, *, stripe_id: str | None, now: datetime, message: str | None
) -> None:
    """One that has ended stays so."""
    tx.execute(
        """update top_ups set state = %(state)s, stripe_id = coalesce(stripe_id, %(stripe)s), message = %(message)s,
               ended_at = case when %(state)s in ('paid', 'failed') then %(now)s end
           where id = %(id)s and state <> 'paid'""",
        {"id": top_up_id, "state": state, "stripe": stripe_id, "now": now, "message": message},
    )


def _top_up(row: dict[str, Any]) -> TopUp:
    return TopUp(**{**row, "state": TopUpState(row["state"])})
