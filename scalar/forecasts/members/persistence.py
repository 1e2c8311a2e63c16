"""The last value goes on: on prices, hard to beat."""

from collections.abc import Sequence

import numpy as np

from scalar.forecasts.history import History
from scalar.forecasts.model import Floats


class Persistence:
    name = "persistence"
    needs = 1

    def paths(self, history: History, origins: Sequence[int], horizon: int) -> Floats:
        last = history.values[np.array(origins) - 1]
        return np.repeat(last[:, None], horizon, axis=1)
