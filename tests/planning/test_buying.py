"""The buying rule: what it knows, what it costs, and that nothing it promises is broken on any series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.planning.buying import Buyer, BuyingRule, follow
from scalar.planning.experts import as_forecast, as_long_before, by_the_hour
from scalar.planning.flexing import follow_flex, spread
from scalar.planning.oracle import Terms, accrued, perfect_cost, perfect_mix
from scalar.planning.rolling import planned, segments

TERMS = Terms(hours=24)
RULE = BuyingRule(terms=TERMS, past=336)


def over_the_least(series, start, terms=TERMS) -> float:
    demand = series[start:]
    cost = accrued(follow(BuyingRule(terms=terms, past=336), series, start, len(series)), demand, terms).sum()
    return float(cost) / perfect_cost(demand, terms)


def test_the_newsvendors_level():
    assert pytest.approx(0.5238, abs=1e-4) == TERMS.quantile
    assert pytest.approx(11.43, abs=0.01) == TERMS.break_even


def test_steady_demand_is_owned():
    series = np.full(400, 50.0)
    assert over_the_least(series, 336) == pytest.approx(1.0, abs=0.01)


def test_days_and_nights_are_learned():
    hours = np.arange(24 * 24)
    series = 60 + 40 * np.sin(hours / 24 * 2 * np.pi)
    assert over_the_least(series, 24 * 21) < 1.06


def test_what_comes_later_changes_nothing_before():
    rng = np.random.default_rng(0)
    series = rng.gamma(4, 10, 500)
    other = np.concatenate([series[:450], rng.gamma(4, 100, 50)])
    assert np.array_equal(follow(RULE, series, 400, 450), follow(RULE, other, 400, 450))


def test_a_series_without_a_past_is_bought_for_by_break_even():
    series = np.full(60, 10.0)
    stock = follow(BuyingRule(terms=TERMS, views={}, rolling={}), series, 0, 60)
    # Twelve hours cost more than a block; until then it pays by the hour.
    assert stock[:11].max() == 0.0
    assert stock[12] == pytest.approx(10.0, abs=0.01)


def test_break_even_never_pays_more_than_about_twice():
    """Demand that goes away just when it was bought for."""
    on = np.concatenate([np.full(12, 10.0), np.zeros(36)])
    series = np.tile(on, 10)
    rule = BuyingRule(terms=TERMS, views={}, rolling={})
    cost = accrued(follow(rule, series, 0, len(series)), series, TERMS).sum()
    assert cost <= 2.1 * perfect_cost(series, TERMS)


@pytest.mark.parametrize("on", [1, 6, 12])
def test_the_portfolio_stays_below_twice_on_steps(on):
    series = np.tile(np.concatenate([np.full(on, 100.0), np.zeros(24)]), 20)
    assert over_the_least(series, 4 * 24) <= 2.0


def test_a_plan_that_knows_all_costs_the_least():
    series = np.random.default_rng(1).gamma(4, 10, 72)
    stock = planned(series[None], np.zeros(72), TERMS)
    assert accrued(stock, series, TERMS).sum() == pytest.approx(perfect_cost(series, TERMS))


def test_a_plan_buys_for_a_peak_what_takes_the_place_of_what_ends():
    """Eleven hours of a peak don't pay for a block, but the block goes on when an earlier one ends."""
    demand = np.concatenate([np.full(11, 20.0), np.full(61, 10.0)])
    ends = np.concatenate([np.full(11, 10.0), np.zeros(61)])
    assert planned(demand[None], ends, TERMS)[0] == pytest.approx(20.0)
    later = np.concatenate([np.full(24, 10.0), np.zeros(48)])
    assert planned(demand[None], later, TERMS)[0] == pytest.approx(10.0)


