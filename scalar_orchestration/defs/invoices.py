"""Invoices of a month: drafts, the proof that they are right, and their opening.

rated_usage ─► invoices (drafts) ─► blocking checks ─► opened_invoices ─► closed_month
                             block_pnl, job_margin, customer_margin, stripe_statement_lines ─┘
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from scalar.billing import invoice_checks as checks
from scalar.billing import invoice_figures as figures
from scalar.billing import invoice_sources as sources
from scalar.billing import invoice_store, month_ties, periods
from scalar.billing import invoices as deeds
from scalar.billing.invoice_drafts import draft_month
from scalar.billing.invoice_settings import invoice_settings
from scalar.billing.ledger_store import closed_periods
from scalar.billing.months import month_of, start_of
from scalar.database import Transaction
from scalar.errors import Conflict
from scalar_orchestration.clock import utc_now
from scalar_orchestration.invoice_pictures import customers_plot, months_plot
from scalar_orchestration.invoice_tables import customers_table, months_table, unpaid_table, usd
from scalar_orchestration.resources import PostgresResource

MONTHS = dg.MonthlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC))
_ACTOR = "dagster"
_MONTHS_BACK = 3
"""So far back it is seen that a commitment was never invoiced."""


@dg.asset(
    partitions_def=MONTHS,
    deps=["rated_usage"],
    group_name="billing",
    kinds={"postgres"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def invoices(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A month's invoices as they would be now: drafts are made anew, those that are open stay as they are."""
    month = _month(context)
    with database.transaction() as tx:
        drafted = draft_month(tx, month, utc_now())
    with database.transaction() as tx:
        seen = _figures(tx, month)
    new = {"drafts": drafted.drafts, "rated_lines_added": drafted.lines_added, "drafts_total": usd(drafted.total)}
    return dg.MaterializeResult(metadata={**new, **seen})


