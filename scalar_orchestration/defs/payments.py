"""Payments: the sensors that have Stripe collect what is due, and the proof that its statement and our ledger agree."""

from collections.abc import Callable
from functools import cache, partial
from time import monotonic

import dagster as dg

from scalar.billing import refunds, stripe_events, stripe_statement, stripe_sync, top_ups
from scalar.billing.charging import charge_due
from scalar.billing.overdue import tell_overdue
from scalar.billing.stripe import Stripe
from scalar.billing.stripe_settings import DunningSettings, StripeSettings
from scalar.billing.till import Done, Till
from scalar.billing.turns import SECONDS
from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import PostgresResource

NO_STRIPE = "Stripe is not configured: set SCALAR_STRIPE_API_KEY_FILE."


@dg.sensor(
    name="stripe_sync",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has each open invoice at Stripe, as it is with us, and charged once; sends refunds and top-ups.",
)
def stripe_sync_sensor(database: PostgresResource) -> dg.SkipReason:
    till = _till(database)
    if till is None:
        return dg.SkipReason(NO_STRIPE)
    synced, charged, refunded, topped_up = _each_in_turn(
        partial(stripe_sync.sync, till),
        partial(charge_due, till),
        partial(refunds.send, till),
        partial(top_ups.send, till),
    )
    problems = _problems(synced, charged, refunded, topped_up)
    return dg.SkipReason(
        f"{synced.moved} invoice(s) and customer(s) synced, {charged.moved} charged, {refunded.moved} refund(s),"
        f" {topped_up.moved} top-up(s).{problems}"
    )


@dg.sensor(
    name="stripe_events",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Handles what Stripe has told: fetches what it is about, and has our books follow.",
)
def stripe_events_sensor(database: PostgresResource) -> dg.SkipReason:
    till = _till(database)
    if till is None:
        return dg.SkipReason(NO_STRIPE)
    done = stripe_events.handle_events(till)
    with database.transaction() as tx:
        stripe_events.clean_up(tx, utc_now())
    return dg.SkipReason(f"{done.moved} event(s) handled.{_problems(done)}")


@dg.sensor(
    name="dunning",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tries again, by the schedule, to collect invoices whose card was declined, and tells their customers.",
)
def dunning_sensor(database: PostgresResource) -> dg.SkipReason:
    till = _till(database)
    if till is None:
        return dg.SkipReason(NO_STRIPE)
    done = charge_due(till, again=True)
    return dg.SkipReason(f"{done.moved} tried again.{_problems(done)}")


@dg.sensor(
    name="overdue_invoices",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells customers, by the schedule, of overdue invoices that they have to pay by themselves.",
)
def overdue_invoices_sensor(database: PostgresResource) -> dg.SkipReason:
    told = tell_overdue(database.transaction, DunningSettings(), utc_now())
    return dg.SkipReason(f"{told} notice(s) of overdue invoices.")


@dg.asset(
    group_name="billing",
    kinds={"postgres", "stripe"},
    owners=["team:finance"],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=30),
)
def stripe_statement_lines(database: PostgresResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Stripe's own statement of its balance; what of it nobody told us of is looked up and booked."""
    till = _till(database)
    if till is None:
        raise dg.Failure(NO_STRIPE, allow_retries=False)
    done = stripe_statement.read(till)
    return dg.MaterializeResult(metadata={"new_lines": done.moved, "not_answered": done.problems})


@dg.asset_check(asset=stripe_statement_lines, blocking=True)
def payments_tie_to_stripe(database: PostgresResource) -> dg.AssetCheckResult:
    """Our payments less their fees are what moved on Stripe's balance, line by line, to the cent."""
    with database.transaction() as tx:
        found = stripe_statement.tied(tx)
    return dg.AssetCheckResult(
        passed=found.agrees,
        metadata={
            "at_stripe_dollars": found.theirs / 100,
            "in_ledger_dollars": found.ours / 100,
            "fees_dollars": found.fees / 100,
            "differences": [
                f"{each.id} ({each.type}, {each.source}): {each.theirs} cents there, {each.ours} here"
                for each in found.differences
            ],
            "on_no_statement": list(found.strangers),
        },
    )


@dg.schedule(
    target=[stripe_statement_lines],
    cron_schedule="7,37 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares our ledger with Stripe's statement every half hour.",
)
def tie_to_stripe() -> dg.RunRequest | dg.SkipReason:
    return dg.RunRequest() if StripeSettings().configured else dg.SkipReason(NO_STRIPE)


def _each_in_turn(*turns: Callable[..., Done]) -> list[Done]:
    """Each has its share of the time that is left. What one of them dies of fails the tick once all have had theirs."""
    end, done, died = monotonic() + SECONDS, list[Done](), list[Exception]()
    for left, take in zip(range(len(turns), 0, -1), turns, strict=True):
        try:
            done.append(take(seconds=max(end - monotonic(), 0) / left))
        except Exception as error:  # noqa: BLE001 - raised again below
            died.append(error)
    if died:
        raise ExceptionGroup("The others had their turn.", died)
    return done


def _till(database: PostgresResource) -> Till | None:
    settings = StripeSettings()
    if not settings.configured:
        return None
    return Till(
        stripe=_shared_stripe(settings), settings=DunningSettings(), transact=database.transaction, clock=utc_now
    )


@cache
def _shared_stripe(settings: StripeSettings) -> Stripe:
    """One client a process: its connections stay open. What is not answered soon is asked again in a later turn."""
    return Stripe(settings.read_key, api_base=settings.api_base, retries=0, timeout=10.0)


def _problems(*done: Done) -> str:
    problems = [each for one in done for each in one.problems]
    return f" Not done: {'; '.join(problems)}" if problems else ""
