"""Which members are listened to."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.forecasts.combining import Backtest, buckets, called, combined, rolled, weights

NAMES = ("persistence", "good", "bad")


def a_backtest(
    days: int = 40, errors=(1.0, 0.5, 2.0), horizon: int = 24, *, alike: bool = True, names=NAMES
) -> Backtest:
    """Members whose errors have these sizes; the same signs, or signs of their own."""
    rng = np.random.default_rng(0)
    truth = 10 + rng.standard_normal((days, horizon))
    signs = rng.choice([-1.0, 1.0], (1 if alike else len(errors), days, horizon))
    paths = truth[None] + np.array(errors)[:, None, None] * signs
    return Backtest(names=names[: len(errors)], days=np.arange(days, dtype=float), paths=paths, truth=truth)


def error_of(backtest: Backtest, paths: np.ndarray) -> float:
    """After the first three weeks."""
    return float(np.mean(np.abs(paths - backtest.truth)[20:]))


def given_to(backtest: Backtest, able=(True, True, True)) -> np.ndarray:
    return weights(backtest, float(len(backtest.days)), able)[0]


def test_the_one_that_was_best_by_far_is_believed():
    assert given_to(a_backtest()) == pytest.approx([0, 1, 0], abs=0.02)


def test_members_that_are_as_good_share():
    found = given_to(a_backtest(errors=(2.0, 0.5, 0.5)))
    assert found[0] == 0
    assert found[1] == pytest.approx(found[2], abs=0.15)


def test_members_whose_errors_cancel_are_better_together_than_the_best_alone():
    backtest = a_backtest(56, errors=(1.0, 0.9, 1.0), alike=False)
    assert given_to(backtest).min() > 0.15
    assert error_of(backtest, rolled(backtest)) < 0.8 * error_of(backtest, backtest.paths[1])


def test_a_member_far_behind_is_in_no_mean():
    assert given_to(a_backtest(errors=(1.0, 0.5, 5.0), alike=False))[2] < 0.01


def test_many_pairs_do_not_outvote_the_one_that_stands_out():
    """Eight that are a fifth worse, so that eight means of it and another are a tenth worse."""
    names = (*NAMES[:2], *(f"other {number}" for number in range(8)))
    found = given_to(a_backtest(56, (1.0, 0.5, *[0.6] * 8), names=names), [True] * 10)
    assert found[1] > 0.7


def test_persistence_is_believed_where_there_is_nothing_to_go_by():
    nothing = a_backtest(days=0)
    assert given_to(nothing)[0] > 0.9


def test_few_days_of_being_better_are_not_enough():
    """By a tenth, over three days: it might be luck."""
    assert given_to(a_backtest(days=3, errors=(1.0, 0.9, 2.0)))[0] > 0.6
    assert given_to(a_backtest(days=56, errors=(1.0, 0.8, 2.0)))[1] > 0.6


def test_a_member_that_cannot_forecast_now_has_no_say():
    assert given_to(a_backtest(), able=(True, False, True))[1] == 0


def test_days_that_are_not_over_do_not_count():
    """The truth of the last day's later hours would speak for the other member."""
    backtest = a_backtest(days=10)
    ahead = weights(backtest, 9.5, [True] * 3)
    changed = replace(backtest, truth=np.where(np.arange(10)[:, None] == 9, 1e6, backtest.truth))
    np.testing.assert_array_equal(weights(changed, 9.5, [True] * 3), ahead)


def test_a_back_test_is_rolled_from_what_was_known():
    backtest = a_backtest()
    changed = replace(backtest, truth=np.where(np.arange(40)[:, None] >= 30, 1e6, backtest.truth))
    np.testing.assert_array_equal(rolled(backtest)[:31], rolled(changed)[:31])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), st.integers(0, 60), st.sampled_from([1, 24, 100, 168]))
def test_weights_are_shares(errors, days, horizon):
    found = weights(a_backtest(days, tuple(errors), horizon), float(days), [True, True, True])
    assert found.shape == (len(buckets(horizon)), 3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 3), min_size=3, max_size=3))
def test_the_choice_is_never_much_worse_than_the_best_single_member(errors):
    backtest = a_backtest(56, tuple(errors), alike=False)
    best = min(error_of(backtest, paths) for paths in backtest.paths)
    assert error_of(backtest, rolled(backtest)) <= 1.03 * best


def test_a_mean_is_a_mean():
    paths = np.array([[1.0, 1.0], [3.0, 5.0], [np.nan, np.nan]])
    np.testing.assert_allclose(combined(paths, np.array([[0.5, 0.5, 0.0]])), [2.0, 3.0])


def test_who_made_it():
    assert called(NAMES, np.array([[1.0, 0.0, 0.0]])) == "persistence"
    assert called(NAMES, np.array([[0.3, 0.65, 0.05]])) == "mean of good, persistence"


def test_hours_ahead_are_told_apart_by_a_day_three_days_and_a_week():
    assert [(each.start, each.stop) for each in buckets(168)] == [(0, 24), (24, 72), (72, 168)]
    assert [(each.start, each.stop) for each in buckets(30)] == [(0, 24), (24, 30)]
