"""Bands that cover what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.forecasts.calibration import calibrate
from scalar.forecasts.model import QUANTILES


def noise(kind: str, days: int = 200) -> np.ndarray:
    rng = np.random.default_rng(3)
    steady = rng.standard_normal((days, 24))
    day = np.arange(days)[:, None]
    return {
        "steady": steady,
        "skewed": rng.exponential(1.0, (days, 24)) - np.log(2),
        "heavy": rng.standard_t(3, (days, 24)),
        "wilder by the week": steady * (1 + day / 20),
        "calm and wild weeks": steady * np.where(day // 14 % 2 == 0, 0.5, 2.0),
        "hours together": steady * 0.5 + rng.standard_normal((days, 1)),
        "wider at noon": steady * np.linspace(0.2, 3, 24),
    }[kind]


KINDS = ("steady", "skewed", "heavy", "wilder by the week", "calm and wild weeks", "hours together", "wider at noon")


@pytest.mark.parametrize("kind", KINDS)
def test_nine_of_ten_hours_are_within(kind):
    assert calibrate(noise(kind)).covered == pytest.approx(0.9, abs=0.02)


def test_hours_have_bands_of_their_own():
    offsets = calibrate(noise("wider at noon")[:56]).offsets
    assert offsets[-1, -1] > 3 * offsets[0, -1]


def test_misses_make_it_wider():
    calm = noise("steady")[:40]
    assert calibrate(np.concatenate([calm, calm[:8] * 4])).factor > 1.3 * calibrate(calm).factor


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 168), st.integers(0, 5), st.floats(0, 1))
def test_levels_never_cross_whatever_is_missing(days, horizon, seed, missing):
    rng = np.random.default_rng(seed)
    errors = rng.standard_normal((days, horizon))
    errors[rng.random(errors.shape) < missing] = np.nan
    found = calibrate(errors)
    assert found.offsets.shape == (horizon, len(QUANTILES))
    assert np.isfinite(found.offsets).all()
    assert (np.diff(found.offsets, axis=1) >= 0).all()


def test_a_forecast_that_was_always_right_has_no_band():
    assert np.abs(calibrate(np.zeros((30, 24))).offsets).max() < 1e-6


def test_without_a_back_test_there_is_no_band():
    assert not calibrate(np.empty((0, 24))).offsets.any()


@pytest.mark.parametrize("wrong", [1, 3])
def test_weeks_without_an_error_make_no_error_a_monster(wrong):
    """Nothing was wanted for weeks, then something was: by the size of errors before, it was off by billions."""
    errors = np.zeros((20, 24))
    errors[-wrong:] = 6.0
    made = calibrate(errors)
    assert 0 < made.offsets[:, -1].max() < 2 * 6.0
    assert made.offsets.min() > -2 * 6.0
