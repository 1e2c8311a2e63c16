"""Where the hours to come are known from: a protocol, and what ran of late, which is there from the second day on."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import numpy as np

from scalar.database import Transaction
from scalar.jobs.model import Tier
from scalar.metering.model import HOUR, hour_of
from scalar.planning import foresight_store as store
from scalar.planning.experts import DAY, WEEK, foreseen
from scalar.planning.highs import Floats
from scalar.planning.outlook import Authority

SCENARIOS = 60
"""Three times as many values as are kept of an hour."""
_PAST = 6 * WEEK
_UNSCORED = Authority(order_size=Decimal("0.5"), horizon_hours=24, why="nobody has scored this forecast yet")


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreseen:
    """GPUs that are wanted from the hour that runs on. `fast`: scenarios (n, hours); `flex`: expected, by hour."""

    fast: Floats
    flex: Floats
    authority: Authority
    notes: tuple[str, ...] = ()


class Foresight(Protocol):
    def demand(self, tx: Transaction, gpu_type: str, now: datetime, *, any_type: bool) -> Foreseen | None:
        """None: nothing is known. `any_type`: what asks for no type in particular counts as this one's."""

    def prices(self, tx: Transaction, sku: str, now: datetime) -> Floats | None:
        """Equally likely prices (hours, n), by what the hour that runs is likely to cost; None: they stay."""


class FromUsage:
    """From what ran of late: the usual views of it, and the authority of something that nobody has scored."""

    def demand(self, tx: Transaction, gpu_type: str, now: datetime, *, any_type: bool) -> Foreseen | None:  # noqa: ARG002
        begin, end = hour_of(now) - _PAST * HOUR, hour_of(now)
        series = {tier: store.used_by_hour(tx, gpu_type, tier, begin, end) for tier in Tier}
        if all(each is None or len(each) < DAY for each in series.values()):
            return None
        fast, flex = (_ahead_of(series[tier]) for tier in (Tier.FAST, Tier.FLEX))
        return Foreseen(fast=fast, flex=flex.mean(axis=0), authority=_UNSCORED)

    def prices(self, tx: Transaction, sku: str, now: datetime) -> Floats | None:  # noqa: ARG002
        return None


def _ahead_of(series: Floats | None) -> Floats:
    if series is None or not len(series):
        return np.zeros((SCENARIOS, WEEK))
    return foreseen(np.append(series, series[-1]), WEEK, SCENARIOS)
