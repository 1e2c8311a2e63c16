"""The market: the sensors that send orders and man what was bought, and the proof that both sides' books agree."""

import dagster as dg

from scalar.market.boarding import board
from scalar.market.comparing import reconcile
from scalar.market.reconciliations import last
from scalar.market.trading import trade
from scalar_orchestration.resources import NO_MARKET, MarketResource, PostgresResource
from scalar_orchestration.tables import findings_table

orders = dg.AssetSpec(
    "orders",
    group_name="market",
    kinds={"postgres"},
    description="What was bid for at the market, and what became of it. Written by the market_orders sensor.",
)
blocks = dg.AssetSpec(
    "blocks",
    group_name="market",
    kinds={"postgres"},
    deps=[orders],
    description="Rectangles of nodes and time that were bought, each at one price.",
)
instances = dg.AssetSpec(
    "instances",
    group_name="market",
    kinds={"postgres"},
    deps=[blocks],
    description="Machines at the market, which seat of which block each has, and the node that it became.",
)


@dg.sensor(
    minimum_interval_seconds=2,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends each intended order once, and follows every order to its end.",
)
def market_orders(database: PostgresResource, market: MarketResource) -> dg.SkipReason:
    if not market.configured:
        return dg.SkipReason(NO_MARKET)
    done = trade(market.desk(database))
    return dg.SkipReason(
        f"{done.sent} sent, {done.moved} moved on, {done.held_back} held back." + _problems(done.problems)
    )


@dg.sensor(
    minimum_interval_seconds=2,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Gets a machine for every node that was bought, sees it join, and ends it when its time is up.",
)
def market_instances(database: PostgresResource, market: MarketResource) -> dg.SkipReason:
    if not market.configured:
        return dg.SkipReason(NO_MARKET)
    done = board(market.desk(database))
    return dg.SkipReason(
        f"{done.asked_for} asked for, {done.ended} ended, {done.stopped_runs} runs stopped." + _problems(done.problems)
    )


@dg.asset(
    deps=[orders, blocks, instances],
    group_name="market",
    kinds={"postgres"},
    owners=["team:finance", "team:operations"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
)
def capacity_reconciliation(database: PostgresResource, market: MarketResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Where our orders, blocks, machines and money differ from the market's; while they do, nothing is bought."""
    verdict = reconcile(market.desk(database))
    return dg.MaterializeResult(
        metadata={
            "differences": len(verdict.findings),
            "findings": findings_table(verdict.findings),
            **verdict.figures,
        }
    )


@dg.asset_check(asset=capacity_reconciliation, blocking=True)
def our_books_and_the_markets_agree(database: PostgresResource) -> dg.AssetCheckResult:
    """No order, node, machine or dollar differs."""
    with database.transaction() as tx:
        verdict = last(tx)
    findings = verdict["findings"] if verdict else []
    return dg.AssetCheckResult(
        passed=verdict is not None and not findings,
        metadata={"differences": [f"{each['what']} {each['do']}" for each in findings]},
    )


@dg.schedule(
    target=[capacity_reconciliation],
    cron_schedule="*/10 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares our books with the market's every ten minutes.",
)
def reconcile_often(market: MarketResource) -> dg.RunRequest | dg.SkipReason:
    return dg.RunRequest() if market.configured else dg.SkipReason(NO_MARKET)


def _problems(problems: list[str]) -> str:
    return f" Not answered: {'; '.join(problems)}" if problems else ""
