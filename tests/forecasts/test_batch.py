"""Many series at once."""

import multiprocessing
import subprocess
import sys

import numpy as np
from series import DAY, a_series, of_weeks

from scalar.forecasts.batch import FEW, forecasts
from scalar.forecasts.forecasting import forecast
from scalar.forecasts.model import HOUR


def short_series(count: int):
    return [a_series(of_weeks(1, seed=number)[: 3 * DAY + number]) for number in range(count)]


def test_processes_of_their_own_say_the_same_in_the_same_order_and_are_gone_afterwards():
    series = short_series(FEW + 1)
    made = forecasts(series)
    assert [each.start for each in made] == [each.start + len(each.values) * HOUR for each in series]
    for one, each in zip(series, made, strict=True):
        np.testing.assert_allclose(each.quantiles, forecast(one).quantiles)
    assert multiprocessing.active_children() == []


def test_few_are_made_in_this_process():
    series = short_series(2)
    for one, each in zip(series, forecasts(series), strict=True):
        np.testing.assert_array_equal(each.quantiles, forecast(one).quantiles)


def test_what_is_none_of_them_is_none():
    assert forecasts([]) == []


def test_asking_for_forecasts_imports_nothing_that_members_are_made_of():
    """Everything that Dagster runs imports it, and would wait."""
    program = """
import sys
import scalar.forecasts.issuing
print(*sorted({"holidays", "pandas", "prophet", "scipy", "sklearn", "statsmodels"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []
