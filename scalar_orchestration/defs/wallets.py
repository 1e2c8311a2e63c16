"""Credit: paying for usage with it as it is rated, and what happens when it is used up."""

import dagster as dg

from scalar.billing import wallet_store, wallets
from scalar.billing.exhaustion import sweep
from scalar.billing.hold_store import release_rated
from scalar.billing.money import dollars
from scalar.billing.wallets import EXPIRY_SLACK
from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import PostgresResource


@dg.asset(
    deps=["rated_usage"],
    group_name="billing",
    kinds={"postgres"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5),
)
def credit_draws(database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Credit used for usage that was rated: what expires first goes first, what was bought goes last."""
    now = utc_now()
    with database.transaction() as tx:
        owing = wallet_store.organisations_to_draw(tx, now - EXPIRY_SLACK)
        released = release_rated(tx, now)
    drawn = 0
    for organisation_id in owing:
        with database.transaction() as tx:
            drawn += wallets.draw(tx, organisation_id, now, used_at=now - EXPIRY_SLACK)
    return dg.MaterializeResult(
        metadata={"organisations": len(owing), "dollars": float(dollars(drawn)), "holds_released": released}
    )


@dg.asset_check(asset=credit_draws, blocking=True)
def every_wallet_is_what_the_ledger_says(database: PostgresResource) -> dg.AssetCheckResult:
    """What is left of an organisation's lots is what its accounts have, and what was used of them was drawn."""
    with database.transaction() as tx:
        wrong = wallet_store.lots_against_ledger(tx)
    return dg.AssetCheckResult(passed=not wrong, metadata={"organisations": [str(row) for row in wrong]})


@dg.sensor(
    target=[credit_draws],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has credit drawn where some organisation has credit and usage that is not paid from it.",
)
def credit_to_draw(database: PostgresResource) -> dg.RunRequest | dg.SkipReason:
    now = utc_now()
    with database.transaction() as tx:
        owing = wallet_store.organisations_to_draw(tx, now - EXPIRY_SLACK)
    if not owing:
        return dg.SkipReason("Nobody has credit and something to pay with it.")
    # Once a minute at most, should a run of it fail.
    return dg.RunRequest(run_key=f"{now:%Y-%m-%dT%H:%M}")


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Stops flex jobs of organisations with nothing left, and jobs that have cost their max_cost; writes off"
    " grants whose time is over.",
)
def empty_wallets(database: PostgresResource) -> dg.SkipReason:
    done = sweep(database.transaction, utc_now())
    return dg.SkipReason(
        f"{done.empty} organisation(s) with nothing left, {done.stopped} job(s) stopped,"
        f" ${dollars(done.expired):.2f} of grants expired."
    )
