"""Replays and plans that look ahead, in Dagster."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import dagster as dg
import pytest

from scalar.database import Database
from scalar.planning import store as plans
from scalar.replay import store
from scalar.replay.model import Report
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.planning import (
    capacity_plan,
    the_last_plan_can_be_decided_again,
    the_solver_made_the_last_plan,
)
from scalar_orchestration.defs.replay import policy_replay, replay_nightly, the_policy_that_ran_has_the_ledgers_books
from scalar_orchestration.resources import PostgresResource
from tests.billing.month import Months
from tests.made_up import a_customer
from tests.orchestration.conftest import materialized

A_REPORT = Report(
    policy="reactive",
    jobs=0,
    finished=0,
    cost=Decimal(0),
    revenue=Decimal(0),
    resold=Decimal(0),
    wait_median=0.0,
    wait_p95=0.0,
    deadlines=0,
    missed_deadlines=0,
    interruptions=0,
    gpu_hours=0.0,
    owned_gpu_hours=0.0,
    orders=0,
)


def a_price(tx, hour, sku: str = "isku_h100") -> None:
    tx.execute(
        """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
           values (%s, %s, 1, 4, 16, 16.8, 17)""",
        [sku, hour],
    )


@pytest.fixture
def yesterday(database: Database):
    """A job of each hour of a day, metered and rated; and a price."""
    now = utc_now().replace(minute=0, second=0, microsecond=0)
    with database.transaction() as tx:
        months, acme = Months(tx), a_customer(tx)
        a_price(tx, now - timedelta(days=2))
        for hours in range(30, 3, -2):
            months.runs(acme, now - timedelta(hours=hours), 5400, gpus=8)
        months.until(now)
    return now


def test_a_month_is_replayed_beside_the_oracle(resource: PostgresResource, database: Database, yesterday):
    month = (yesterday - timedelta(hours=30)).replace(day=1)
    done = dg.materialize(
        [policy_replay, the_policy_that_ran_has_the_ledgers_books],
        resources={"database": resource},
        partition_key=f"{month:%Y-%m-%d}",
    )
    (made,) = done.asset_materializations_for_node("policy_replay")
    table = {row.data["policy"]: row.data for row in made.metadata["policies"].records}
    assert set(table) == {"reactive", "optimal", "oracle"}
    assert table["oracle"]["over_the_oracle"] == 1
    assert table["reactive"]["over_the_oracle"] >= 1
    assert str(made.metadata["in_dollars"].value).startswith("![The month under each policy](data:image/png;base64,")
    (check,) = done.get_asset_check_evaluations()
    assert check.passed
    with database.transaction() as tx:
        kept = store.reports(tx, month.date())
    assert kept["reactive"].revenue > Decimal(0)


def test_a_month_without_prices_says_so(resource: PostgresResource):
    done = dg.materialize([policy_replay], resources={"database": resource}, partition_key="2026-01-01")
    (made,) = done.asset_materializations_for_node("policy_replay")
    assert "nothing to replay" in str(made.metadata["replayed"].value)


def nightly(resource: PostgresResource, when: datetime) -> list[str]:
    context = dg.build_schedule_context(scheduled_execution_time=when)
    asked = replay_nightly(context, database=resource)
    return [request.partition_key for request in asked]


def test_each_night_the_month_is_replayed_and_the_last_one_until_it_was_whole(
    resource: PostgresResource, database: Database
):
    assert nightly(resource, datetime(2026, 3, 9, 3, 30, tzinfo=UTC)) == ["2026-02-01", "2026-03-01"]
    assert nightly(resource, datetime(2026, 3, 1, 3, 30, tzinfo=UTC)) == ["2026-02-01"]
    with database.transaction() as tx:
        store.keep_report(tx, date(2026, 2, 1), A_REPORT, datetime(2026, 2, 28, 3, 30, tzinfo=UTC))
    assert nightly(resource, datetime(2026, 3, 9, 3, 30, tzinfo=UTC)) == ["2026-02-01", "2026-03-01"]
    with database.transaction() as tx:
        store.keep_report(tx, date(2026, 2, 1), A_REPORT, datetime(2026, 3, 1, 3, 30, tzinfo=UTC))
    assert nightly(resource, datetime(2026, 3, 9, 3, 30, tzinfo=UTC)) == ["2026-03-01"]


def test_a_plan_that_looks_ahead_is_drawn_and_can_be_decided_again(
    resource: PostgresResource, market, database: Database, yesterday, monkeypatch
):
    monkeypatch.setenv("SCALAR_PLAN_POLICY", "optimal")
    with database.transaction() as tx:
        a_price(tx, yesterday - timedelta(hours=1), "isku_sea3h100")
    checks = [the_last_plan_can_be_decided_again, the_solver_made_the_last_plan]
    done = materialized(resource, market, capacity_plan, *checks)
    assert done.success
    (made,) = done.asset_materializations_for_node("capacity_plan")
    assert str(made.metadata["policy"].value) == "optimal: The setting says so."
    assert str(made.metadata["ahead"].value).startswith("![What is owned, planned and foreseen](data:image/png;")
    assert all(check.passed for check in done.get_asset_check_evaluations())
    with database.transaction() as tx:
        (last,) = plans.plans(tx, limit=1)
    assert last.policy == "optimal"
    assert last.inputs.outlook.kinds
