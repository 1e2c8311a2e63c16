"""Skill, and the authority that follows from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.forecasts.authority import authority
from scalar.forecasts.model import QUANTILES
from scalar.forecasts.skill import Score, Skill, mase, pinball, scale, scores, summed

NAN = np.nan


def a_skill(*, mase=0.5, naive=1.0, coverage=0.9, hours=500) -> Skill:
    return Skill(hours=hours, mase=mase, naive=naive, coverage=coverage, pinball=0.1)


def a_score(**changes) -> Score:
    return Score(**{"error": 1.0, "naive_error": 2.0, "pinball": 0.5, "inside": True, "scale": 4.0, **changes})


@pytest.mark.parametrize(
    ("truth", "said", "measure", "figure"),
    [
        ([10, 10], [10, 10], 2.0, 0.0),
        ([10, 10], [12, 8], 2.0, 1.0),
        ([10, NAN], [13, 99], 2.0, 1.5),
        ([10], [10], 0.0, 0.0),
        ([10], [11], 0.0, float("inf")),
    ],
)
def test_mase(truth, said, measure, figure):
    assert mase(np.array(truth, float), np.array(said, float), measure) == figure


def test_mase_of_nothing_is_nothing():
    assert np.isnan(mase(np.array([NAN]), np.array([1.0]), 1.0))


def test_the_scale_is_the_change_from_day_to_day_of_56_days():
    values = np.concatenate([np.full(1000, 1e6), np.tile([0.0, 3.0], 28).repeat(24)])
    assert scale(values) == 3.0
    assert np.isnan(scale(np.array([1.0])))


def test_the_pinball_loss_of_a_certain_forecast():
    quantiles = np.full((1, len(QUANTILES)), 10.0)
    assert pinball(np.array([10.0]), quantiles)[0] == 0
    assert pinball(np.array([12.0]), quantiles)[0] == pytest.approx(2 * np.mean(QUANTILES))


def test_hours_without_a_truth_have_no_score():
    quantiles = np.tile(np.arange(7.0), (2, 1))
    first, second = scores(np.array([NAN, 6.5]), quantiles, np.array([0.0, 2.0]), 1.0)
    assert first is None
    assert second is not None
    assert (second.error, second.naive_error, second.inside) == (3.5, 4.5, False)


def test_scores_add_up_to_a_skill():
    skill = summed([a_score(), a_score(inside=False, error=3.0)])
    assert skill == Skill(hours=2, mase=0.5, pinball=0.125, coverage=0.5, naive=0.5)
    assert summed([]) is None
    assert summed([a_score(error=0.0, naive_error=0.0, scale=0.0)]).mase == 0.0
    assert skill.gain == 0


class TestAuthority:
    @pytest.mark.parametrize(
        ("skill", "price", "size", "hours"),
        [
            (a_skill(mase=0.5), "1", "1", 168),
            (a_skill(mase=0.9), "1", "1", 168),
            (a_skill(mase=0.95), "1", "0.5", 72),
            (a_skill(mase=1.0), "0.95", "0.25", 24),
            (a_skill(mase=1.2), "0.9", "0.25", 6),
            (a_skill(mase=0.5, coverage=0.75), "1", "0.5", 72),
            (a_skill(mase=0.5, coverage=0.5), "0.9", "0.25", 6),
            (a_skill(hours=71), "0.9", "0.25", 6),
            (None, "0.9", "0.25", 6),
            (a_skill(mase=0.0, naive=0.0, coverage=1.0), "1", "1", 168),
        ],
    )
    def test_it_follows_from_skill(self, skill, price, size, hours):
        found = authority(skill)
        assert (str(found.limit_price), str(found.order_size), found.horizon_hours) == (price, size, hours)

    def test_it_says_why(self):
        assert authority(a_skill(mase=0.8)).why == "error 20% below the naive copy's, 90% within the 90 % band"
        assert authority(a_skill(mase=1.2)).why == "error 20% above the naive copy's, 90% within the 90 % band"
        assert authority(None).why == "only 0 of 72 hours are scored"

    @settings(deadline=None)
    @given(st.floats(0, 3), st.floats(0, 3), st.floats(0, 1))
    def test_more_skill_never_has_less_authority(self, one, other, coverage):
        better, worse = (authority(a_skill(mase=each, coverage=coverage)) for each in sorted((one, other)))
        assert better.limit_price >= worse.limit_price
        assert better.order_size >= worse.order_size
        assert better.horizon_hours >= worse.horizon_hours
