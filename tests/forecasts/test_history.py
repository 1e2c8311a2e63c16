"""What members see of a series: gaps filled, the usual of an hour, and whose holidays are kept."""

from datetime import UTC, datetime, timedelta

import holidays
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from series import DAY, WEEK, a_series, of_weeks

from scalar.forecasts.calendar import country, holiday_hours, hour_of_week
from scalar.forecasts.history import CAP, History, filled, usual
from scalar.forecasts.model import HORIZON

NAN = np.nan
VALUES = st.lists(st.one_of(st.just(NAN), st.floats(0, 1000)), min_size=1, max_size=400)


def test_a_short_gap_holds_the_last_value_and_a_long_one_is_as_the_week_before():
    values = of_weeks(3)
    gappy = values.copy()
    gappy[400:430] = NAN
    found = filled(gappy)
    assert (found[400:406] == values[399]).all()
    np.testing.assert_array_equal(found[406:430], values[406 - WEEK : 430 - WEEK])


@settings(deadline=None)
@given(VALUES)
def test_what_is_known_stays_and_the_rest_is_something(values):
    given_, found = np.array(values), filled(np.array(values))
    known = ~np.isnan(given_)
    assert not np.isnan(found).any()
    np.testing.assert_array_equal(found[known], given_[known])


@settings(deadline=None)
@given(VALUES, st.integers(0, 400))
def test_a_gap_is_filled_from_what_came_before_it(values, cut):
    whole = np.array(values)
    start = np.flatnonzero(~np.isnan(whole))
    if len(start) and start[0] < cut:
        np.testing.assert_array_equal(filled(whole[:cut]), filled(whole)[:cut])


def test_the_usual_is_the_weeks_before_weighted():
    values = np.repeat([1.0, 2.0, 3.0, 4.0], WEEK)
    found = usual(values, np.zeros(len(values) + HORIZON))
    assert np.isnan(found[0])
    assert found[WEEK] == 1.0
    np.testing.assert_allclose(found[-1], 0.4 * 4 + 0.3 * 3 + 0.2 * 2 + 0.1 * 1)


def test_a_holiday_says_little_of_the_week_after_it():
    values, holiday = np.repeat([10.0, 1.0], WEEK), np.zeros(2 * WEEK + HORIZON)
    holiday[WEEK : 2 * WEEK] = 1.0
    assert usual(values, holiday)[-1] > 8.0


def test_hours_of_the_week_begin_on_monday():
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    assert list(hour_of_week(monday, np.array([-1, 0, 1, 168]))) == [167, 0, 1, 0]


class TestHolidays:
    def series(self, kept: str, offset: int):
        values = of_weeks(60)
        off = holidays.country_holidays(kept, years=(2026, 2027))
        start = datetime(2026, 3, 2, tzinfo=UTC)
        for hour in range(len(values)):
            if (start + timedelta(hours=hour + offset)).date() in off:
                values[hour] = 60.0
        return start, values

    def test_whose_are_kept_is_seen(self):
        assert country(*self.series("JP", 9)) == "JP"
        assert country(*self.series("US", -6)) == "US"

    def test_nobodys_where_none_stands_out_or_the_series_is_short(self):
        start, values = self.series("JP", 9)
        assert country(start, of_weeks(60)) is None
        assert country(start, values[: 20 * WEEK]) is None

    def test_a_day_off_begins_at_midnight_there(self):
        eve = datetime(2025, 12, 31, tzinfo=UTC)
        assert list(np.flatnonzero(holiday_hours(eve, 2 * DAY, "JP") == 1.0)) == list(range(15, 39))

    def test_none_are_kept_by_nobody(self):
        assert not holiday_hours(datetime(2025, 12, 31, tzinfo=UTC), 48, None).any()


def test_no_more_than_a_year_and_some_is_looked_back_on():
    assert len(History.of(a_series(np.ones(CAP + 100)))) == CAP
