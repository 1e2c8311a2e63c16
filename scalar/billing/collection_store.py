"""SQL of our invoices at Stripe: one statement a function."""

from dataclasses import dataclass
from datetime import datetime

from scalar.billing.payment_model import SyncState
from scalar.database import Transaction

UNTOLD = """exists (select from credit_notes c where c.invoice_id = s.invoice_id and c.off_due > 0
    and not exists (select from stripe_credit_notes x where x.credit_note_id = c.id))"""


@dataclass(frozen=True, kw_only=True)
class InvoiceWork:
    """One of our invoices that Stripe has, or will have."""

    invoice_id: str
    state: SyncState
    stripe_id: str | None
    version: int
    tries: int
    intended_at: datetime
    customer: str
    auto_pay: bool

    def key(self, what: str) -> str:
        return f"scalar:invoice:{self.invoice_id}:{what}:{self.version}"


def intend_invoices(tx: Transaction, now: datetime) -> int:
    """Write down each open invoice that Stripe is to collect, and see that its customer has an account."""
    tx.execute(
        """insert into billing_accounts (organisation_id)
           select distinct i.organisation_id from invoices i
           where i.state = 'open' and i.due >= 50
             and not exists (select from stripe_invoices s where s.invoice_id = i.id)
             and not exists (select from billing_accounts b where b.organisation_id = i.organisation_id)
           on conflict do nothing"""
    )
    made = tx.execute(
        """insert into stripe_invoices (invoice_id, intended_at)
           select id, %s from invoices i where state = 'open' and due >= 50
             and not exists (select from stripe_invoices s where s.invoice_id = i.id)
           on conflict do nothing""",
        [now],
    )
    return made.rowcount


def lease_invoices(tx: Transaction, now: datetime, until: datetime, limit: int) -> list[InvoiceWork]:
    """Those that aren't at Stripe as they should be, and those that are to be looked at again."""
    rows = tx.execute(
        f"""update stripe_invoices u set not_before = %(until)s, tries = u.tries + 1
            from invoices i join billing_accounts b on b.organisation_id = i.organisation_id
            where u.invoice_id = i.id and u.invoice_id in (
                select s.invoice_id from stripe_invoices s
                join invoices o on o.id = s.invoice_id join billing_accounts a on a.organisation_id = o.organisation_id
                where s.not_before <= %(now)s and a.stripe_customer_id is not null
                  and (s.state in ('intended', 'draft') or s.look_at <= %(now)s
                    or (o.state = 'void' and s.state in ('open', 'uncollectible'))
                    or (o.state = 'uncollectible' and s.state = 'open')
                    or (o.state = 'paid' and s.state in ('open', 'uncollectible'))
                    or (s.state = 'open' and {UNTOLD}))
                order by s.invoice_id limit %(limit)s for no key update of s skip locked)
            returning u.invoice_id, u.state, u.stripe_id, u.version, u.tries, u.intended_at,
                b.stripe_customer_id as customer, b.auto_pay""",
        {"now": now, "until": until, "limit": limit},
    )
    return [InvoiceWork(**{**row, "state": SyncState(row["state"])}) for row in rows]


def keep_stripe_invoice(
    tx: Transaction,
    invoice_id: str,
    state: SyncState,
    *,
    stripe_id: str | None = None,
    hosted_url: str | None = None,
) -> None:
    """Where it is at Stripe; the lease goes on."""
    tx.execute(
        """update stripe_invoices set state = %(state)s, stripe_id = coalesce(stripe_id, %(stripe)s),
               hosted_url = coalesce(%(url)s, hosted_url) where invoice_id = %(id)s""",
        {"id": invoice_id, "state": state, "stripe": stripe_id, "url": hosted_url},
    )


def done_with_invoice(
    tx: Transaction,
    invoice_id: str,
    *,
    not_before: datetime | None = None,
    look_at: datetime | None = None,
    problem: str | None = None,
    new_key: bool = False,
) -> None:
    """The lease ends. `not_before`: a pause; `new_key`: what is asked of Stripe next is not the same as before."""
    tx.execute(
        """update stripe_invoices set not_before = coalesce(%(not_before)s::timestamptz, '-infinity'),
               look_at = %(look_at)s, problem = %(problem)s, version = version + %(new)s,
               tries = case when %(problem)s::text is null then 0 else tries end
           where invoice_id = %(id)s""",
        {
            "id": invoice_id,
            "not_before": not_before,
            "look_at": look_at,
            "problem": problem,
            "new": int(new_key),
        },
    )


def invoice_at_stripe(tx: Transaction, stripe_id: str) -> str | None:
    """Which of ours it is."""
    row = tx.execute("select invoice_id from stripe_invoices where stripe_id = %s", [stripe_id]).fetchone()
    return row["invoice_id"] if row else None


def hosted_url(tx: Transaction, invoice_id: str) -> str | None:
    row = tx.execute("select hosted_url from stripe_invoices where invoice_id = %s", [invoice_id]).fetchone()
    return row["hosted_url"] if row else None


def untold_notes(tx: Transaction, invoice_id: str) -> list[tuple[str, int]]:
    """(id, what it takes off the due) of credit notes that Stripe has not, oldest first."""
    rows = tx.execute(
        """select id, off_due from credit_notes c where invoice_id = %s and off_due > 0
             and not exists (select from stripe_credit_notes x where x.credit_note_id = c.id) order by id""",
        [invoice_id],
    )
    return [(row["id"], row["off_due"]) for row in rows]


def keep_note(tx: Transaction, note_id: str, invoice_id: str, stripe_id: str | None, now: datetime) -> None:
    tx.execute(
        """insert into stripe_credit_notes (credit_note_id, invoice_id, stripe_id, told_at) values (%s, %s, %s, %s)
           on conflict do nothing""",
        [note_id, invoice_id, stripe_id, now],
    )
