"""Foresight from the forecasts that were issued, as far as each has earned it.

The forecasts of each tier's demand of the last day, if the newest is fresh, are blended and drawn as scenarios; the
authority is what the measured skill of the demand has earned. A price forecast is taken at its word for as long as its
own skill allows; after that its middle is the naive copy's. Where no forecast of demand is fresh: what ran of late, and
a note that says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

import numpy as np

from scalar.database import Transaction
from scalar.forecasts import store
from scalar.forecasts.authority import authority
from scalar.forecasts.blending import A_DAY, blended
from scalar.forecasts.demand import ANY
from scalar.forecasts.model import MEDIAN
from scalar.forecasts.scenarios import scenarios
from scalar.forecasts.skill import Skill
from scalar.forecasts.store import Issued, Subject
from scalar.jobs.model import Tier
from scalar.metering.model import HOUR, hour_of
from scalar.planning.experts import DAY, WEEK
from scalar.planning.foresight import SCENARIOS, Foreseen, FromUsage
from scalar.planning.highs import Floats
from scalar.planning.outlook import Authority

FRESH = timedelta(hours=6)
"""Where the newest forecast's first hour is longer ago, none is planned by."""
_MONTH = timedelta(days=28)


class FromForecasts:
    """From what was forecast. Reads once: made for one plan."""

    def __init__(self) -> None:
        self._read: dict[store.Kind, Mapping[Subject, Issued]] = {}
        self._skills: Mapping[Subject, Skill] | None = None
        self._without = FromUsage()

    def demand(self, tx: Transaction, gpu_type: str, now: datetime, *, any_type: bool) -> Foreseen | None:
        fresh = self._fresh(tx, store.Kind.DEMAND, now)
        names = [gpu_type, ANY] if any_type else [gpu_type]
        found = {tier: [fresh[each] for each in _subjects(names, tier) if each in fresh] for tier in Tier}
        if not any(found.values()):
            return self._from_usage(tx, gpu_type, now, any_type=any_type)
        # The tier that decides how much is owned: fast work, if there is any.
        leading = found[Tier.FAST] or found[Tier.FLEX]
        fast = [_paths(each, now, seed) for seed, each in enumerate(found[Tier.FAST])]
        flex = [_paths(each, now, seed) for seed, each in enumerate(found[Tier.FLEX])]
        hours = min(each.shape[1] for each in (*fast, *flex))
        return Foreseen(
            fast=_sum(fast, hours),
            flex=_sum(flex, hours).mean(axis=0),
            authority=self._authority(tx, leading[0].subject, now),
            notes=tuple(note for each in (*found[Tier.FAST], *found[Tier.FLEX]) for note in each.notes),
        )

    def prices(self, tx: Transaction, sku: str, now: datetime) -> Floats | None:
        subject = Subject(kind=store.Kind.PRICE, name=sku)
        issued = self._fresh(tx, store.Kind.PRICE, now).get(subject)
        if issued is None:
            return None
        gone = _gone(issued, now)
        rows = issued.quantiles[gone:].copy()
        trusted = self._authority(tx, subject, now).horizon_hours
        # Beyond it, the band is kept and its middle is the naive copy's.
        rows[trusted:] += (issued.naive[gone:] - rows[:, MEDIAN])[trusted:, None]
        first = float(rows[0, MEDIAN])
        return np.maximum(rows, 0.0) / first if first > 0 else None

    def _from_usage(self, tx: Transaction, gpu_type: str, now: datetime, *, any_type: bool) -> Foreseen | None:
        made = self._without.demand(tx, gpu_type, now, any_type=any_type)
        if made is None:
            return None
        said = "no forecast of its demand is fresh: it is foreseen from what ran of late"
        return Foreseen(fast=made.fast, flex=made.flex, authority=made.authority, notes=(said,))

    def _authority(self, tx: Transaction, subject: Subject, now: datetime) -> Authority:
        if self._skills is None:
            self._skills = store.skills(tx, now - _MONTH)
        given = authority(self._skills.get(subject))
        whole = given.horizon_hours >= WEEK
        return Authority(
            limit_price=given.limit_price,
            order_size=given.order_size,
            horizon_hours=given.horizon_hours,
            why="" if whole else given.why,
        )

    def _fresh(self, tx: Transaction, kind: store.Kind, now: datetime) -> Mapping[Subject, Issued]:
        if kind not in self._read:
            found = store.latest(tx, kind) if kind is store.Kind.PRICE else _of_a_day(tx, kind, now)
            self._read[kind] = {
                each.subject: each
                for each in found
                if now - each.issued_at <= FRESH and _gone(each, now) + DAY <= len(each.quantiles)
            }
        return self._read[kind]


def _subjects(names: Sequence[str], tier: Tier) -> list[Subject]:
    return [Subject(kind=store.Kind.DEMAND, name=name, tier=tier.value) for name in names]


def _gone(issued: Issued, now: datetime) -> int:
    """Hours of it that are over."""
    return max(0, (hour_of(now) - issued.issued_at) // HOUR)


def _of_a_day(tx: Transaction, kind: store.Kind, now: datetime) -> list[Issued]:
    """The newest forecast of each series, with what all of its day say in the mean."""
    found = store.issued_since(tx, kind, now - FRESH - A_DAY)
    series = [list(those) for _, those in groupby(found, key=attrgetter("subject"))]
    return [replace(those[-1], quantiles=blended([each.forecast for each in those]).quantiles) for those in series]


def _paths(issued: Issued, now: datetime, seed: int) -> Floats:
    return np.maximum(scenarios(issued.forecast, SCENARIOS, seed)[:, _gone(issued, now) :], 0.0)


def _sum(paths: Sequence[Floats], hours: int) -> Floats:
    total = np.zeros((SCENARIOS, hours))
    for each in paths:
        total += each[:, :hours]
    return total
