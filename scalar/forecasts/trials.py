"""When Prophet is worth its seconds: pure.

It is tried on each series once a week; the verdict holds until the next trial. Where its back-test gave it a weight, it
is a member that week, and else it isn't even fitted. So a hundred series cost a few minutes of Prophet a week, not a
few minutes a forecast.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from scalar.forecasts.members.prophet import Prophet
from scalar.forecasts.model import Forecast

EVERY = timedelta(days=7)
A_RUN = 4
"""Trials that one run of a forecast makes, at most: the others wait for the next."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    at: datetime
    worth: bool


def due(last: Trial | None, now: datetime) -> bool:
    return last is None or now - last.at >= EVERY


def verdict(forecast: Forecast, now: datetime) -> Trial:
    """Of a forecast that was made with Prophet among the members."""
    return Trial(at=now, worth=Prophet.name in forecast.weights)
