"""A few hours of a demo week, on a real market, a real database and a real Dagster instance, in this process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from scalar.database import Database
from scalar.market.settings import MarketSettings
from scalar.metering.model import HOUR
from scalar_orchestration import resources
from scalar_orchestration.clock import time_is, utc_now
from scalar_orchestration.demo import findings
from scalar_orchestration.demo.customers import CUSTOMERS, arrivals, expected
from scalar_orchestration.demo.playing import Played, Plot, opened
from tests.orchestration.conftest import forget_settings
from tests.sandbox_process import SandboxMarket

MONDAY = datetime(2026, 11, 9, tzinfo=UTC)
PLOT = Plot(start=MONDAY, hours=7, wind_down_hours=0)
CAPS = {"MAX_ORDER": 500, "APPROVAL_ABOVE": 500, "MAX_HOUR": 600, "MAX_DAY": 2500}


@pytest.fixture
def sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resource: resources.PostgresResource
) -> Iterator[SandboxMarket]:
    begins = f"{MONDAY - timedelta(days=28):%Y-%m-%dT%H:%MZ}"
    with SandboxMarket(tmp_path / "market", start=begins, rule=["boot_seconds=300"]) as running:
        settings = {"URL": running.url, "TOKEN_FILE": str(running.token_file), "DRY_RUN": "false"}
        for name, value in {**settings, "PROCESS_RUNTIME": "true", **CAPS}.items():
            monkeypatch.setenv(f"SCALAR_MARKET_{name}", str(value))
        for name, value in {"POLICY": "optimal", "EXTEND_BEFORE_MINUTES": "35"}.items():
            monkeypatch.setenv(f"SCALAR_PLAN_{name}", value)
        forget_settings()
        yield running
        resources._shared_market(running.url, resource.url).close()
        resources._shared_market.cache_clear()
        forget_settings()


@pytest.fixture
def played(instance: dg.DagsterInstance, sandbox: SandboxMarket, said: list[str]) -> Played:
    assert sandbox.now < MONDAY.timestamp()
    with opened(PLOT, said.append, instance=instance) as demo:
        return demo.play()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.timeout(900)
def test_a_night_of_the_week_is_played(
    played: Played, instance: dg.DagsterInstance, database: Database, said: list[str]
):
    assert played.failed == []
    _orders_were_filled_within_the_caps(database)
    _forecasts_were_issued_and_scored_when_they_were_due(database)
    _every_hour_was_rated_and_costed(instance, database)
    _machines_were_there_before_who_they_were_bought_for(database, played)
    assert [each.policy for each in played.reports] == ["as it was", "reactive", "optimal", "oracle"]
    assert all(each.revenue > 0 and each.cost > 0 for each in played.reports)
    assert min(each.cost for each in played.reports) == played.reports[-1].cost
    assert any("the week" in line.lower() for line in said)


def _orders_were_filled_within_the_caps(database: Database) -> None:
    caps = MarketSettings().caps
    with database.transaction() as tx:
        an_order, an_hour, a_day = findings.most_spent(tx)
        planned = tx.execute("select count(*) as n from plan_actions where order_id is not null").fetchone()
    assert planned["n"] > 0
    assert 0 < an_order <= caps.per_order
    assert an_hour <= caps.per_hour
    assert a_day <= caps.per_day


def _forecasts_were_issued_and_scored_when_they_were_due(database: Database) -> None:
    with database.transaction() as tx:
        rows = tx.execute("select distinct issued_at as at from forecasts where kind = 'demand' order by at").fetchall()
        waiting = tx.execute(
            """select count(*) as n from forecasts f join forecast_hours h on h.forecast_id = f.id
               where f.kind = 'demand' and h.hour < %s and h.hour < f.issued_at + interval '1 day' and not exists (
                   select from forecast_scores s where s.forecast_id = f.id and s.hour = h.hour)""",
            [MONDAY],
        ).fetchone()
    days = [MONDAY - day * timedelta(days=1) for day in range(PLOT.forecast_days, -1, -1)]
    assert [row["at"] for row in rows][: len(days)] == days
    assert MONDAY + 6 * HOUR in [row["at"] for row in rows]
    assert waiting["n"] == 0


def _every_hour_was_rated_and_costed(instance: dg.DagsterInstance, database: Database) -> None:
    hours = {f"{MONDAY + number * HOUR:%Y-%m-%d-%H:%M}" for number in range(PLOT.hours)}
    for name in ("price_history", "demand_history", "run_costs"):
        assert hours <= instance.get_materialized_partitions(dg.AssetKey(name)), name
    assert instance.get_latest_materialization_event(dg.AssetKey("capacity_plan")) is not None
    with database.transaction() as tx:
        revenue, cost = findings.books(tx, PLOT.window)
    assert revenue > 0
    assert cost > 0


def _machines_were_there_before_who_they_were_bought_for(database: Database, played: Played) -> None:
    """Most of those that were bought before any job asked for them; and most fast jobs didn't wait."""
    assert played.ahead.machines > 0
    assert played.ahead.in_time >= played.ahead.used / 2 > 0
    with database.transaction() as tx:
        assert findings.waits(tx, PLOT.window).at_once > 0.5


def test_what_customers_ask_for_depends_on_the_seed_and_the_hour_alone():
    week = arrivals(MONDAY, MONDAY + 168 * HOUR, seed=1)
    assert week == arrivals(MONDAY, MONDAY + 168 * HOUR, seed=1) != arrivals(MONDAY, MONDAY + 168 * HOUR, seed=2)
    tuesday = MONDAY + 24 * HOUR
    assert [each for each in week if tuesday <= each.at < tuesday + 24 * HOUR] == arrivals(
        tuesday, tuesday + 24 * HOUR, seed=1
    )
    assert {each.organisation_id for each in week} == {each.name for each in CUSTOMERS}


def test_customers_have_a_busy_hour_and_a_weekend():
    for each in CUSTOMERS:
        by_hour = [expected(each, MONDAY + number * HOUR) for number in range(24)]
        assert by_hour.index(max(by_hour)) == each.peak
        assert max(by_hour) == pytest.approx(each.busy)
        assert expected(each, MONDAY + 5 * 24 * HOUR) == pytest.approx(by_hour[0] * each.weekend)


class TestAPlayedClock:
    def test_it_is_the_time_of_this_process_as_long_as_the_block_runs(self):
        with time_is(lambda: MONDAY):
            assert utc_now() == MONDAY
        assert utc_now() > MONDAY + timedelta(days=1)

    def test_it_ends_with_an_error_too(self):
        with pytest.raises(ValueError, match="over"), time_is(lambda: MONDAY):
            raise ValueError("over")
        assert utc_now() != MONDAY
