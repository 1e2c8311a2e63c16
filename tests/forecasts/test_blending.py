"""Forecasts of a day as one."""

from datetime import UTC, datetime

import numpy as np
import pytest

from scalar.forecasts.blending import blended
from scalar.forecasts.model import HOUR, QUANTILES, Floats, Forecast

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def made(hour: int, middle: Floats, width: float | Floats = 1.0) -> Forecast:
    """Issued so many hours after noon, with a band so far up and down."""
    return Forecast(
        start=NOON + hour * HOUR,
        quantiles=middle[:, None]
        + np.outer(np.broadcast_to(width, middle.shape), np.linspace(-1.0, 1.0, len(QUANTILES))),
        member=f"of {hour}",
        notes=(f"note of {hour}",),
    )


def test_one_forecast_is_itself():
    one = made(0, np.arange(24.0))
    assert blended([one]).quantiles.tolist() == one.quantiles.tolist()


def test_an_hour_is_what_all_say_of_it_who_look_so_far():
    """The first looks at the hours 0 to 5, the second at 2 to 7."""
    found = blended([made(0, np.arange(6.0)), made(2, np.full(6, 10.0))])
    assert (found.start, found.member, found.notes) == (NOON + 2 * HOUR, "of 2", ("note of 2",))
    assert found.median == pytest.approx([6.0, 6.5, 7.0, 7.5, 10.0, 10.0])
    assert np.ptp(found.quantiles, axis=1) == pytest.approx(np.full(6, 2.0))


def test_what_is_over_has_no_say():
    assert blended([made(0, np.full(6, 90.0)), made(6, np.full(6, 10.0))]).median == pytest.approx(np.full(6, 10.0))


def test_what_is_a_day_old_has_no_say():
    young, old = made(1, np.full(48, 20.0)), made(0, np.full(48, 90.0))
    newest = made(24, np.full(48, 10.0))
    assert blended([old, young, newest]).median[:24] == pytest.approx(np.full(24, 15.0))


def test_quantiles_do_not_cross():
    random = np.random.default_rng(3)
    several = [made(hour, random.uniform(0, 100, 48), random.uniform(0, 50, 48)) for hour in range(12)]
    found = blended(several)
    assert (np.diff(found.quantiles, axis=1) >= 0).all()
    # And the band is as wide as theirs are in the mean: of the first hour ahead, all twelve look at it.
    widths = [np.ptp(each.quantiles[11 - hour]) for hour, each in enumerate(several)]
    assert np.ptp(found.quantiles[0]) == pytest.approx(np.mean(widths))
