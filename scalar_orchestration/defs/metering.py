"""Hourly usage: what every organisation used, by hour, tier and GPU type; and the proof that it is right."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from scalar.metering import store
from scalar.metering.hours import Backlog, due
from scalar.metering.model import HOUR, Window, hour_of
from scalar.metering.usage import usage_in
from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import PostgresResource
from scalar_orchestration.tables import usage_table

HOURS = dg.HourlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC))
_LOOK_BACK = timedelta(days=7)

usage_events = dg.AssetSpec(
    "usage_events",
    group_name="metering",
    kinds={"postgres"},
    description="Starts, signs of life and ends of containers, as their nodes report them. Immutable.",
)


@dg.asset(
    partitions_def=HOURS,
    deps=[usage_events],
    group_name="metering",
    kinds={"postgres"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def hourly_usage(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """GPU seconds of an hour, by organisation, tier and GPU type; rebuilt whole when an event for it comes late."""
    window = Window.hour(context.partition_time_window.start)
    with database.transaction() as tx:
        last_event_id = store.watermark(tx)
    with database.transaction() as tx:
        records = usage_in(store.spans_in(tx, window), window)
        store.replace_hour(tx, window.start, records, last_event_id=last_event_id, now=utc_now())
    total = float(sum(record.gpu_seconds for record in records))
    return dg.MaterializeResult(
        metadata={"runs": len(records), "gpu_hours": total / 3600, "by_organisation": usage_table(records)}
    )


@dg.asset_check(asset=hourly_usage, blocking=True, partitions_def=HOURS)
def no_gpu_second_is_counted_twice(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """No two runs were metered on one GPU at one time."""
    with database.transaction() as tx:
        doubles = store.gpus_used_twice(tx, _window(context))
    return dg.AssetCheckResult(
        passed=not doubles, metadata={"doubles": [f"{d.node_id}/{d.gpu_index}: {d}" for d in doubles]}
    )


@dg.asset_check(asset=hourly_usage, blocking=True, partitions_def=HOURS)
def metered_time_equals_the_runs_own_time(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The hours of each run that ended in this one add up to its containers' time from start to end."""
    with database.transaction() as tx:
        wrong = store.runs_that_differ(tx, _window(context))
    return dg.AssetCheckResult(
        passed=not wrong, metadata={"runs": [f"{d.run_id}: metered {d.metered}, ran {d.own}" for d in wrong]}
    )


@dg.sensor(
    target=[hourly_usage],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds each hour once it is over, and again when an event that belongs to it comes late.",
)
def usage_hours(context: dg.SensorEvaluationContext, database: PostgresResource) -> dg.SensorResult:
    """The cursor is how far events have been looked at, and which hours of them are not over yet.

    An hour whose run was lost is asked for again, once an hour, for a week.
    """
    now = utc_now()
    backlog = Backlog.from_json(json.loads(context.cursor)) if context.cursor else Backlog()
    with database.transaction() as tx:
        watermark = store.watermark(tx)
    with database.transaction() as tx:
        fresh = store.new_usage(tx, backlog.event_id, watermark)
        unbuilt = store.unbuilt_hours(tx, since=now - _LOOK_BACK, until=hour_of(now) - HOUR)
    hours, backlog = due(backlog, fresh, watermark=watermark, now=now)
    asked = {hour: f"{hour.isoformat()}@{watermark}" for hour in hours}
    again = {hour: f"{hour.isoformat()} again, {hour_of(now).isoformat()}" for hour in unbuilt}
    requests = [
        dg.RunRequest(run_key=key, partition_key=partition)
        for hour, key in sorted({**again, **asked}.items())
        if HOURS.has_partition_key(partition := hour.strftime("%Y-%m-%d-%H:%M"))
    ]
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(backlog.to_json()))


def _window(context: dg.AssetCheckExecutionContext) -> Window:
    return Window.hour(context.partition_time_window.start)
