"""Forecasts from the database and into it, and their scores once the hours have come."""

from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import psycopg
import pytest
from series import DAY, of_weeks

from scalar.capacity.placing import run_pass
from scalar.forecasts import demand_store, issuing, store
from scalar.forecasts.demand import Demand
from scalar.forecasts.model import HORIZON
from scalar.forecasts.store import Kind, Subject
from scalar.forecasts.trials import A_RUN, EVERY, Trial, due
from scalar.market import price_store
from scalar.market.prices import HourPrices, Traded
from scalar.metering.model import HOUR, Window
from tests.made_up import NOON, a_customer, a_job_of, a_node, launch, running, told

H100 = Subject(kind=Kind.DEMAND, name="H100", tier="fast")
SKU = Subject(kind=Kind.PRICE, name="isku_h100")
SHORT = of_weeks(1)[: 4 * DAY]


def known(tx, values, until=NOON, subject=H100) -> None:
    """Demand of the hours before `until`."""
    for number, value in enumerate(values):
        hour = until - (len(values) - number) * HOUR
        demand_store.clear_hour(tx, hour, until)
        if value:
            demand_store.insert(tx, hour, [Demand(gpu_type=subject.name, tier=subject.tier, running=float(value))])


def traded(tx, values, until=NOON) -> None:
    """Prices of the hours before; None: no trade."""
    for number, value in enumerate(values):
        price = None if value is None else Decimal(str(round(value, 6)))
        trades = Traded() if price is None else Traded(trades=1, low=price, average=price, high=price)
        price_store.upsert(tx, [HourPrices(sku=SKU.name, hour=until - (len(values) - number) * HOUR, traded=trades)])


@pytest.fixture
def no_trials(database):
    """Prophet was tried, and wasn't worth it."""
    with database.transaction() as tx:
        for subject in (H100, SKU):
            store.note_trial(tx, subject, Trial(at=NOON, worth=False))


def test_nothing_is_forecast_of_nothing(database):
    assert issuing.issue(database.transaction, Kind.DEMAND, NOON) == []
    assert issuing.issue(database.transaction, Kind.PRICE, NOON) == []


@pytest.mark.usefixtures("no_trials")
def test_a_forecast_is_written_down(database):
    with database.transaction() as tx:
        known(tx, SHORT)
    (made,) = issuing.issue(database.transaction, Kind.DEMAND, NOON)
    with database.transaction() as tx:
        (found,) = store.latest(tx, Kind.DEMAND)
    assert (found.subject, found.issued_at) == (H100, NOON)
    assert found.member == made.forecast.member
    assert found.notes == made.forecast.notes != ()
    np.testing.assert_allclose(found.quantiles, made.forecast.quantiles)
    assert found.scale == pytest.approx(np.mean(np.abs(SHORT[DAY:] - SHORT[:-DAY])))


@pytest.mark.usefixtures("no_trials")
def test_one_that_is_made_again_takes_its_place(database):
    with database.transaction() as tx:
        known(tx, SHORT)
    for _ in range(2):
        issuing.issue(database.transaction, Kind.DEMAND, NOON)
    with database.transaction() as tx:
        assert len(store.latest(tx, Kind.DEMAND)) == 1
        assert tx.execute("select count(*) as n from forecasts").fetchone() == {"n": 1}


def test_hours_without_demand_are_zero_and_hours_nobody_looked_at_are_not_known(tx):
    known(tx, [5, 0, 7])
    known(tx, [3], until=NOON + 2 * HOUR)
    values = issuing.demand_series(tx)[H100].values
    np.testing.assert_array_equal(values, [5, 0, 7, np.nan, 3])


def test_hours_without_a_trade_are_not_known(tx):
    traded(tx, [12.0, None, 13.0, None])
    series = issuing.price_series(tx)[SKU]
    np.testing.assert_array_equal(series.values, [12, np.nan, 13, np.nan])
    assert series.end == NOON


@pytest.mark.usefixtures("no_trials")
def test_what_came_is_scored_once(database):
    with database.transaction() as tx:
        known(tx, SHORT)
    issuing.issue(database.transaction, Kind.DEMAND, NOON)
    later = NOON + 30 * HOUR
    with database.transaction() as tx:
        known(tx, np.full(30, 100.0), until=later)
    with database.transaction() as tx:
        assert issuing.score(tx, later) == DAY
        assert issuing.score(tx, later) == 0
        (skill,) = store.skills(tx, NOON - HOUR).values()
        days = store.skill_by_day(tx, NOON - HOUR)
        said = store.told(tx, H100, NOON)
    assert skill.hours == DAY
    assert 0 <= skill.coverage <= 1
    assert skill.mase > 0
    assert [each.day.day for each in days] == [21, 22]
    assert [each.truth for each in said] == [100.0] * DAY


