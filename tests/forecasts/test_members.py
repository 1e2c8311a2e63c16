"""Every member: what it says of plain series, and that it never looks ahead."""

from dataclasses import replace

import numpy as np
import pytest
from series import DAY, WEEK, a_series, a_walk, of_jobs, of_weeks, short_and_long_jobs

from scalar.forecasts.forecasting import forecast, members
from scalar.forecasts.history import History
from scalar.forecasts.members.boosted import Boosted
from scalar.forecasts.members.damped import Damped
from scalar.forecasts.members.decomposed import Decomposed
from scalar.forecasts.members.member import refits
from scalar.forecasts.members.persistence import Persistence
from scalar.forecasts.members.prophet import Prophet
from scalar.forecasts.members.regressed import Regressed
from scalar.forecasts.members.smoothed import Smoothed
from scalar.forecasts.members.survival import Survival
from scalar.forecasts.model import Lifetimes

FAST = members(History.of(a_series(of_weeks(1))))
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


class TestSurvival:
    """Of a series whose jobs are known."""

    member = Survival()

    @pytest.fixture
    def jobs(self) -> Lifetimes:
        return short_and_long_jobs(WEEKS + 1)

    def paths(self, jobs: Lifetimes, origins: list[int], horizon: int = WEEK) -> np.ndarray:
        return self.member.paths(History.of(of_jobs(jobs, WEEKS)), origins, horizon)

    def test_who_has_run_for_long_goes_on_and_who_has_just_begun_is_soon_gone(self, jobs):
        now = WEEKS * WEEK
        gpus = {}
        for age in (0.1, 48.0):
            known = jobs.until(now)
            running = np.isfinite(known.ends)
            alone = Lifetimes(
                starts=np.append(known.starts[running], now - age),
                ends=np.append(known.ends[running], now + 1.0),
                gpus=np.append(known.gpus[running], 1000.0),
            )
            gpus[age] = self.paths(alone, [now], DAY)[0, 11]
        # Of those that have just begun, one of ten is a long one, which loses a tenth by then.
        assert gpus[0.1] == pytest.approx(1000 * 0.12, abs=80)
        assert gpus[48.0] == pytest.approx(1000 * 0.9, abs=80)

    def test_jobs_that_end_at_a_steady_rate_are_foreseen_to_do_so(self):
        rng = np.random.default_rng(3)
        starts = np.arange(0, WEEKS * WEEK, 0.5)
        jobs = Lifetimes(starts=starts, ends=starts + rng.exponential(20.0, len(starts)), gpus=np.ones(len(starts)))
        path = self.paths(jobs, [WEEKS * WEEK])[0]
        assert path == pytest.approx(np.full(WEEK, 40.0), rel=0.2)

    def test_it_knows_only_what_was_known_then(self, jobs):
        origin = 7 * WEEK
        later = jobs.starts >= origin
        ran = (jobs.starts < origin) & (jobs.ends > origin)
        changed = Lifetimes(
            starts=jobs.starts,
            ends=np.where(ran, origin + 500.0, np.where(later, jobs.starts + 500.0, jobs.ends)),
            gpus=np.where(later, 64.0, jobs.gpus),
        )
        np.testing.assert_array_equal(*(self.paths(each, [origin - DAY, origin]) for each in (jobs, changed)))

    def test_it_is_silent_of_the_time_before_jobs_were_known(self, jobs):
        late = jobs.starts >= 4 * WEEK
        known = Lifetimes(starts=jobs.starts[late], ends=jobs.ends[late], gpus=jobs.gpus[late])
        before, after = self.paths(known, [4 * WEEK + DAY, 6 * WEEK])
        assert np.isnan(before).all()
        assert np.isfinite(after).all()

    def test_nobody_runs(self):
        jobs = Lifetimes(starts=np.array([0.0, 1.0]), ends=np.array([2.0, 3.0]), gpus=np.ones(2))
        assert self.paths(jobs, [WEEKS * WEEK])[0] == pytest.approx(np.zeros(WEEK))

    def test_it_is_listened_to_where_it_is_better(self, jobs):
        made = forecast(of_jobs(jobs, WEEKS), DAY)
        assert "survival" in made.weights
        assert "survival" not in forecast(replace(of_jobs(jobs, WEEKS), lifetimes=None), DAY).weights


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
