"""Price history: what compute was traded for, hour by hour, and how the order book stood."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from scalar.errors import InvalidRequest
from scalar.market import figures, price_store, store
from scalar.market.collecting import collect
from scalar.market.prices import HOUR, hour_of
from scalar_orchestration.clock import utc_now
from scalar_orchestration.pictures import price_plot
from scalar_orchestration.resources import NO_MARKET, MarketResource, PostgresResource
from scalar_orchestration.tables import prices_table

PRICE_HOURS = dg.HourlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC))
_WEEK = timedelta(days=7)


@dg.asset(
    partitions_def=PRICE_HOURS,
    group_name="market",
    kinds={"postgres"},
    owners=["team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    backfill_policy=dg.BackfillPolicy.single_run(),
    freshness_policy=dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=2), fail_window=timedelta(hours=6)),
)
def price_history(
    context: dg.AssetExecutionContext, database: PostgresResource, market: MarketResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Trades of each hour by kind of machine; of the hour that is just over, the order book too.

    A range of hours is one paging through the market's trades: it remembers them for 30 days.
    """
    window = context.partition_time_window
    try:
        rows = collect(market.desk(database), window.start, window.end)
    except InvalidRequest as forgotten:
        raise dg.Failure(forgotten.message, allow_retries=False) from forgotten
    with database.transaction() as tx:
        names = {sku.id: sku.alias for sku in store.skus(tx)}
        history = {alias: figures.price_hours(tx, sku, window.end - _WEEK) for sku, alias in names.items()}
    return dg.MaterializeResult(
        metadata={
            "trades": sum(row.traded.trades for row in rows),
            "hours": len({row.hour for row in rows}),
            "prices": prices_table(rows, names),
            "last_7_days": price_plot(history),
        }
    )


@dg.asset_check(asset=price_history, description="What the guards of purchases go by is not a broken quote.")
def the_last_hours_prices_are_near_the_weeks(database: PostgresResource) -> dg.AssetCheckResult:
    """No kind of machine was traded, on average, at more than three times its usual price, or at less than a third."""
    now = utc_now()
    with database.transaction() as tx:
        odd = price_store.far_from_usual(tx, lately=now - 3 * HOUR, usually=now - _WEEK)
    return dg.AssetCheckResult(
        passed=not odd,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"odd": [f"{each.sku}, {each.hour:%H:%M}: {each.average} for {each.usual}" for each in odd]},
    )


@dg.sensor(
    target=[price_history],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Collects each hour once it is over, and those of the last week that were missed.",
)
def price_hours(database: PostgresResource, market: MarketResource) -> dg.SensorResult | dg.SkipReason:
    """An hour whose run was lost is asked for again, once an hour."""
    if not market.configured:
        return dg.SkipReason(NO_MARKET)
    this_hour = hour_of(utc_now())
    with database.transaction() as tx:
        missing = price_store.missing_hours(tx, this_hour - _WEEK, this_hour)
    if not missing:
        return dg.SkipReason("Every hour of the last week is there.")
    return dg.SensorResult(run_requests=[_request(missing[0], missing[-1], this_hour)])


def _request(first: datetime, last: datetime, this_hour: datetime) -> dg.RunRequest:
    """One run for all of them: what lies between and is there already is the same afterwards."""
    key = f"{_key(first)}..{_key(last)}, {_key(this_hour)}"
    if first == last:
        return dg.RunRequest(run_key=key, partition_key=_key(last))
    tags = {"dagster/asset_partition_range_start": _key(first), "dagster/asset_partition_range_end": _key(last)}
    return dg.RunRequest(run_key=key, tags=tags)


def _key(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%d-%H:%M")
