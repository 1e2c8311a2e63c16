"""Prophet (Taylor and Letham, 2018): a trend with bends, seasons of a day and a week, holidays.

It takes a second or more to fit, and on hourly series is often worse than last week's copy: it is tried on the last
four weeks only, with a fit every two, and only where it is asked for (see `scalar.forecasts.trials`).
"""

import logging
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from scalar.forecasts.calendar import holiday_names
from scalar.forecasts.history import WEEK, History
from scalar.forecasts.members.member import refits
from scalar.forecasts.model import HOUR, Floats

if TYPE_CHECKING:
    import pandas as pd

_WINDOW = 26 * WEEK
_TRIED = 4 * WEEK
_REFIT = 2 * WEEK
_BENDS = 15


class Prophet:
    name = "prophet"
    needs = 4 * WEEK

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        found = np.full((len(origins), horizon), np.nan)
        row = sum(origin < origins[-1] - _TRIED for origin in origins)
        for group in refits(origins[row:], _REFIT):
            said = _said(history, group[0], group[-1] + horizon)
            for origin in group:
                found[row] = said[origin - group[0] : origin - group[0] + horizon]
                row += 1
        return found


def _said(history: History, fitted_to: int, until: int) -> Floats:
    """From `fitted_to` on."""
    # It tells of every fit, and of what pandas will change.
    for name in ("prophet", "prophet.plot", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd  # noqa: PLC0415 - as Prophet
        from prophet import Prophet as Model  # noqa: PLC0415 - three seconds, and few forecasts need it

        kept = _holidays(history, until)
        model = Model(holidays=kept, n_changepoints=_BENDS, yearly_seasonality=False, uncertainty_samples=0)
        first = max(0, fitted_to - _WINDOW)
        seen = history.values[first:fitted_to]  # noqa: PD011 - no frame of pandas
        model.fit(pd.DataFrame({"ds": _times(history, first, fitted_to), "y": seen}))
        said: Floats = model.predict(pd.DataFrame({"ds": _times(history, fitted_to, until)}))["yhat"].to_numpy()
    return said


def _times(history: History, first: int, until: int) -> "pd.DatetimeIndex":
    """Without a time zone, as Prophet wants them."""
    import pandas as pd  # noqa: PLC0415 - as Prophet

    begins = history.start.replace(tzinfo=None) + first * HOUR
    return pd.date_range(begins, periods=until - first, freq="h")


def _holidays(history: History, until: int) -> "pd.DataFrame | None":
    import pandas as pd  # noqa: PLC0415 - as Prophet

    if history.country is None:
        return None
    last = history.start + until * HOUR + timedelta(days=1)
    named = holiday_names(history.country, history.start.date(), last.date())
    return pd.DataFrame({"ds": pd.to_datetime(list(named)), "holiday": list(named.values())}) if named else None
