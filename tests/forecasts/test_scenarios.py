"""Joint paths: their margins, and how their hours hang together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series import MONDAY

from scalar.forecasts.model import QUANTILES, Forecast
from scalar.forecasts.scenarios import at_levels, scenarios

NORMAL = np.array([-1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645])


def a_forecast(horizon: int = 24, errors: np.ndarray | None = None) -> Forecast:
    return Forecast(start=MONDAY, quantiles=100 + 10 * np.tile(NORMAL, (horizon, 1)), member="test", errors=errors)


def together(errors: np.ndarray) -> float:
    return float(np.corrcoef(errors[:, 0], errors[:, 12])[0, 1])


def errors_of(memory: float, days: int = 60) -> np.ndarray:
    rng = np.random.default_rng(1)
    return memory * rng.standard_normal((days, 1)) + np.sqrt(1 - memory**2) * rng.standard_normal((days, 24))


@pytest.mark.parametrize("errors", [None, errors_of(0.9), errors_of(0.0, days=5)], ids=["none", "many", "few"])
def test_margins_are_the_quantiles(errors):
    drawn = scenarios(a_forecast(errors=errors), 400, seed=2)
    np.testing.assert_allclose(np.quantile(drawn, QUANTILES, axis=0).T, a_forecast().quantiles, atol=0.5)


def test_hours_hang_together_as_past_errors_did():
    assert together(scenarios(a_forecast(errors=errors_of(0.95)), 200)) > 0.7
    assert abs(together(scenarios(a_forecast(errors=errors_of(0.0)), 200))) < 0.35


def test_without_past_errors_they_hang_together():
    assert together(scenarios(a_forecast(), 400)) > 0.4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 80), st.integers(0, 100), st.booleans())
def test_the_same_seed_draws_the_same_paths(count, seed, known):
    forecast = a_forecast(errors=errors_of(0.5) if known else None)
    once, again = (scenarios(forecast, count, seed) for _ in range(2))
    assert once.shape == (count, 24)
    np.testing.assert_array_equal(once, again)


def test_a_band_without_width_is_a_single_path():
    certain = replace(a_forecast(), quantiles=np.full((24, len(QUANTILES)), 7.0))
    assert (scenarios(certain, 10) == 7.0).all()


def test_demand_is_never_below_zero():
    low = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert at_levels(low, np.linspace(0, 1, 50)).min() == 0.0
