"""SQL of payments and what moves of them: one statement a function."""

from datetime import datetime
from typing import Any

from scalar.billing.payment_model import Parts, Payment, PaymentSum
from scalar.billing.stripe_answers import Charge, Movement, StripeDispute
from scalar.database import Transaction, one
from scalar.ids import new_id

_PAYMENT = """p.id, p.organisation_id, p.invoice_id, p.top_up_id, p.stripe_charge_id, p.stripe_intent_id, p.cents,
    p.paid_at"""


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


def payment(tx: Transaction, payment_id: str) -> Payment:
    return Payment(**one(tx, f"select {_PAYMENT} from payments p where id = %s", [payment_id]))


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


def lots_of_invoice(tx: Transaction, invoice_id: str) -> list[tuple[str, int]]:
    """(id of a lot, micro-dollars left of it) that came of its credit notes or of paying too much; locked, by id."""
    rows = tx.execute(
        """select id, amount - used - expired as micros_left from wallet_lots
           where used + expired < amount and source in (
               select 'credit_note/' || id from credit_notes where invoice_id = %(id)s
               union all select 'stripe/' || m.stripe_id from payment_movements m
                   join payments p on p.id = m.payment_id where p.invoice_id = %(id)s
               union all select 'refund/' || id from refunds where invoice_id = %(id)s)
           order by id for no key update""",
        {"id": invoice_id},
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


def _sum(row: dict[str, Any]) -> PaymentSum:
    own = {name: row.pop(name) for name in ("fees", "refunded", "disputed", "refunding")}
    return PaymentSum(payment=Payment(**row), **own)
