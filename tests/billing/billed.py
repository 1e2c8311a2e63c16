"""Usage that is rated and in the ledger, written straight to where rating would leave it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from scalar.billing import invoice_drafts, invoices
from scalar.billing import invoice_store as store
from scalar.billing.invoice_model import Invoice, InvoiceState
from scalar.billing.ledger import CREDITS, REVENUE, Posting, move, unbilled
from scalar.billing.ledger_store import post
from scalar.database import Transaction
from tests.made_up import a_customer, a_job_of

JANUARY, FEBRUARY, MARCH = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)
DOLLAR = 1_000_000
TWO_WEEKS = timedelta(days=14)
_numbers = count(1)


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def a_customer_with_a_job(tx: Transaction, name: str = "acme", **spec: Any) -> tuple[str, str]:
    """(id of a new organisation, id of a job of it that has a run)."""
    customer = a_customer(tx, name)
    return customer[0], a_job_with_a_run(tx, customer, **spec)


def a_job_with_a_run(tx: Transaction, customer: tuple[str, str], **spec: Any) -> str:
    job = a_job_of(tx, customer, now=at(1), **spec)
    tx.execute(
        "insert into job_runs (id, job_id, attempt, token, placed_at) values (%s, %s, 1, %s, %s)",
        [f"run_of_{job.id}", job.id, f"token_of_{job.id}", at(1)],
    )
    return job.id


def use(tx: Transaction, job_id: str, hour: datetime, micros: int, *, posted_at: datetime | None = None) -> None:
    """Usage of an hour, or a credit where it is below zero; $3.60 a GPU-hour."""
    number, kind = next(_numbers), "usage" if micros > 0 else "credit"
    source = f"usage/{hour:%Y-%m-%dT%H}/{number}"
    row = tx.execute(
        """insert into rated_lines (hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind, gpu_seconds,
               exact, amount, rate_card_id, ledger_source, rated_at)
           select %s, %s, id, organisation_id, created_by, tier, 'H100', %s, %s, %s, %s, 'built-in', %s, %s
           from jobs where id = %s returning organisation_id""",
        [
            hour,
            f"run_of_{job_id}",
            kind,
            Decimal(micros) / 1000,
            Decimal(micros) / DOLLAR,
            micros,
            source,
            hour,
            job_id,
        ],
    ).fetchone()
    owed = unbilled(row["organisation_id"])
    entries = move(micros, debit=owed, credit=REVENUE if kind == "usage" else CREDITS)
    post(tx, Posting(source=source, kind="usage", at=posted_at or hour, entries=entries))


def draft(tx: Transaction, organisation_id: str, month: date = JANUARY, now: datetime | None = None) -> Invoice | None:
    """The month's draft as it is now."""
    invoice_drafts.draft_month(tx, month, now or at(month.month + 1, 2))
    found = store.drafts(tx, month, organisation_id)
    return store.invoice(tx, found[organisation_id]) if organisation_id in found else None


def opened(tx: Transaction, organisation_id: str, month: date = JANUARY, now: datetime | None = None) -> Invoice:
    """The month's invoice."""
    now = now or at(month.month + 1, 3)
    made = draft(tx, organisation_id, month, now)
    assert made is not None
    return invoices.open_invoice(tx, made.id, actor="test", now=now, due_in=TWO_WEEKS)


def state_of(tx: Transaction, invoice: Invoice) -> InvoiceState:
    found = store.invoice(tx, invoice.id)
    assert found is not None
    return found.state
