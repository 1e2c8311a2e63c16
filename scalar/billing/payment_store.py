"""SQL of payments and what moves of them: one statement a function."""

from datetime import datetime
from typing import Any

from scalar.billing.payment_model import Parts, Payment, PaymentSum, Refund, RefundState, TopUp, TopUpState
from scalar.billing.stripe_answers import Charge, Movement, StripeDispute
from scalar.database import Transaction, one
from scalar.ids import new_id

_PAYMENT = """p.id, p.organisation_id, p.invoice_id, p.top_up_id, p.stripe_charge_id, p.stripe_intent_id, p.cents,
    p.paid_at"""
_REFUND = """id, invoice_id, organisation_id, payment_id, cents, reason, state, stripe_refund_id, version, tries,
    created_at, created_by, ended_at, message"""
_TOP_UP = """id, organisation_id, cents, state, stripe_id, version, tries, created_at, created_by, ended_at, message"""


def keep_payment(
    tx: Transaction, charge: Charge, organisation_id: str, *, invoice_id: str | None, top_up_id: str | None
) -> Payment:
    """The payment that this charge is, written down if it wasn't; nobody else works on it until this ends."""
    tx.execute(
        """insert into payments (id, organisation_id, invoice_id, top_up_id, stripe_charge_id, stripe_intent_id, cents,
               paid_at) values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (stripe_charge_id) do nothing""",
        [new_id("pay"), organisation_id, invoice_id, top_up_id, charge.id, charge.intent, charge.cents, charge.at],
    )
    return Payment(
        **one(tx, f"select {_PAYMENT} from payments p where stripe_charge_id = %s for no key update", [charge.id])
    )


def payment_of_charge(tx: Transaction, charge: str) -> Payment | None:
    row = tx.execute(f"select {_PAYMENT} from payments p where stripe_charge_id = %s", [charge]).fetchone()
    return Payment(**row) if row else None


def payments(
    tx: Transaction,
    *,
    organisation_id: str | None = None,
    invoice_id: str | None = None,
    before: str | None = None,
    limit: int = 50,
    for_update: bool = False,
) -> list[PaymentSum]:
    """Newest first."""
    lock = "for no key update of p" if for_update else ""
    rows = tx.execute(
        f"""select {_PAYMENT}, m.*, r.* from payments p
            cross join lateral (
                select coalesce(sum(fee), 0)::bigint as fees,
                    coalesce(-sum(cents) filter (where kind = 'refund'), 0)::bigint as refunded,
                    coalesce(-sum(cents) filter (where kind = 'dispute'), 0)::bigint as disputed
                from payment_movements where payment_id = p.id) m
            cross join lateral (
                select coalesce(sum(cents), 0)::bigint as refunding from refunds
                where payment_id = p.id and state in ('intended', 'pending')) r
            where (%(org)s::text is null or p.organisation_id = %(org)s)
              and (%(invoice)s::text is null or p.invoice_id = %(invoice)s)
              and (%(before)s::text is null or p.id < %(before)s)
            order by p.id desc limit %(limit)s {lock}""",
        {"org": organisation_id, "invoice": invoice_id, "before": before, "limit": limit},
    )
    return [_sum(row) for row in rows]


# What moved


def movement_known(tx: Transaction, stripe_id: str) -> bool:
    return tx.execute("select 1 from payment_movements where stripe_id = %s", [stripe_id]).fetchone() is not None


def insert_movement(tx: Transaction, payment: Payment, kind: str, source: str, movement: Movement, to: Parts) -> None:
    tx.execute(
        """insert into payment_movements (stripe_id, payment_id, kind, stripe_source, cents, fee, to_invoice, to_wallet,
               to_refund, to_bad_debt, at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            movement.id,
            payment.id,
            kind,
            source,
            movement.cents,
            movement.fee,
            to.invoice,
            to.wallet,
            to.refund,
            to.bad_debt,
            movement.at,
        ],
    )


def parts_so_far(tx: Transaction, payment_id: str) -> Parts:
    """What of a payment is where."""
    row = one(
        tx,
        """select coalesce(sum(to_invoice), 0)::bigint as invoice, coalesce(sum(to_wallet), 0)::bigint as wallet,
               coalesce(sum(to_refund), 0)::bigint as refund, coalesce(sum(to_bad_debt), 0)::bigint as bad_debt
           from payment_movements where payment_id = %s""",
        [payment_id],
    )
    return Parts(**row)


def lots_of_payment(tx: Transaction, payment_id: str) -> list[tuple[str, int]]:
    """(id of a wallet's lot that this payment has made, micro-dollars left of it), locked, by id."""
    rows = tx.execute(
        """select id, amount - used - expired as micros_left from wallet_lots
           where source in (select 'stripe/' || stripe_id from payment_movements where payment_id = %s)
             and used + expired < amount order by id for no key update""",
        [payment_id],
    )
    return [(row["id"], row["micros_left"]) for row in rows]


def keep_dispute(tx: Transaction, payment: Payment, dispute: StripeDispute, now: datetime) -> bool:
    """True where it has ended, and nobody knew."""
    before = tx.execute("select closed_at from disputes where stripe_id = %s", [dispute.id]).fetchone()
    tx.execute(
        """insert into disputes (stripe_id, payment_id, status, reason, cents, opened_at, closed_at)
           values (%(id)s, %(payment)s, %(status)s, %(reason)s, %(cents)s, %(opened)s, %(closed)s)
           on conflict (stripe_id) do update set status = excluded.status, cents = excluded.cents,
               closed_at = coalesce(disputes.closed_at, excluded.closed_at)""",
        {
            "id": dispute.id,
            "payment": payment.id,
            "status": dispute.status,
            "reason": dispute.reason,
            "cents": dispute.cents,
            "opened": dispute.opened_at,
            "closed": now if dispute.closed else None,
        },
    )
    return dispute.closed and (before is None or before["closed_at"] is None)


# Refunds


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
    rows = tx.execute(
        f"""update refunds set not_before = %(until)s, tries = tries + 1 where id in (
                select id from refunds where state = 'intended' and not_before <= %(now)s
                order by id limit %(limit)s for no key update skip locked) returning {_REFUND}""",
        {"now": now, "until": until, "limit": limit},
    )
    return [_refund(row) for row in rows]


def end_refund(
    tx: Transaction, refund_id: str, state: RefundState, *, stripe_id: str | None, now: datetime, message: str | None
) -> None:
    tx.execute(
        """update refunds set state = %(state)s, stripe_refund_id = coalesce(stripe_refund_id, %(stripe)s),
               ended_at = case when %(state)s in ('done', 'failed') then %(now)s end, message = %(message)s
           where id = %(id)s""",
        {"id": refund_id, "state": state, "stripe": stripe_id, "now": now, "message": message},
    )


# Top-ups


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


def _sum(row: dict[str, Any]) -> PaymentSum:
    own = {name: row.pop(name) for name in ("fees", "refunded", "disputed", "refunding")}
    return PaymentSum(payment=Payment(**row), **own)


def _refund(row: dict[str, Any]) -> Refund:
    fields = {name: row[name] for name in Refund.__dataclass_fields__}
    return Refund(**{**fields, "state": RefundState(row["state"])})


def _top_up(row: dict[str, Any]) -> TopUp:
    return TopUp(**{**row, "state": TopUpState(row["state"])})
