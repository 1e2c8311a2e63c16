"""A series in, its forecast out: of plain series, and of odd ones."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series import DAY, WEEK, a_series, a_walk, of_weeks

from scalar.forecasts.forecasting import forecast
from scalar.forecasts.model import HORIZON, QUANTILES
from scalar.forecasts.oddities import look, shift
from scalar.forecasts.scenarios import scenarios

NAN = np.nan


def test_a_forecast_begins_where_its_series_ends():
    series = a_series(of_weeks(3))
    made = forecast(series)
    assert made.start == series.end == series.start + timedelta(weeks=3)
    assert made.quantiles.shape == (HORIZON, len(QUANTILES))
    assert made.errors is not None
    assert made.errors.shape[1] == HORIZON
    assert sum(made.weights.values()) == pytest.approx(1)


def test_a_series_with_a_week_is_foreseen_and_the_band_holds_it():
    values = of_weeks(11)
    made = forecast(a_series(values[: 10 * WEEK]))
    coming = values[10 * WEEK :]
    assert np.mean(np.abs(made.median - coming)) < 6.5
    within = (coming >= made.quantiles[:, 0]) & (coming <= made.quantiles[:, -1])
    assert 0.8 <= within.mean() <= 0.99
    assert made.notes == ()


def test_prices_that_walk_are_left_where_they_are():
    values = a_walk(5 * WEEK)
    made = forecast(a_series(values), DAY)
    assert made.weights["persistence"] > 0.5
    assert np.abs(made.median - values[-1]).max() < 1.0


def test_the_same_series_makes_the_same_forecast():
    once, again = (forecast(a_series(of_weeks(8)), DAY) for _ in range(2))
    np.testing.assert_array_equal(once.quantiles, again.quantiles)


class TestOddSeries:
    def test_nothing_known(self):
        made = forecast(a_series([NAN] * 48))
        assert not made.quantiles.any()
        assert "Nothing is known" in made.notes[0]

    def test_one_hour(self):
        made = forecast(a_series([7.0]))
        assert (made.median == 7.0).all()
        assert made.member == "persistence"

    def test_zero(self):
        made = forecast(a_series(np.zeros(4 * WEEK)))
        assert np.abs(made.quantiles).max() < 1e-6
        assert "Zero for a week" in made.notes[0]

    def test_flat_after_it_moved_has_a_band_of_what_it_did_before(self):
        values = np.concatenate([a_walk(4 * WEEK), np.full(WEEK, 50.0)])
        made = forecast(a_series(values))
        assert (made.median == 50.0).all()
        assert made.quantiles[-1, -1] > made.quantiles[-1, 0]
        assert "Flat for a week at 50" in made.notes[0]

    def test_short(self):
        made = forecast(a_series(of_weeks(1)[:60]))
        assert "Short: 2.5 days" in made.notes[0]
        assert np.isfinite(made.quantiles).all()

    def test_gappy(self):
        values = of_weeks(6)
        values[np.random.default_rng(0).random(len(values)) < 0.3] = NAN
        made = forecast(a_series(values), DAY)
        assert any("of its hours are missing" in note for note in made.notes)
        assert np.mean(np.abs(made.median - of_weeks(7)[6 * WEEK : 6 * WEEK + DAY])) < 25

    def test_no_news_of_late(self):
        values = of_weeks(5)
        values[-10:] = NAN
        assert any("for the last 10 hours" in note for note in forecast(a_series(values), DAY).notes)

    def test_another_level(self):
        values = of_weeks(8)
        values[-9 * DAY :] += 400
        made = forecast(a_series(values))
        assert any("Its level moved about 18 April" in note for note in made.notes)
        assert np.mean(np.abs(made.median - (of_weeks(9)[-WEEK:] + 400))) < 60

    def test_a_weekend_is_no_other_level(self):
        values = of_weeks(6, noise=1.0)
        assert all(shift(values[: len(values) - DAY * day]) is None for day in range(8))

    def test_notes_are_none_where_nothing_is_odd(self):
        assert look(a_series(of_weeks(6))).notes == ()


def test_what_was_never_wanted_and_then_is_stays_within_reason():
    made = forecast(a_series([0.0] * 480 + [8.0, 6.0] * 10), WEEK)
    assert made.median[0] == pytest.approx(6.0, abs=1)
    assert made.quantiles.max() < 20
    assert scenarios(made, 50).max() < 25


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.one_of(st.just(NAN), st.floats(0, 1e6)), min_size=1, max_size=300),
    st.integers(1, HORIZON),
    st.floats(0, 100),
)
def test_quantiles_never_cross_nor_fall_below_the_floor(values, horizon, floor):
    made = forecast(a_series(values), horizon, floor=floor)
    assert made.quantiles.shape == (horizon, len(QUANTILES))
    assert np.isfinite(made.quantiles).all()
    assert (np.diff(made.quantiles, axis=1) >= 0).all()
    assert (made.quantiles >= floor).all()