def test_a_plan_weighs_what_may_come():
    """With 1 of 2 scenarios an hour costs 1.05 on average, of 3 only 0.7."""
    two, three = np.array([[0.0], [10.0]]), np.array([[0.0], [0.0], [10.0]])
    assert planned(segments(two, 72), np.zeros(72), TERMS)[:24] == pytest.approx(np.full(24, 10.0))
    assert planned(segments(three, 72), np.zeros(72), TERMS)[:24] == pytest.approx(np.zeros(24))


def test_many_scenarios_become_a_few_values():
    values = segments(np.random.default_rng(2).gamma(4, 10, (80, 24)), 72)
    assert values.shape == (6, 72)
    assert (np.diff(values, axis=0) >= 0).all()


def test_what_is_owned_already_is_counted_with():
    series = np.append(np.full(336, 10.0), 90.0)
    assert Buyer(RULE, series, 336).target(336) < 40.0
    assert Buyer(RULE, series, 336, np.full(24, 80.0)).target(336) >= 80.0


def test_a_forecast_is_a_view():
    sure = as_forecast({48: np.full((5, 24 * 7), 10.0), 96: np.full((5, 24 * 7), 20.0)})
    series = np.full(400, 10.0)
    assert sure(series, 47, 24) is None
    assert sure(series, 71, 24).tolist() == np.full((5, 24), 10.0).tolist()
    assert sure(series, 72, 24) is None, "it is a day old"
    assert sure(series, 96, 24)[0, 0] == 20.0
    assert Buyer(BuyingRule(terms=TERMS, views={"forecast": sure}, rolling={}, past=0), series, 48).target(48) > 0


def test_what_is_wanted_now_has_no_say_in_blocks_of_a_week():
    assert list(by_the_hour(24)) == ["from now", "same hours of other weeks"]
    assert list(by_the_hour(168)) == ["same hours of other weeks"]
    assert by_the_hour(168, as_long_before)["forecast"] is as_long_before
    assert BuyingRule(terms=Terms(hours=168)).names == [
        "last block x 1",
        "same hours of other weeks, rolling",
        "break-even",
    ]


def test_beyond_its_end_a_forecast_is_as_a_week_before():
    week = np.arange(168.0)[None]
    assert as_forecast({0: week})(np.zeros(500), 10, 400)[0].tolist() == [float(hour % 168) for hour in range(10, 410)]


@settings(deadline=None, max_examples=6)
@given(
    st.lists(st.floats(0, 100), min_size=40, max_size=72),
    st.floats(0, 1),
    st.integers(0, 30),
)
def test_no_flex_work_is_late_and_no_fast_hour_unmet(values, share, slack):
    series = np.array(values)
    fast, flex = (1 - share) * series, share * series
    made = follow_flex(RULE, fast, flex, slack, 0, len(series))
    assert made.late <= 1e-6
    assert made.done.sum() == pytest.approx(flex.sum(), abs=1e-4)
    assert (made.stock + made.hourly + 1e-6 >= fast + made.done - 1e-6).all()
    cost = (TERMS.block * made.stock + TERMS.hourly * made.hourly).sum()
    assert cost + 1e-4 >= perfect_cost(fast, TERMS, flex=flex, slack=slack) - 1e-3 * cost


def test_flex_is_wanted_at_its_rate():
    flex = np.array([24.0] + [0.0] * 30)
    assert spread(np.zeros(31), flex, 24)[[0, 23, 24, 25]].tolist() == [24.0, 1.0, pytest.approx(0.96), 0.0]


def test_blocks_of_two_lengths_cost_no_more_than_of_one():
    series = np.random.default_rng(0).gamma(4, 10, 200)
    hourly = np.full(200, 2.1)
    both = perfect_mix(series, hourly, {24: 1 / 1.6, 168: 1 / 2.1})
    assert both <= perfect_mix(series, hourly, {168: 1 / 2.1}) + 1e-4
    assert perfect_mix(series, hourly, {168: 1 / 2.1}) == pytest.approx(
        perfect_cost(series, Terms(hours=168)), rel=1e-5
    )
