"""SQL of refunds: one statement a function."""

from datetime import datetime
from typing import Any

from scalar.billing.payment_model import Refund, RefundState
from scalar.database import Transaction

_REFUND = """id, invoice_id, organisation_id, payment_id, cents, reason, state, stripe_refund_id, version, tries,
    created_at, created_by, ended_at, message"""


def insert_refund(tx: Transaction, refund: Refund, *, idempotency_key: str | None, request_hash: bytes | None) -> None:
    tx.execute(
        """insert into refunds (id, invoice_id, organisation_id, payment_id, cents, reason, created_at, created_by,
               idempotency_key, request_hash) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            refund.id,
            refund.invoice_id,
            refund.organisation_id,
            refund.payment_id,
            refund.cents,
            refund.reason,
            refund.created_at,
            refund.created_by,
            idempotency_key,
            request_hash,
        ],
    )


def refund(tx: Transaction, refund_id: str, *, for_update: bool = False) -> Refund | None:
    lock = "for no key update" if for_update else ""
    row = tx.execute(f"select {_REFUND} from refunds where id = %s {lock}", [refund_id]).fetchone()
    return _refund(row) if row else None


def refund_of_key(tx: Transaction, invoice_id: str, key: str) -> tuple[Refund, bytes] | None:
    """The refund that this key has made, and the hash of its request."""
    row = tx.execute(
        f"select {_REFUND}, request_hash from refunds where invoice_id = %s and idempotency_key = %s", [invoice_id, key]
    ).fetchone()
    return (_refund(row), bytes(row.pop("request_hash") or b"")) if row else None


def refunds_of(tx: Transaction, invoice_id: str) -> list[Refund]:
    rows = tx.execute(f"select {_REFUND} from refunds where invoice_id = %s order by id", [invoice_id])
    return [_refund(row) for row in rows]


def lease_refunds(tx: Transaction, now: datetime, until: datetime, limit: int) -> list[Refund]:
    """Those to be sent, and those that have not arrived at the card when they were looked at last."""
    rows = tx.execute(
        f"""update refunds set not_before = %(until)s, tries = tries + 1 where id in (
                select id from refunds where state in ('intended', 'pending') and not_before <= %(now)s
                order by id limit %(limit)s for no key update skip locked) returning {_REFUND}""",
        {"now": now, "until": until, "limit": limit},
    )
    return [_refund(row) for row in rows]


def put_refund_off(tx: Transaction, refund_id: str, until: datetime, *, new_key: bool) -> None:
    tx.execute(
        "update refunds set not_before = %s, version = version + %s where id = %s", [until, int(new_key), refund_id]
    )


def end_refund(
    tx: Transaction, refund_id: str, state: RefundState, *, stripe_id: str | None, now: datetime, message: str | None
) -> None:
    tx.execute(
        """update refunds set state = %(state)s, stripe_refund_id = coalesce(stripe_refund_id, %(stripe)s),
               ended_at = case when %(state)s in ('done', 'failed') then %(now)s end, message = %(message)s
           where id = %(id)s""",
        {"id": refund_id, "state": state, "stripe": stripe_id, "now": now, "message": message},
    )


def _refund(row: dict[str, Any]) -> Refund:
    fields = {name: row[name] for name in Refund.__dataclass_fields__}
    return Refund(**{**fields, "state": RefundState(row["state"])})
