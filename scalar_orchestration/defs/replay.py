"""Months again, under other policies: what each would have cost and brought, beside the oracle; and the books."""

from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from scalar.billing.rate_cards_store import cards_between
from scalar.metering.model import Window
from scalar.replay import books, store
from scalar.replay.policies import NAMES, policy_named
from scalar.replay.reporting import oracle_of, replay_parts
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.market_prices import price_history
from scalar_orchestration.replay_tables import reports_plot, reports_table
from scalar_orchestration.resources import PostgresResource

REPLAYED_MONTHS = dg.MonthlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC), end_offset=1)


@dg.asset(
    partitions_def=REPLAYED_MONTHS,
    deps=[price_history, "rated_usage", "run_costs"],
    group_name="planning",
    kinds={"postgres"},
    owners=["team:operations"],
)
def policy_replay(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The month's jobs and prices under each policy, and what who knew everything would have paid.

    Of the month that runs: what there is of it.
    """
    month = _month(context.partition_time_window, utc_now())
    with database.transaction() as tx:
        parts = store.recorded_parts(tx, month.start, month.end)
        cards = cards_between(tx, month.start, month.end)
    if not parts:
        why = "No job ran, or no hour of the market's prices is known: nothing to replay."
        return dg.MaterializeResult(metadata={"replayed": why})
    found = [replay_parts(parts, partial(policy_named, name), cards) for name in NAMES]
    with database.transaction() as tx:
        for each in found:
            store.keep_report(tx, month.start.date(), each, utc_now())
    every = [*found, oracle_of(parts, cards)]
    return dg.MaterializeResult(
        metadata={
            "jobs": sum(len(part.history.arrivals) for part in parts),
            "gpu_types": ", ".join(part.setup.sku.gpu_type for part in parts),
            "in_dollars": reports_plot(every),
            "policies": reports_table(every),
        }
    )


@dg.asset_check(asset=policy_replay, partitions_def=REPLAYED_MONTHS)
def the_policy_that_ran_has_the_ledgers_books(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The month's costs and revenue, worked out anew from what was recorded, are the ledger's, to the micro-dollar."""
    window = context.partition_time_window
    with database.transaction() as tx:
        tx.execute("set transaction isolation level repeatable read, read only")
        month = Window(start=window.start, end=window.end)
        replayed, ledger = books.books(store.records(tx, month)), store.ledger_rows(tx, month)
    differ = sorted(row for row in replayed.keys() | ledger.keys() if replayed.get(row) != ledger.get(row))
    return dg.AssetCheckResult(
        passed=not differ,
        metadata={"rows": len(ledger), "differ": [f"{kind} {what}: {account}" for kind, what, account in differ[:50]]},
    )


@dg.schedule(
    target=[policy_replay],
    cron_schedule="30 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Replays the month of the day before, each night; a month that is over, until that was done once.",
)
def replay_nightly(
    context: dg.ScheduleEvaluationContext, database: PostgresResource
) -> list[dg.RunRequest] | dg.SkipReason:
    today = context.scheduled_execution_time.astimezone(UTC)
    months = {_first(today - timedelta(days=1)), _first(_first(today) - timedelta(days=1))}
    with database.transaction() as tx:
        whole = store.last_whole_month(tx)
    left = sorted(month for month in months if whole is None or month.date() > whole)
    known = [key for key in (f"{month:%Y-%m-%d}" for month in left) if REPLAYED_MONTHS.has_partition_key(key)]
    if not known:
        return dg.SkipReason("Every month that is over was replayed.")
    return [dg.RunRequest(run_key=f"{key}, {today:%Y-%m-%d}", partition_key=key) for key in known]


def _first(day: datetime) -> datetime:
    return day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _month(window: dg.TimeWindow, now: datetime) -> Window:
    return Window(start=window.start, end=max(window.start, min(window.end, now)))