@dg.asset_check(asset=invoices, blocking=True, partitions_def=MONTHS)
def every_hour_of_the_month_is_rated(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """No hour in which something was used is left to be metered or rated."""
    with database.transaction() as tx:
        hours = checks.unrated_hours(tx, _month(context))
    return _found(f"{hour:%Y-%m-%d %H:%M} is not rated" for hour in hours)


@dg.asset_check(asset=invoices, blocking=True, partitions_def=MONTHS)
def every_rated_line_is_on_exactly_one_invoice(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """Of the month, and of earlier ones whose invoices were open already when it came. Postgres lets none be on two."""
    with database.transaction() as tx:
        return _found(checks.lines_on_no_invoice(tx, _month(context)))


@dg.asset_check(asset=invoices, blocking=True, partitions_def=MONTHS)
def lines_add_up_to_their_invoice(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """To its total in cents, and to the rated lines behind it to the micro-dollar."""
    with database.transaction() as tx:
        return _found(checks.invoices_that_do_not_add_up(tx, _month(context)))


@dg.asset_check(asset=invoices, blocking=True, partitions_def=MONTHS)
def nobody_is_charged_less_than_nothing(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """No total, no amount due and no line of the month's usage is below zero."""
    with database.transaction() as tx:
        return _found(checks.invoices_below_zero(tx, _month(context)))


@dg.asset_check(asset=invoices, blocking=True, partitions_def=MONTHS)
def unbilled_is_what_is_on_no_open_invoice(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The ledger's unbilled amount of each customer: rated lines on no open invoice, less credit drawn for them."""
    with database.transaction() as tx:
        return _found(checks.unbilled_that_differs(tx, _month(context)))


@dg.asset(
    partitions_def=MONTHS,
    deps=[invoices],
    group_name="billing",
    kinds={"postgres"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def opened_invoices(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A month's invoices, numbered, in the books and due: they never change any more."""
    month = _month(context)
    with _saying_why(), database.transaction() as tx:
        made = deeds.open_month(tx, month, actor=_ACTOR, now=utc_now(), due_in=invoice_settings().due_in)
    with database.transaction() as tx:
        seen = _figures(tx, month)
    return dg.MaterializeResult(metadata={"opened": [str(each.number) for each in made], **seen})


@dg.asset_check(asset=opened_invoices, blocking=True, partitions_def=MONTHS)
def no_draft_is_left(context: dg.AssetCheckExecutionContext, database: PostgresResource) -> dg.AssetCheckResult:
    """Every invoice of the month is open, or has been."""
    with database.transaction() as tx:
        return _found(invoice_store.drafts(tx, _month(context)).values())


@dg.asset_check(asset=opened_invoices, blocking=True, partitions_def=MONTHS)
def receivables_are_what_is_left_to_be_paid(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """What the ledger has of each customer as owed is on open invoices, or was carried forward."""
    del context
    with database.transaction() as tx:
        return _found(checks.receivables_that_differ(tx))


@dg.asset_check(asset=opened_invoices, blocking=True, partitions_def=MONTHS)
def balances_are_what_their_entries_add_up_to(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """Each account's, to the micro-dollar; where one isn't, `scalar periods rebuild-balances` adds them up anew."""
    del context
    with database.transaction() as tx:
        return _found(month_ties.unlike_entries(tx))


@dg.asset(
    partitions_def=MONTHS,
    deps=[opened_invoices, "block_pnl", "job_margin", "customer_margin", "stripe_statement_lines"],
    group_name="billing",
    kinds={"postgres"},
    owners=["team:finance"],
)
def closed_month(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A month whose books take nothing more: materialize it by hand. It fails with all that stands in the way."""
    month = _month(context)
    with _saying_why(), database.transaction() as tx:
        periods.close(tx, month, actor=_ACTOR, now=utc_now())
    with database.transaction() as tx:
        books, seen = periods.period(tx, month), _figures(tx, month)
    return dg.MaterializeResult(metadata={"closed_at": str(books.closed_at), "closed_by": str(books.closed_by), **seen})


@dg.asset_check(asset=closed_month, blocking=True, partitions_def=MONTHS)
def the_month_is_closed_and_still_ties(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """Its books are closed, and nothing stands in the way of it: no hour, no draft, no difference."""
    month = _month(context)
    with database.transaction() as tx:
        is_open = periods.period(tx, month).closed_at is None
        return _found([*(["it is not closed"] if is_open else []), *periods.in_the_way(tx, month, utc_now())])


@dg.sensor(
    target=[invoices],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes a month's drafts once it is over, and again when usage that belongs on them is rated later.",
)
def months_to_invoice(database: PostgresResource) -> dg.SensorResult:
    """By the newest rated line that waits; one whose run failed is asked for again, once an hour."""
    now = utc_now()
    hour = f"{now:%Y-%m-%d %H}h"
    with database.transaction() as tx:
        # Commitments are due where nothing was used, too.
        waiting = dict.fromkeys(_committed(tx, now), f"committed, {hour}")
        waiting |= {each.month: f"line {each.last_line}, {hour}" for each in sources.backlog(tx, now)}
    waiting.setdefault(_month_before(month_of(now)), "first")
    return dg.SensorResult(run_requests=[_request(month, why) for month, why in waiting.items() if _has(month)])


@dg.sensor(
    target=[invoices, opened_invoices],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Opens a month's invoices SCALAR_BILLING_INVOICE_AFTER_DAYS days after it, if every check holds.",
)
def invoices_to_open(database: PostgresResource) -> dg.SensorResult:
    """What a check holds back is tried again, once a day."""
    now = utc_now()
    with database.transaction() as tx:
        months = [each.month for each in periods.periods(tx, limit=240) if each.drafts]
    due = [month for month in months if _has(month) and invoice_settings().opens_at(month) <= now]
    return dg.SensorResult(run_requests=[_request(month, f"open, {now:%Y-%m-%d}") for month in sorted(due)])


@contextmanager
def _saying_why() -> Iterator[None]:
    """What is refused fails at once, with every reason: trying again changes nothing."""
    try:
        yield
    except Conflict as error:
        reasons: Any = error.details.get("reasons", [error.message])
        raise dg.Failure(error.message, metadata={"in_the_way": reasons}, allow_retries=False) from error


def _figures(tx: Transaction, month: date) -> dict[str, dg.MetadataValue | str | float]:
    known, customers = periods.periods(tx, limit=12), figures.customers_of(tx, month)
    totals = figures.totals_of(tx, month)
    return {
        "revenue": periods.period(tx, month).revenue / 1_000_000,
        "invoiced": usd(totals.total),
        "due": usd(totals.due),
        "unpaid": usd(totals.outstanding),
        "states": ", ".join(f"{count} {state}" for state, count in sorted(totals.states.items())) or "none",
        "top_customers": customers_table(customers),
        "unpaid_invoices": unpaid_table(figures.unpaid(tx)),
        "months": months_table(known),
        "by_month": months_plot(known),
        "by_customer": customers_plot(customers),
    }


def _found(wrong: Iterable[str]) -> dg.AssetCheckResult:
    """Passed where nothing is wrong."""
    told = list(wrong)
    return dg.AssetCheckResult(passed=not told, metadata={"found": told[:100], "how_many": len(told)})


def _month(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    return month_of(context.partition_time_window.start)


def _committed(tx: Transaction, now: datetime) -> list[date]:
    """Of the last months that are over: those that somebody has committed to, and has no invoice of."""
    months, closed = [_month_before(month_of(now))], closed_periods(tx)
    while len(months) < _MONTHS_BACK:
        months.append(_month_before(months[-1]))
    return [month for month in months if month not in closed and sources.commitments_waiting(tx, month)]


def _month_before(month: date) -> date:
    return month_of(start_of(month) - timedelta(days=1))


def _has(month: date) -> bool:
    return MONTHS.has_partition_key(_key(month))


def _key(month: date) -> str:
    return f"{month:%Y-%m-%d}"


def _request(month: date, why: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"{month:%Y-%m} {why}", partition_key=_key(month))
