"""Every member: what it says of plain series, and that it never looks ahead."""

import numpy as np
import pytest
from series import DAY, WEEK, a_series, a_walk, of_weeks

from scalar.forecasts.forecasting import members
from scalar.forecasts.history import History
from scalar.forecasts.members.boosted import Boosted
from scalar.forecasts.members.damped import Damped
from scalar.forecasts.members.decomposed import Decomposed
from scalar.forecasts.members.member import refits
from scalar.forecasts.members.persistence import Persistence
from scalar.forecasts.members.prophet import Prophet
from scalar.forecasts.members.regressed import Regressed
from scalar.forecasts.members.smoothed import Smoothed

FAST = members()
WEEKS = 9


@pytest.fixture(scope="module")
def history() -> History:
    return History.of(a_series(of_weeks(WEEKS)))


@pytest.mark.parametrize("member", FAST, ids=lambda each: each.name)
class TestEveryMember:
    def test_gives_a_path_for_each_origin(self, member, history):
        origins = [len(history) - 2 * DAY, len(history) - DAY, len(history)]
        paths = member.paths(history, origins, WEEK)
        assert paths.shape == (3, WEEK)
        assert np.isfinite(paths).all()

    def test_never_looks_ahead(self, member):
        values = of_weeks(WEEKS)
        origin = len(values) - 2 * WEEK
        changed = values.copy()
        changed[origin:] = 1e4
        there, elsewhere = (
            member.paths(History.of(a_series(each)), [origin - WEEK, origin, len(values)], WEEK)
            for each in (values, changed)
        )
        np.testing.assert_array_equal(there[:2], elsewhere[:2])

    def test_says_the_same_twice(self, member, history):
        once, again = (member.paths(history, [len(history)], DAY) for _ in range(2))
        np.testing.assert_array_equal(once, again)

    def test_needs_no_more_than_it_says(self, member):
        short = History.of(a_series(of_weeks(WEEKS)[: member.needs]))
        assert np.isfinite(member.paths(short, [len(short)], WEEK)).all()


@pytest.mark.parametrize(
    ("member", "at_most"),
    [(Decomposed(), 8.0), (Regressed(), 8.0), (Boosted(), 8.0), (Persistence(), 60.0)],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_week_like_every_other_is_foreseen(member, at_most, history):
    coming = of_weeks(WEEKS + 1)[-WEEK:]
    assert np.mean(np.abs(member.paths(history, [len(history)], WEEK)[0] - coming)) < at_most


def reverting(hours: int) -> np.ndarray:
    """About 50, and back to it within a day."""
    rng = np.random.default_rng(2)
    values = np.full(hours, 50.0)
    for hour in range(1, hours):
        values[hour] = 50 + 0.9 * (values[hour - 1] - 50) + rng.standard_normal()
    return values


@pytest.mark.parametrize("member", [Damped(), Smoothed()], ids=lambda each: each.name)
class TestMembersThatContainPersistence:
    def error(self, member, values: np.ndarray) -> float:
        history = History.of(a_series(values))
        origins = list(range(3 * WEEK, len(values) - DAY, DAY))
        truth = np.stack([values[origin : origin + DAY] for origin in origins])
        return float(np.mean(np.abs(member.paths(history, origins, DAY) - truth)))

    def test_a_series_that_comes_back_is_drawn_back(self, member):
        values = reverting(10 * WEEK)
        assert self.error(member, values) < 0.9 * self.error(Persistence(), values)

    def test_a_walk_is_left_where_it_is(self, member):
        values = a_walk(10 * WEEK)
        assert self.error(member, values) < 1.05 * self.error(Persistence(), values)


def test_prophet_foresees_a_week_like_every_other_and_is_tried_on_four_weeks_only(history, caplog):
    origins = [len(history) - 5 * WEEK, len(history) - WEEK, len(history)]
    paths = Prophet().paths(history, origins, DAY)
    assert np.isnan(paths[0]).all()
    assert np.isfinite(paths[1:]).all()
    assert np.mean(np.abs(paths[2] - of_weeks(WEEKS + 1)[-WEEK : -WEEK + DAY])) < 25
    assert not caplog.records


def test_origins_share_a_fit_but_for_the_last():
    assert refits([0, 24, 48, 72, 96], every=48) == [[0, 24], [48, 72], [96]]