@pytest.mark.usefixtures("no_trials")
def test_prices_are_scored_where_there_was_a_trade(database):
    with database.transaction() as tx:
        traded(tx, [12.0 + hour % 5 / 10 for hour in range(60)])
    issuing.issue(database.transaction, Kind.PRICE, NOON)
    with database.transaction() as tx:
        traded(tx, [12.0, None, 12.5], until=NOON + 3 * HOUR)
        assert issuing.score(tx, NOON + 3 * HOUR) == 2


@pytest.mark.usefixtures("no_trials")
def test_of_an_old_forecast_what_was_scored_is_left(database):
    """Two are issued, of the first of which a day is scored; ninety days later there is a third."""
    with database.transaction() as tx:
        known(tx, SHORT)
    issuing.issue(database.transaction, Kind.DEMAND, NOON)
    with database.transaction() as tx:
        known(tx, np.full(30, 100.0), until=NOON + 30 * HOUR)
        issuing.score(tx, NOON + 30 * HOUR)
    issuing.issue(database.transaction, Kind.DEMAND, NOON + 30 * HOUR)
    assert hours_by_issue(database) == {NOON: HORIZON, NOON + 30 * HOUR: HORIZON}
    last = NOON + timedelta(days=92)
    with database.transaction() as tx:
        known(tx, SHORT, until=last)
    issuing.issue(database.transaction, Kind.DEMAND, last)
    assert hours_by_issue(database) == {NOON: DAY, last: HORIZON}
    with database.transaction() as tx:
        assert store.skills(tx, NOON - HOUR)[H100].hours == DAY
        assert len(store.told(tx, H100, NOON)) == DAY


def hours_by_issue(database) -> dict[datetime, int]:
    with database.transaction() as tx:
        rows = tx.execute(
            """select issued_at, (select count(*) from forecast_hours h where h.forecast_id = f.id) as hours
               from forecasts f"""
        )
        return {row["issued_at"]: row["hours"] for row in rows}


class TestInvariants:
    def issued(self, database) -> None:
        with database.transaction() as tx:
            known(tx, SHORT)
        issuing.issue(database.transaction, Kind.DEMAND, NOON)

    @pytest.mark.usefixtures("no_trials")
    @pytest.mark.parametrize(
        ("statement", "constraint"),
        [
            ("update forecast_hours set q05 = q95 + 1", "forecast_hours_never_cross"),
            ("update forecasts set tier = null", "forecasts_of_demand_have_a_tier"),
            ("update forecasts set made_at = issued_at - interval '1 minute'", "forecasts_look_ahead"),
            ("update demand_hours set built_at = hour", "demand_hours_are_over"),
        ],
    )
    def test_postgres_keeps_them(self, database, statement, constraint):
        self.issued(database)
        with pytest.raises(psycopg.errors.CheckViolation, match=constraint), database.transaction() as tx:
            tx.execute(statement)


def test_a_trial_is_due_weekly():
    assert due(None, NOON)
    assert due(Trial(at=NOON - EVERY, worth=False), NOON)
    assert not due(Trial(at=NOON - EVERY + timedelta(seconds=1), worth=True), NOON)
    assert A_RUN > 0


def test_demand_comes_with_the_jobs_that_it_is_the_sum_of(database):
    with database.transaction() as tx:
        customer = a_customer(tx, max_gpus=12)
        job = a_job_of(tx, customer, gpus=8, gpu_type="H100", now=NOON - 3 * HOUR)
        a_node(tx, now=NOON - 2.5 * HOUR)
        run = launch(tx, job.id, now=NOON - 2.5 * HOUR)
        told(tx, run, running(run, at=NOON - 2.5 * HOUR))
        a_job_of(tx, customer, gpus=4, gpu_type="H100", now=NOON - HOUR)
        a_job_of(tx, customer, gpus=8, gpu_type="H100", now=NOON - HOUR)
        a_node(tx, name="beta", now=NOON)
        run_pass(tx, NOON)
        for back in (3, 2, 1):
            issuing.build_hour(tx, Window.hour(NOON - back * HOUR), NOON)
        (series,) = issuing.with_lifetimes(tx, issuing.demand_series(tx)).values()
    assert series.lifetimes is not None
    assert sorted(zip(series.lifetimes.starts, series.lifetimes.gpus, strict=True)) == [(0.0, 8.0), (2.0, 4.0)]
    assert np.isinf(series.lifetimes.ends).all()
    assert series.values == pytest.approx([8.0, 8.0, 12.0])
