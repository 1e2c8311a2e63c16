"""What each job's node really cost, and the margin: from the market's prices to what was earned, and the ties between.

blocks, hourly_usage ─► run_costs (by hour) ─┬─► block_pnl ───────► ties to the market's statement
                        rated_usage ─────────┼─► job_margin ──────► ties to the ledger
                                             └─► customer_margin ─► adds up to the month
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from scalar.billing import cost_store, costing, margin_store, tie_store
from scalar.billing.margin import left_over
from scalar.billing.money import usd
from scalar.metering.model import HOUR, Window, hour_of
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.market import blocks
from scalar_orchestration.defs.metering import HOURS, hourly_usage
from scalar_orchestration.margin_pictures import blocks_plot, customers_plot, hours_plot, jobs_plot, months_plot
from scalar_orchestration.margin_tables import (
    blocks_table,
    customers_table,
    jobs_table,
    months_table,
    nodes_table,
    ties_table,
)
from scalar_orchestration.resources import PostgresResource

MONTHS = dg.MonthlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC), end_offset=1)
RATED = dg.AssetKey("rated_usage")
_LEAST_EARNING = 200
_WEEK = timedelta(days=7)
_YEAR = timedelta(days=366)
_LATE_DAYS = 7
_HOURS_A_TICK = 48
"""Months of hours that were never costed are asked for in turn."""


@dg.asset(
    partitions_def=HOURS,
    deps=[hourly_usage, blocks],
    group_name="billing",
    kinds={"postgres"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def run_costs(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What each node of an hour cost, by what its block was bought for less resale, and which runs bear it."""
    hour = context.partition_time_window.start
    with database.transaction() as tx:
        costing.post_market(tx, utc_now())
    with database.transaction() as tx:
        costs = costing.cost_hour(tx, hour, utc_now())
        week = margin_store.hours(tx, Window(start=hour + HOUR - _WEEK, end=hour + HOUR))
    return dg.MaterializeResult(
        metadata={
            "cost": usd(costs.total),
            "runs": len(costs.runs),
            "nodes": nodes_table(costs.nodes),
            "last_7_days": hours_plot(week),
        }
    )


