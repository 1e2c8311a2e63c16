"""What was wanted hour by hour, what is forecast of it and of prices, and how good forecasts have been.

queued jobs, assignments ─► demand_history (by hour) ─► demand_forecast ─┬─► forecast_skill ─► authority of the planner
                                       price_history ─► price_forecast ──┘
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from scalar.forecasts import demand_store, issuing, store
from scalar.forecasts.authority import STEPS, authority
from scalar.forecasts.issuing import Made
from scalar.forecasts.model import HOUR, Series
from scalar.forecasts.store import Kind, Subject
from scalar.market import store as market
from scalar.metering.model import Window, hour_of
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.market_prices import price_history
from scalar_orchestration.forecast_pictures import ahead_plot, skill_plot, told_plot
from scalar_orchestration.forecast_tables import demand_table, forecasts_table, skill_table
from scalar_orchestration.resources import PostgresResource

DEMAND_HOURS = dg.HourlyPartitionsDefinition(start_date=datetime(2026, 1, 1, tzinfo=UTC))
_MONTH = timedelta(days=28)
_TWO_WEEKS = timedelta(days=14)
_LOOK_BACK = timedelta(days=7)
_HOURS_A_TICK = 24
_SHOWN = 3
_HOLDS = (0.8, 0.98)
"""Coverage of the 90 % band outside of which somebody should look; once there are enough hours."""
_ENOUGH = 24 * 14


@dg.asset(
    partitions_def=DEMAND_HOURS,
    deps=["queued_jobs", price_history],
    group_name="planning",
    kinds={"postgres"},
    owners=["team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def demand_history(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What customers wanted in an hour, by GPU type and tier: running and queued; refused for price or quota apart."""
    with database.transaction() as tx:
        found = issuing.build_hour(tx, _window(context), utc_now())
    return dg.MaterializeResult(
        metadata={
            "gpu_hours_wanted": sum(each.wanted for each in found),
            "gpu_hours_running": sum(each.running for each in found),
            "gpu_hours_refused": sum(each.refused_for_price + each.refused_for_quota for each in found),
            "demand": demand_table(found),
        }
    )


@dg.asset_check(asset=demand_history, blocking=True, partitions_def=DEMAND_HOURS)
def running_gpus_are_those_that_were_assigned(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The hour's running GPU-hours are its assignments', to the second."""
    with database.transaction() as tx:
        off = demand_store.unlike_the_queue(tx, Window.hour(context.partition_time_window.start))
    return dg.AssetCheckResult(passed=abs(off) * 3600 < 1, metadata={"gpu_hours_too_many": off})


@dg.asset(
    deps=[demand_history],
    group_name="planning",
    kinds={"postgres", "scikitlearn"},
    owners=["team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
)
def demand_forecast(database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """GPUs that will be wanted in each of the next 168 hours, by GPU type and tier, with quantiles."""
    made = issuing.issue(database.transaction, Kind.DEMAND, utc_now())
    return _shown(made, {}, "GPUs", nothing="No job was ever queued or ran in an hour that is over.")


@dg.asset(
    deps=[price_history],
    group_name="planning",
    kinds={"postgres", "scikitlearn"},
    owners=["team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
)
def price_forecast(database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What a node-hour will be traded for in each of the next 168 hours, by kind of machine, with quantiles."""
    made = issuing.issue(database.transaction, Kind.PRICE, utc_now())
    return _shown(made, _names(database), "$ per node-hour", nothing="No trade was ever seen.")


@dg.asset_check(asset=demand_forecast, blocking=True)
def every_demand_series_is_forecast(database: PostgresResource) -> dg.AssetCheckResult:
    """From the hour after the last one that is known."""
    with database.transaction() as tx:
        return _all_forecast(issuing.demand_series(tx), store.latest(tx, Kind.DEMAND))


@dg.asset_check(asset=price_forecast, blocking=True)
def every_price_series_is_forecast(database: PostgresResource) -> dg.AssetCheckResult:
    """From the hour after the last one that is known."""
    with database.transaction() as tx:
        return _all_forecast(issuing.price_series(tx), store.latest(tx, Kind.PRICE))


@dg.asset(
    deps=[demand_forecast, price_forecast],
    group_name="planning",
    kinds={"postgres"},
    owners=["team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
)
def forecast_skill(database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How good the last four weeks' forecasts were against a naive copy, and how far a plan may trust them."""
    now = utc_now()
    with database.transaction() as tx:
        scored = issuing.score(tx, now)
    with database.transaction() as tx:
        skills = store.skills(tx, now - _MONTH)
        days = store.skill_by_day(tx, now - _MONTH)
        told = {subject: store.told(tx, subject, now - _TWO_WEEKS) for subject in list(skills)[:_SHOWN]}
    names = _names(database)
    return dg.MaterializeResult(
        metadata={
            "said_and_came": told_plot(told, names),
            "skill_by_day": skill_plot(days, names),
            "skill": skill_table(skills, names),
            "scored_now": scored,
            "hours_scored": sum(each.hours for each in skills.values()),
            "rule": dg.MetadataValue.md(_RULE),
        }
    )


@dg.asset_check(asset=forecast_skill, blocking=True)
def every_forecast_whose_hour_came_is_scored(database: PostgresResource) -> dg.AssetCheckResult:
    with database.transaction() as tx:
        waiting = store.due(tx, utc_now() - _MONTH)
    return dg.AssetCheckResult(passed=not waiting, metadata={"hours_without_score": len(waiting)})


@dg.asset_check(asset=forecast_skill)
def bands_hold_nine_of_ten_hours(database: PostgresResource) -> dg.AssetCheckResult:
    """Of each series with two weeks of scores or more: between 80 and 98 %."""
    with database.transaction() as tx:
        skills = store.skills(tx, utc_now() - _MONTH)
    low, high = _HOLDS
    off = {
        str(s): f"{k.coverage:.0%}" for s, k in skills.items() if k.hours >= _ENOUGH and not low <= k.coverage <= high
    }
    return dg.AssetCheckResult(passed=not off, severity=dg.AssetCheckSeverity.WARN, metadata={"off": off})


@dg.asset_check(asset=forecast_skill)
def forecasts_have_their_full_authority(database: PostgresResource) -> dg.AssetCheckResult:
    """Where one has not: plans go less far on its word, and this says why."""
    with database.transaction() as tx:
        skills = store.skills(tx, utc_now() - _MONTH)
    less = {
        str(s): found.why for s, k in skills.items() if (found := authority(k)).horizon_hours < STEPS[0].horizon_hours
    }
    return dg.AssetCheckResult(passed=not less, severity=dg.AssetCheckSeverity.WARN, metadata={"less": less})


@dg.sensor(
    target=[demand_history],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at each hour's demand once the hour is over, and at those of the last week that were missed.",
)
def demand_hours(database: PostgresResource) -> dg.SensorResult | dg.SkipReason:
    """An hour whose run was lost is asked for again, once an hour."""
    this_hour = hour_of(utc_now())
    with database.transaction() as tx:
        missing = demand_store.missing_hours(tx, this_hour - _LOOK_BACK, this_hour)
    if not missing:
        return dg.SkipReason("Every hour since the first job was looked at.")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{_key(hour)}, {_key(this_hour)}", partition_key=_key(hour))
            for hour in missing[:_HOURS_A_TICK]
        ]
    )


@dg.sensor(
    target=[demand_forecast, price_forecast, forecast_skill],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has forecasts made, and those of the past scored, when another hour of demand or prices has landed.",
)
def history_landed(database: PostgresResource) -> dg.SensorResult | dg.SkipReason:
    with database.transaction() as tx:
        landed = {
            demand_forecast.key: (store.last_demand_hour(tx), store.last_issued(tx, Kind.DEMAND)),
            price_forecast.key: (store.last_price_hour(tx), store.last_issued(tx, Kind.PRICE)),
        }
    new = {key: last for key, (last, issued) in landed.items() if last is not None and _later(last + HOUR, issued)}
    if not new:
        return dg.SkipReason("The last forecasts knew all there is.")
    run_key = ", ".join(f"{key.to_user_string()} {_key(last)}" for key, last in sorted(new.items()))
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key, asset_selection=[*new, forecast_skill.key])])


