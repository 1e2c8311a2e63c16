"""Rated usage: what each hour of usage costs, in lines and in the ledger; and the proof that both are right."""

from datetime import timedelta

import dagster as dg

from scalar.billing import rated_checks
from scalar.billing.money import dollars
from scalar.billing.rated_usage import Rated, rate_hour
from scalar.metering.doubts import doubts
from scalar.metering.model import Window, hour_of
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.metering import HOURS
from scalar_orchestration.resources import PostgresResource

_LOOK_BACK = timedelta(days=62)


@dg.asset(
    partitions_def=HOURS,
    deps=["hourly_usage"],
    group_name="billing",
    kinds={"postgres"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def rated_usage(context: dg.AssetExecutionContext, database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What each run of an hour costs by the rate card in force; rated again, only differences are added."""
    window = Window.hour(context.partition_time_window.start)
    with database.transaction() as tx:
        doubtful = [each.says for each in doubts(tx, window) if not each.accepted]
    if doubtful:
        command = f"scalar periods accept {window.start:%Y-%m-%dT%H:%MZ} --reason …"
        raise dg.Failure(
            f"The usage of this hour is in doubt: {doubtful[0]}.",
            metadata={"doubts": doubtful, "to_accept_them": command},
            allow_retries=False,
        )
    with database.transaction() as tx:
        rated = rate_hour(tx, window.start, utc_now())
    return dg.MaterializeResult(metadata=_figures(rated))


@dg.asset_check(asset=rated_usage, blocking=True, partitions_def=HOURS)
def every_metered_second_is_rated_once(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """The lines of each run have the GPU seconds that were metered, and none costs less than nothing."""
    hour = Window.hour(context.partition_time_window.start).start
    with database.transaction() as tx:
        wrong = rated_checks.rated_otherwise_than_metered(tx, hour)
        negative = rated_checks.runs_below_zero(tx, hour)
    told = [f"{each.run_id} ({each.gpu_type}): metered {each.metered}, rated {each.rated}" for each in wrong]
    told += [f"{run_id}: below zero" for run_id in negative]
    return dg.AssetCheckResult(passed=not told, metadata={"runs": told})


@dg.asset_check(asset=rated_usage, blocking=True, partitions_def=HOURS)
def rated_lines_add_up_to_the_ledger(
    context: dg.AssetCheckExecutionContext, database: PostgresResource
) -> dg.AssetCheckResult:
    """What was posted for the hour is what its lines come to, to the micro-dollar."""
    hour = Window.hour(context.partition_time_window.start).start
    with database.transaction() as tx:
        wrong = rated_checks.lines_off_the_ledger(tx, hour)
    told = [f"{each.source}: lines {each.lines}, ledger {each.ledger} micro-dollars" for each in wrong]
    return dg.AssetCheckResult(passed=not told, metadata={"postings": told})


@dg.sensor(
    target=[rated_usage],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Rates each hour once its usage is built, again when it is built again, and credits what we lost.",
)
def hours_to_rate(database: PostgresResource) -> dg.SensorResult:
    """An hour whose run failed is asked for again, once an hour."""
    now = utc_now()
    with database.transaction() as tx:
        due = rated_checks.due_hours(tx, since=now - _LOOK_BACK, now=now)
    requests = [
        dg.RunRequest(run_key=f"{hour_of(hour).isoformat()} {why}, {hour_of(now).isoformat()}", partition_key=partition)
        for hour, why in due.items()
        if HOURS.has_partition_key(partition := f"{hour_of(hour):%Y-%m-%d-%H:%M}")
    ]
    return dg.SensorResult(run_requests=requests)


def _figures(rated: Rated) -> dict[str, int | float]:
    return {
        "lines": len(rated.lines),
        "organisations": len(rated.organisations),
        "dollars": float(dollars(rated.amount)),
        "credited_dollars": float(dollars(sum(min(0, line.amount) for line in rated.lines if line.kind == "credit"))),
    }