@dg.asset_check(asset=run_costs, blocking=True, partitions_def=HOURS)
def the_ledger_has_what_the_hour_cost(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The ledger's supplier cost of the hour is its nodes', and theirs is the runs' and the idle time, exactly."""
    with database.transaction() as tx:
        ties = tie_store.hour_in_ledger(tx, context.partition_time_window.start)
    return dg.AssetCheckResult(passed=not any(each.off for each in ties), metadata={"ties": ties_table(ties)})


@dg.asset(
    partitions_def=MONTHS, deps=[run_costs, RATED], group_name="billing", kinds={"postgres"}, owners=["team:finance"]
)
def block_pnl(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What was paid for each block of the month, where that went until the month's end, and what its runs brought."""
    window = _month(context)
    with database.transaction() as tx:
        costing.post_market(tx, utc_now())
        found = margin_store.pnl(tx, cost_store.blocks_in(tx, window), window.end)
    return dg.MaterializeResult(
        metadata={
            "paid": usd(sum(each.paid for each in found)),
            "resold": usd(sum(each.resold for each in found)),
            "idle": usd(sum(each.idle_unshared for each in found)),
            "blocks": blocks_table(found),
            "where_it_went": blocks_plot(found),
        }
    )


@dg.asset_check(asset=block_pnl, blocking=True, partitions_def=MONTHS)
def every_block_adds_up_to_what_was_paid(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """Once a block is over: direct, idle shared, idle unshared and resold are its price, to the micro-dollar."""
    window = _month(context)
    with database.transaction() as tx:
        missing = [each.hour for each in cost_store.due_hours(tx, min(window.end, hour_of(utc_now())))]
        over = min([window.end, hour_of(utc_now()), *missing])
        wrong = left_over(margin_store.pnl(tx, cost_store.blocks_in(tx, window), window.end), over)
    return dg.AssetCheckResult(
        passed=not wrong and not (missing and _is_over(window)),
        metadata={"left_over": blocks_table(wrong), "hours_missing": [each.isoformat() for each in missing]},
    )


@dg.asset_check(asset=block_pnl, blocking=True, partitions_def=MONTHS)
def prepaid_node_hours_are_what_lies_ahead(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The ledger's prepaid node-hours are what of all blocks together is not used up or sold, to the micro-dollar."""
    del context
    with database.transaction() as tx:
        costing.post_market(tx, utc_now())
        tie = tie_store.prepaid_in_ledger(tx)
    return dg.AssetCheckResult(passed=not tie.off, metadata={"ties": ties_table([tie])})


@dg.asset_check(asset=block_pnl, blocking=True, partitions_def=MONTHS)
def the_cash_of_each_order_is_what_the_market_charged(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """Each order that filled in the month: the ledger's cash and the lines of the market's statement, to the cent."""
    window = _month(context)
    with database.transaction() as tx:
        read = tie_store.statement_read(tx, window)
        orders = tie_store.orders_on_statement(tx, window, read_until=read.until) if read.until is not None else []
    wrong = [each for each in orders if not each.agrees]
    unread = read.unread_fills if _is_over(window) else 0
    return dg.AssetCheckResult(
        passed=not wrong and not read.strange_lines and not unread,
        metadata={
            "orders": len(orders),
            "charged": usd(sum(each.theirs for each in orders)),
            "rounding": usd(sum(each.off for each in orders)),
            "wrong": ties_table(wrong),
            "strange_lines": list(read.strange_lines),
            "fills_not_read_yet": read.unread_fills,
        },
    )


@dg.asset(
    partitions_def=MONTHS, deps=[run_costs, RATED], group_name="billing", kinds={"postgres"}, owners=["team:finance"]
)
def job_margin(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What each job of the month brought, cost, and earned; those that earned least first."""
    window = _month(context)
    with database.transaction() as tx:
        found = margin_store.jobs(tx, window, limit=_LEAST_EARNING)
    return dg.MaterializeResult(
        metadata={
            "shown": len(found),
            "losing": sum(each.margin < 0 for each in found),
            "jobs": jobs_table(found),
            "cost_over_revenue": jobs_plot(found),
        }
    )


@dg.asset_check(asset=job_margin, blocking=True, partitions_def=MONTHS)
def revenue_is_what_the_ledger_has(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """Every posting of the month's usage has in revenue and credits what its rated lines add up to, exactly."""
    with database.transaction() as tx:
        wrong = tie_store.revenue_in_ledger(tx, _month(context))
    return dg.AssetCheckResult(passed=not wrong, metadata={"wrong": ties_table(wrong)})


@dg.asset(
    partitions_def=MONTHS, deps=[run_costs, RATED], group_name="billing", kinds={"postgres"}, owners=["team:finance"]
)
def customer_margin(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What each customer's jobs brought, cost and earned in the month; and the months of the last year."""
    window = _month(context)
    with database.transaction() as tx:
        found = margin_store.customers(tx, window)
        months = margin_store.months(tx, Window(start=window.end - _YEAR, end=window.end))
        this = margin_store.month_line(tx, window)
    return dg.MaterializeResult(
        metadata={
            "revenue": usd(this.revenue),
            "cost": usd(this.cost),
            "idle": usd(this.idle_unshared),
            "margin": usd(this.margin),
            "customers": customers_table(found),
            "by_customer": customers_plot(found),
            "months": months_table(months),
            "by_month": months_plot(months),
        }
    )


@dg.asset_check(asset=customer_margin, blocking=True, partitions_def=MONTHS)
def customers_add_up_to_the_month(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """All customers' revenue and cost, and what the company bears, are the month's, and the ledger's."""
    window = _month(context)
    with database.transaction() as tx:
        ties = tie_store.month_ties(tx, window)
    return dg.AssetCheckResult(passed=not any(each.off for each in ties), metadata={"ties": ties_table(ties)})


@dg.sensor(
    target=[run_costs],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Posts what was bought and sold; costs each hour once it is over, and again when it has changed since.",
)
def cost_hours(database: PostgresResource) -> dg.SensorResult:
    """An hour whose run was lost is asked for again, once an hour."""
    now = utc_now()
    with database.transaction() as tx:
        costing.post_market(tx, now)
    with database.transaction() as tx:
        due = cost_store.due_hours(tx, hour_of(now))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{each.hour.isoformat()} of {each.metered_at}, after {each.costed_at}, {hour_of(now)}",
                partition_key=partition,
            )
            for each in due[:_HOURS_A_TICK]
            if HOURS.has_partition_key(partition := each.hour.astimezone(UTC).strftime("%Y-%m-%d-%H:%M"))
        ]
    )


@dg.schedule(
    target=[block_pnl, job_margin, customer_margin],
    cron_schedule="20 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Margins of the month that runs, every hour; in its first week of the one before, too.",
)
def margins_of_the_month() -> list[dg.RunRequest]:
    now = utc_now()
    first = now.replace(day=1)
    months = [first] + ([first - timedelta(days=1)] if now.day <= _LATE_DAYS else [])
    return [dg.RunRequest(partition_key=f"{each:%Y-%m}-01") for each in months]


def _month(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Window:
    window = context.partition_time_window
    return Window(start=window.start.astimezone(UTC), end=window.end.astimezone(UTC))


def _is_over(window: Window) -> bool:
    return window.end <= utc_now()
