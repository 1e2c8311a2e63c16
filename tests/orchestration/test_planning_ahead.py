"""Plans that look ahead, from forecasts that were issued to orders that were placed; and deadlines that were missed."""

from datetime import datetime

import dagster as dg
import numpy as np
import pytest

from scalar.capacity.placing import run_pass
from scalar.database import Database, Transaction
from scalar.forecasts import demand_store
from scalar.forecasts import store as forecasts
from scalar.forecasts.demand import Demand
from scalar.forecasts.model import QUANTILES, Forecast
from scalar.forecasts.store import Kind, Subject
from scalar.forecasts.trials import Trial
from scalar.jobs.model import Tier
from scalar.market import store as market_store
from scalar.market.model import Side
from scalar.market.settings import MarketSettings
from scalar.metering.model import HOUR, hour_of
from scalar.planning import store
from scalar.planning.model import ActionKind, PlanState
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.forecasts import demand_forecast
from scalar_orchestration.defs.planning import (
    capacity_plan,
    no_deadline_was_missed,
    plan_orders,
    the_last_plan_can_be_decided_again,
)
from tests.made_up import a_customer, a_job_of
from tests.orchestration.conftest import materialized

H100 = Subject(kind=Kind.DEMAND, name="H100", tier="fast")


@pytest.fixture
def busy_week(database: Database) -> None:
    """64 GPUs were wanted in every hour, as was forecast, and are now; an hour of a node cost $16.80."""
    end = hour_of(utc_now())
    with database.transaction() as tx:
        # Prophet is not what this is about.
        forecasts.note_trial(tx, H100, Trial(at=utc_now(), worth=False))
        for number in range(7 * 24):
            hour = end - (number + 1) * HOUR
            demand_store.clear_hour(tx, hour, utc_now())
            demand_store.insert(tx, hour, [Demand(gpu_type="H100", tier="fast", running=64.0)])
        _scored(tx, end)
        customer = a_customer(tx)
        for _ in range(8):
            a_job_of(tx, customer, gpus=8, gpu_type="H100", now=utc_now())
        run_pass(tx, utc_now())
        tx.execute(
            """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
               values ('isku_sea3h100', %s, 1, 4, 16, 16.8, 17)""",
            [end - HOUR],
        )


def _scored(tx: Transaction, end: datetime) -> None:
    """Four days of a forecast that was ten times better than a copy, and whose band held."""
    made = Forecast(start=end - 168 * HOUR, quantiles=np.full((168, len(QUANTILES)), 64.0), member="test")
    forecast_id = forecasts.insert(tx, H100, made, scale=1.0, now=made.start)
    forecasts.insert_hours(tx, forecast_id, made)
    for hour in range(96):
        tx.execute(
            "insert into forecast_scores values (%s, %s, 64, 0.1, 1, 0.1, true, %s)",
            [forecast_id, made.start + hour * HOUR, end],
        )


@pytest.mark.usefixtures("busy_week")
def test_what_was_forecast_is_planned_and_ordered_within_the_caps(
    resource, market, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCALAR_PLAN_POLICY", "optimal")
    assert materialized(resource, market, demand_forecast).success
    done = materialized(resource, market, capacity_plan, the_last_plan_can_be_decided_again)
    assert done.success
    assert all(check.passed for check in done.get_asset_check_evaluations())
    with database.transaction() as tx:
        (plan,) = store.plans(tx, limit=1)
    bought = [each for each in plan.plan.actions if each.kind is ActionKind.BUY]
    for_days = [each for each in bought if each.window.end - each.window.start >= 24 * HOUR]
    assert for_days
    assert all("node-hours that are expected to want them" in each.reason for each in for_days)
    assert isinstance(plan_orders(database=resource, market=market), dg.SkipReason)
    with database.transaction() as tx:
        orders = market_store.open_orders(tx)
        assert store.plans(tx, limit=1)[0].state is PlanState.EXECUTED
    # What is above a cap is refused by the guards, and says so.
    assert 1 <= len(orders) <= len(bought)
    assert {order.request.side for order in orders} == {Side.BUY}
    caps = MarketSettings().caps
    assert sum(order.request.worst_case for order in orders) <= min(caps.per_hour, caps.per_day)


def test_a_deadline_that_was_missed_is_seen(resource, database: Database):
    now = utc_now()
    assert no_deadline_was_missed(database=resource).passed
    with database.transaction() as tx:
        flex = {"tier": Tier.FLEX, "max_runtime_seconds": 60}
        customer = a_customer(tx)
        late = a_job_of(tx, customer, now=now - 3 * HOUR, deadline=now - HOUR, **flex)
        a_job_of(tx, customer, now=now - 3 * HOUR, deadline=now + HOUR, **flex)
        ended = a_job_of(tx, customer, now=now - 3 * HOUR, deadline=now - HOUR, **flex)
        tx.execute("update jobs set state = 'cancelled', ended_at = %s where id = %s", [now, ended.id])
    seen = no_deadline_was_missed(database=resource)
    assert not seen.passed
    assert seen.metadata["due"].value == 1
    assert list(seen.metadata["late"].value) == [late.id]