@dg.schedule(
    target=[demand_forecast, price_forecast, forecast_skill],
    cron_schedule="10 0 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Forecasts and their skill ten minutes past midnight, whether or not anything new has landed.",
)
def forecast_daily() -> dg.RunRequest:
    return dg.RunRequest()


_RULE = "\n".join(
    [
        "Error below the naive copy's | coverage | limit price | order size | horizon",
        "--- | --- | --- | --- | ---",
        *(
            f"{step.gain:.0%} or more | {step.coverage:.0%} or more | x {step.limit_price} | x {step.order_size}"
            f" | {step.horizon_hours} h"
            for step in STEPS
        ),
        "else, or fewer than 72 hours scored | any | x 0.9 | x 0.25 | 6 h",
    ]
)


def _shown(made: Sequence[Made], names: Mapping[str, str], unit: str, *, nothing: str) -> dg.MaterializeResult:  # type: ignore[type-arg]
    if not made:
        return dg.MaterializeResult(metadata={"series": 0, "nothing": nothing})
    return dg.MaterializeResult(
        metadata={
            "series": len(made),
            "from": f"{made[0].forecast.start:%Y-%m-%d %H:%M} UTC",
            "week_ahead": ahead_plot(made, names, unit),
            "forecasts": forecasts_table(made, names),
        }
    )


def _all_forecast(series: Mapping[Subject, Series], latest: Sequence[store.Issued]) -> dg.AssetCheckResult:
    ends = {subject: each.end for subject, each in series.items()}
    there = {each.subject: each.issued_at for each in latest}
    missing = [str(subject) for subject, end in ends.items() if there.get(subject) != end]
    return dg.AssetCheckResult(passed=not missing, metadata={"series": len(ends), "missing": missing})


def _names(database: PostgresResource) -> dict[str, str]:
    with database.transaction() as tx:
        return {sku.id: sku.alias for sku in market.skus(tx)}


def _later(hour: datetime, than: datetime | None) -> bool:
    return than is None or hour > than


def _window(context: dg.AssetExecutionContext) -> Window:
    return Window.hour(context.partition_time_window.start)


def _key(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%d-%H:%M")
