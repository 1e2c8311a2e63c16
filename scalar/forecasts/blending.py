"""The forecasts of a series that were issued in a day, as one: pure.

The mean of their quantiles, level by level (Vincent's way to average distributions), of each hour that is ahead. A new
forecast each hour knows more of that hour than the one before it, and moves the days ahead by a little that is mostly
noise. Whoever buys blocks of a day by each of them buys what the next one sells again: the mean stands still.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from scalar.forecasts.model import HOUR, Forecast

A_DAY = timedelta(days=1)
"""From the first forecast that has a say to the newest."""


def blended(made: Sequence[Forecast]) -> Forecast:
    """The newest; in place of its own quantiles, the mean of all that look at an hour.

    `made`: of one series, the newest last; at least one. What is a day older than the newest has no say.
    """
    newest = made[-1]
    total, looked = np.zeros_like(newest.quantiles), np.zeros((len(newest.quantiles), 1))
    for each in made:
        if newest.start - each.start < A_DAY:
            there = each.quantiles[(newest.start - each.start) // HOUR :][: len(total)]
            total[: len(there)] += there
            looked[: len(there)] += 1
    return replace(newest, quantiles=total / looked)
