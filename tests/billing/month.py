"""Months that pass: jobs run and report, hours are metered, rated, paid from credit and costed, invoices are opened.

All of it is done by the functions that the sensors and nodes call, in the order in which they would; the clock is the
test's.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from scalar.billing import cost_store, costing, invoice_checks, invoices, ledger_store, rated_checks, wallets
from scalar.billing import invoice_store as store
from scalar.billing.exhaustion import sweep
from scalar.billing.hold_store import release_rated
from scalar.billing.invoice_model import Invoice, InvoiceLine
from scalar.billing.ledger import CASH_STRIPE, Posting, move, receivable
from scalar.billing.rated_usage import rate_hour
from scalar.billing.wallet_store import lots_against_ledger, organisations_to_draw
from scalar.database import Transaction
from scalar.jobs.model import JobRun
from scalar.metering import store as metering
from scalar.metering.hours import Backlog, due
from scalar.metering.model import Window, hour_of
from scalar.metering.usage import usage_in
from tests.made_up import a_job_of, a_node, ended, launch, running, told

LOOK_BACK = timedelta(days=62)
"""Of the sensor that asks for hours to be rated."""
DUE_IN = timedelta(days=14)
_numbers = count(1)


def on(month: int, day: int = 1, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, second, tzinfo=UTC)


class Months:
    """Of the customers of one database, in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self._backlog = Backlog()

    def starts(self, customer: tuple[str, str], at: datetime, *, new_node: bool = True, **spec: Any) -> JobRun:
        """A job that runs from then on, on H100s where it doesn't say otherwise; on a node of its own that joins then,
        or on what is there.
        """
        spec = {"gpu_type": "H100", **spec}
        if new_node:
            a_node(self.tx, f"node-{next(_numbers)}", gpu_type=spec["gpu_type"], now=at)
        return self.starts_again(a_job_of(self.tx, customer, now=at, **spec).id, at)

    def starts_again(self, job_id: str, at: datetime) -> JobRun:
        run = launch(self.tx, job_id, now=at)
        told(self.tx, run, running(run, at=at))
        return run

    def ends(self, run: JobRun, at: datetime, *, heard_at: datetime | None = None, **how: Any) -> None:
        """`heard_at`: when its node could tell."""
        told(self.tx, run, ended(run, started_at=None, at=at, **how), now=heard_at)

    def runs(
        self, customer: tuple[str, str], start: datetime, seconds: int, *, gpu_type: str = "H100", **spec: Any
    ) -> JobRun:
        """From its start to its end."""
        run = self.starts(customer, start, gpu_type=gpu_type, **spec)
        self.ends(run, start + timedelta(seconds=seconds))
        return run

    def until(self, now: datetime) -> None:
        """It is `now`: what is over is metered, rated, paid from credit, and costed."""
        self._meter(now)
        for hour in rated_checks.due_hours(self.tx, since=now - LOOK_BACK, now=now):
            rate_hour(self.tx, hour, now)
        for organisation_id in organisations_to_draw(self.tx, now - wallets.EXPIRY_SLACK):
            wallets.draw(self.tx, organisation_id, now, used_at=now - wallets.EXPIRY_SLACK)
        release_rated(self.tx, now)
        costing.post_market(self.tx, now)
        for each in cost_store.due_hours(self.tx, hour_of(now)):
            costing.cost_hour(self.tx, each.hour, now)
        sweep(lambda: nullcontext(self.tx), now)

    def opens(self, month: int, now: datetime) -> dict[str, Invoice]:
        """The month's invoices are opened; by organisation."""
        self.until(now)
        first = date(2026, month, 1)
        assert not (wrong := invoice_checks.unbilled_that_differs(self.tx, first)), wrong
        made = invoices.open_month(self.tx, first, actor="test", now=now, due_in=DUE_IN)
        return {invoice.organisation_id: invoice for invoice in made}

    def pays(self, invoice: Invoice, cents: int, now: datetime) -> Invoice:
        """As payments do it: the money in the books, and the invoice told."""
        source = f"payment/{next(_numbers)}"
        entries = move(cents * 10_000, debit=CASH_STRIPE, credit=receivable(invoice.organisation_id))
        paid = invoices.mark_paid(self.tx, invoice.id, cents, source=source, at=now)
        ledger_store.post(self.tx, Posting(source=source, kind="payment", at=now, entries=entries))
        return paid

    def lines(self, invoice: Invoice) -> list[InvoiceLine]:
        return store.lines(self.tx, invoice.id)

    def charged(self, hours: Iterable[datetime]) -> list[int]:
        """Micro-dollars of each hour, credits taken off."""
        rows = self.tx.execute("select hour, sum(amount)::bigint as amount from rated_lines group by hour")
        sums = {row["hour"].timestamp(): row["amount"] for row in rows}
        return [sums.get(hour.timestamp(), 0) for hour in hours]

    def books(self) -> dict[str, Decimal]:
        """Dollars by account, without whose they are; after all that must hold of the books was seen to hold."""
        return books(self.tx)

    def _meter(self, now: datetime) -> None:
        watermark = metering.watermark(self.tx)
        fresh = metering.new_usage(self.tx, self._backlog.event_id, watermark)
        hours, self._backlog = due(self._backlog, fresh, watermark=watermark, now=now)
        for hour in hours:
            window = Window.hour(hour)
            records = usage_in(metering.spans_in(self.tx, window), window)
            metering.replace_hour(self.tx, hour, records, last_event_id=watermark, now=now)


def books(tx: Transaction) -> dict[str, Decimal]:
    """What must hold of all books, and what they say. An invoice that is open has left nothing unbilled behind it."""
    tx.execute("set constraints all immediate")
    tx.execute("set constraints all deferred")
    balances = ledger_store.balances(tx)
    assert sum(balances.values()) == 0
    assert balances == ledger_store.summed(tx)
    ledger_store.rebuild(tx)
    assert balances == ledger_store.balances(tx)
    assert lots_against_ledger(tx) == []
    assert invoice_checks.receivables_that_differ(tx) == []
    _months_add_up(tx)
    _hours_add_up(tx)
    dollars: dict[str, Decimal] = {}
    for account, amount in balances.items():
        name = account.partition(":org_")[0]
        dollars[name] = dollars.get(name, Decimal(0)) + Decimal(amount) / 1_000_000
    return {name: amount for name, amount in dollars.items() if amount}


def _months_add_up(tx: Transaction) -> None:
    for row in tx.execute("select distinct month from invoices").fetchall():
        wrong = [
            *invoice_checks.unbilled_that_differs(tx, row["month"]),
            *invoice_checks.invoices_that_do_not_add_up(tx, row["month"]),
            *invoice_checks.invoices_below_zero(tx, row["month"]),
        ]
        assert wrong == []


def _hours_add_up(tx: Transaction) -> None:
    for row in tx.execute("select hour from rated_hours").fetchall():
        assert rated_checks.rated_otherwise_than_metered(tx, row["hour"]) == []
        assert rated_checks.lines_off_the_ledger(tx, row["hour"]) == []
        assert rated_checks.runs_below_zero(tx, row["hour"]) == []
