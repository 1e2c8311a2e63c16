"""Capacity plans: what to buy, keep on, sell or let go, and why; and the sensor that has them carried out."""

from datetime import timedelta

import dagster as dg

from scalar.planning import optimal, reactive, store
from scalar.planning.executing import execute
from scalar.planning.issued_foresight import FromForecasts
from scalar.planning.planning import decide_again, make_plan, situation
from scalar.planning.settings import PlanSettings
from scalar.planning.wants import needs, wanted
from scalar.replay.choosing import policy_in_force
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.market_prices import price_history
from scalar_orchestration.replay_tables import plan_plot
from scalar_orchestration.resources import NO_MARKET, MarketResource, PostgresResource
from scalar_orchestration.tables import actions_table

_WEEK = timedelta(days=7)
DECIDED_HERE = (reactive.NAME, optimal.NAME, optimal.FELL_BACK)

queued_jobs = dg.AssetSpec(
    "queued_jobs",
    group_name="planning",
    kinds={"postgres"},
    description="Jobs that wait, and why the last scheduling pass left them in the queue.",
)


@dg.asset(
    deps=[queued_jobs, price_history, "blocks", "instances", "demand_forecast", "price_forecast", "forecast_skill"],
    group_name="planning",
    kinds={"postgres"},
    owners=["team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
)
def capacity_plan(database: PostgresResource, market: MarketResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What to buy, keep on, sell or let go now, and why. `plan_orders` carries it out, unless it is a dry run."""
    desk, settings = market.desk(database), PlanSettings()
    with database.transaction() as tx:
        choice = policy_in_force(tx, settings.which)
    made = make_plan(desk, settings.policy, FromForecasts() if choice.policy == optimal.NAME else None)
    names = {kind.sku.id: kind.sku.alias for kind in made.situation.kinds}
    return dg.MaterializeResult(
        metadata={
            **({"ahead": plan_plot(made.decided.seen, names, made.situation.now)} if made.decided else {}),
            "plan": made.id,
            "policy": f"{choice.policy}: {choice.why}",
            "dry_run": desk.settings.dry_run,
            "actions": actions_table(made.plan.actions, names),
            "not_done": dg.MetadataValue.md("\n".join(f"- {note}" for note in made.plan.notes) or "Nothing."),
            "jobs_without_room": len(made.situation.queue),
            "machines": len(made.situation.machines),
            "nodes": len(made.situation.nodes),
            "idle_nodes": sum(node.free_gpus == node.gpus for node in made.situation.nodes),
            "nodes_wanted": sum(each.window.nodes for each in made.plan.actions if each.kind == "buy"),
        }
    )


@dg.asset_check(asset=capacity_plan)
def the_last_plan_can_be_decided_again(database: PostgresResource) -> dg.AssetCheckResult:
    """The same policy makes the same plan of the situation that was kept with it."""
    with database.transaction() as tx:
        last = store.plans(tx, limit=1)
    differ = [plan.id for plan in last if plan.policy in DECIDED_HERE and decide_again(plan) != plan.plan]
    return dg.AssetCheckResult(passed=bool(last) and not differ, metadata={"plans_that_differ": differ})


@dg.asset_check(asset=capacity_plan)
def the_solver_made_the_last_plan(database: PostgresResource) -> dg.AssetCheckResult:
    """Where it was out of time or failed, the reactive plan stands in, and this says so."""
    with database.transaction() as tx:
        last = store.plans(tx, limit=1)
    failed = [plan.notes[0] for plan in last if plan.policy == optimal.FELL_BACK]
    return dg.AssetCheckResult(
        passed=not failed, severity=dg.AssetCheckSeverity.WARN, metadata={"why": "\n".join(failed) or "It did."}
    )


@dg.asset_check(asset=capacity_plan)
def no_deadline_was_missed(database: PostgresResource) -> dg.AssetCheckResult:
    """Of the last week. Jobs that failed by themselves or were cancelled don't count."""
    now = utc_now()
    with database.transaction() as tx:
        due = store.due_between(tx, now - _WEEK, now)
    late = {each.job_id: f"due {each.deadline:%Y-%m-%d %H:%M}, {each.state}" for each in due if each.late(now)}
    return dg.AssetCheckResult(
        passed=not late, severity=dg.AssetCheckSeverity.WARN, metadata={"due": len(due), "late": late}
    )


@dg.schedule(
    target=[capacity_plan],
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks at what there is and what is wanted every five minutes.",
)
def plan_often(market: MarketResource) -> dg.RunRequest | dg.SkipReason:
    return dg.RunRequest() if market.configured else dg.SkipReason(NO_MARKET)


@dg.sensor(
    target=[capacity_plan],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has a plan made when jobs find no room, the buffer is short, or busy nodes' time is nearly up.",
)
def plan_needed(database: PostgresResource, market: MarketResource) -> dg.SensorResult | dg.SkipReason:
    """What is needed for long is asked for once a minute: the minute is the run's key."""
    if not market.configured:
        return dg.SkipReason(NO_MARKET)
    now = utc_now()
    with database.transaction() as tx:
        seen = situation(tx, now)
    why = needs(wanted(seen, PlanSettings().policy))
    if not why:
        return dg.SkipReason("There is room for every job, or it is on its way.")
    tags = {"scalar/why": "; ".join(why)[:200]}
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"{now:%Y-%m-%d %H:%M}", tags=tags)])


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Turns the latest plan into orders, as far as the guards let it. A dry run is never carried out.",
)
def plan_orders(database: PostgresResource, market: MarketResource) -> dg.SkipReason:
    if not market.configured:
        return dg.SkipReason(NO_MARKET)
    if market.settings.dry_run:
        return dg.SkipReason("SCALAR_MARKET_DRY_RUN is on: plans are shown, and nothing is bought.")
    with database.transaction() as tx:
        done = execute(tx, caps=market.settings.caps, policy=PlanSettings().policy, now=utc_now())
    if done is None:
        return dg.SkipReason("No plan waits.")
    return dg.SkipReason(f"{done.plan_id} {done.state}: {done.ordered} order(s), {done.refused} without one.")
