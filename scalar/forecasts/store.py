"""SQL of forecasts, their scores and trials: one statement a function."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from psycopg.types.json import Jsonb

from scalar.database import Transaction, one
from scalar.forecasts.model import HOUR, Floats, Forecast
from scalar.forecasts.skill import Score, Skill
from scalar.forecasts.trials import Trial
from scalar.ids import new_id

LEVELS = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")


class Kind(StrEnum):
    DEMAND = "demand"
    """GPUs that were wanted, by type and tier."""
    PRICE = "price"
    """Dollars per node-hour, by kind of machine."""


@dataclass(frozen=True, kw_only=True, order=True)
class Subject:
    """What a series is of."""

    kind: Kind
    name: str
    tier: str | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.tier}" if self.tier else self.name


@dataclass(frozen=True, kw_only=True, eq=False)
class Issued:
    """A forecast as it was written down."""

    id: str
    subject: Subject
    issued_at: datetime
    made_at: datetime
    member: str
    notes: tuple[str, ...]
    scale: float | None
    weights: Mapping[str, float] = field(default_factory=dict)
    quantiles: Floats
    naive: Floats

    @property
    def forecast(self) -> Forecast:
        return Forecast(start=self.issued_at, quantiles=self.quantiles, member=self.member, notes=self.notes)


def demand_since(tx: Transaction, since: datetime) -> dict[Subject, dict[datetime, float]]:
    """What was wanted, by hour; an hour that isn't there had none."""
    rows = tx.execute(
        """select gpu_type, tier, hour, running + queued as wanted from demand_history where hour >= %s""", [since]
    )
    found: dict[Subject, dict[datetime, float]] = {}
    for row in rows:
        subject = Subject(kind=Kind.DEMAND, name=row["gpu_type"], tier=row["tier"])
        found.setdefault(subject, {})[row["hour"]] = row["wanted"]
    return found


def demand_hours(tx: Transaction, since: datetime) -> list[datetime]:
    """Hours that were looked at, oldest first."""
    rows = tx.execute("select hour from demand_hours where hour >= %s order by hour", [since])
    return [row["hour"] for row in rows]


def prices_since(tx: Transaction, since: datetime) -> dict[Subject, dict[datetime, float]]:
    """Average prices, by hour; an hour that isn't there had no trade, or nobody looked."""
    rows = tx.execute(
        "select sku, hour, average::float8 as average from market_prices where hour >= %s and average is not null",
        [since],
    )
    found: dict[Subject, dict[datetime, float]] = {}
    for row in rows:
        found.setdefault(Subject(kind=Kind.PRICE, name=row["sku"]), {})[row["hour"]] = row["average"]
    return found


def last_price_hour(tx: Transaction) -> datetime | None:
    hour: datetime | None = one(tx, "select max(hour) as hour from market_prices")["hour"]
    return hour


def last_demand_hour(tx: Transaction) -> datetime | None:
    hour: datetime | None = one(tx, "select max(hour) as hour from demand_hours")["hour"]
    return hour


def last_issued(tx: Transaction, kind: Kind) -> datetime | None:
    row = one(tx, "select max(issued_at) as at from forecasts where kind = %s", [kind])
    at: datetime | None = row["at"]
    return at


def drop(tx: Transaction, subject: Subject, issued_at: datetime) -> None:
    """A forecast of the same hour that is made again takes the place of the one before."""
    tx.execute(
        "delete from forecasts where kind = %s and subject = %s and tier is not distinct from %s and issued_at = %s",
        [subject.kind, subject.name, subject.tier, issued_at],
    )


def prune(tx: Transaction, kind: Kind, before: datetime) -> None:
    """Of forecasts that were issued before, what no score is of: scores stay, and what they are of."""
    unscored = "not exists (select from forecast_scores s where s.forecast_id = f.id and s.hour = h.hour)"
    tx.execute(
        f"""delete from forecast_hours h using forecasts f
            where h.forecast_id = f.id and f.kind = %s and f.issued_at < %s and {unscored}""",
        [kind, before],
    )
    tx.execute(
        """delete from forecasts f where kind = %s and issued_at < %s
           and not exists (select from forecast_hours h where h.forecast_id = f.id)""",
        [kind, before],
    )


def insert(tx: Transaction, subject: Subject, made: Forecast, *, scale: float | None, now: datetime) -> str:
    forecast_id = new_id("fc")
    tx.execute(
        """insert into forecasts (id, kind, subject, tier, issued_at, made_at, member, weights, notes, scale)
           values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            forecast_id,
            subject.kind,
            subject.name,
            subject.tier,
            made.start,
            now,
            made.member,
            Jsonb(dict(made.weights)),
            list(made.notes),
            scale,
        ],
    )
    return forecast_id


def insert_hours(tx: Transaction, forecast_id: str, made: Forecast) -> None:
    naive = made.naive if made.naive is not None else made.median
    tx.cursor().executemany(
        f"""insert into forecast_hours (forecast_id, hour, {", ".join(LEVELS)}, naive)
            values (%s, %s, {", ".join(["%s"] * len(LEVELS))}, %s)""",
        [
            (forecast_id, made.start + ahead * HOUR, *map(float, row), float(naive[ahead]))
            for ahead, row in enumerate(made.quantiles)
        ],
    )


def latest(tx: Transaction, kind: Kind) -> list[Issued]:
    """The last forecast of each series."""
    last = "select distinct on (subject, tier) * from forecasts where kind = %s order by subject, tier, issued_at desc"
    return _issued(tx, last, [kind])


def issued_since(tx: Transaction, kind: Kind, since: datetime) -> list[Issued]:
    """Every forecast that was issued at that hour or later: of each series, the newest last."""
    return _issued(tx, "select * from forecasts where kind = %s and issued_at >= %s", [kind, since])


def _issued(tx: Transaction, which: str, values: Sequence[object]) -> list[Issued]:
    rows = tx.execute(
        f"""select f.*, h.quantiles, h.naive from ({which}) f
            cross join lateral (select array_agg(array[{", ".join(LEVELS)}] order by hour) as quantiles,
                array_agg(naive order by hour) as naive from forecast_hours where forecast_id = f.id) h
            order by f.subject, f.tier, f.issued_at""",
        values,
    )
    return [
        Issued(
            id=row["id"],
            subject=Subject(kind=Kind(row["kind"]), name=row["subject"], tier=row["tier"]),
            issued_at=row["issued_at"],
            made_at=row["made_at"],
            member=row["member"],
            notes=tuple(row["notes"]),
            weights=row["weights"],
            scale=row["scale"],
            quantiles=np.array(row["quantiles"], dtype=np.float64),
            naive=np.array(row["naive"], dtype=np.float64),
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Due:
    """An hour of a forecast whose truth is known, and that has no score."""

    forecast_id: str
    hour: datetime
    truth: float
    quantiles: Sequence[float]
    naive: float


def due(tx: Transaction, since: datetime) -> list[Due]:
    """Hours of the first day of each forecast."""
    rows = tx.execute(
        f"""select h.forecast_id, h.hour, array[{", ".join(LEVELS)}] as quantiles, h.naive, t.truth
            from forecasts f join forecast_hours h on h.forecast_id = f.id
            cross join lateral (
                select coalesce((select running + queued from demand_history d
                    where d.hour = h.hour and d.gpu_type = f.subject and d.tier = f.tier), 0) as truth
                from demand_hours where hour = h.hour and f.kind = 'demand'
                union all
                select average::float8 from market_prices
                where hour = h.hour and sku = f.subject and average is not null and f.kind = 'price') t
            where h.hour >= %s and h.hour < f.issued_at + interval '1 day'
              and not exists (select from forecast_scores s where s.forecast_id = h.forecast_id and s.hour = h.hour)
            order by h.forecast_id, h.hour""",
        [since],
    )
    return [Due(**row) for row in rows]


def insert_scores(tx: Transaction, found: Iterable[tuple[Due, Score]], now: datetime) -> None:
    tx.cursor().executemany(
        """insert into forecast_scores (forecast_id, hour, truth, error, naive_error, pinball, inside, scored_at)
           values (%s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            (each.forecast_id, each.hour, each.truth, s.error, s.naive_error, s.pinball, s.inside, now)
            for each, s in found
        ],
    )


def skills(tx: Transaction, since: datetime) -> dict[Subject, Skill]:
    """Of each series, over the hours since then. Errors are summed before they are divided by the summed scales."""
    rows = tx.execute(
        """select f.kind, f.subject, f.tier, count(*) as hours, avg(inside::int)::float8 as coverage,
               sum(error) as error, sum(naive_error) as naive, sum(pinball) as pinball, sum(f.scale) as scale
           from forecast_scores s join forecasts f on f.id = s.forecast_id where s.hour >= %s
           group by f.kind, f.subject, f.tier order by f.kind, f.subject, f.tier""",
        [since],
    )
    return {
        Subject(kind=Kind(row["kind"]), name=row["subject"], tier=row["tier"]): Skill(
            hours=row["hours"],
            coverage=row["coverage"],
            mase=_by(row["error"], row["scale"]),
            naive=_by(row["naive"], row["scale"]),
            pinball=_by(row["pinball"], row["scale"]),
        )
        for row in rows
    }


@dataclass(frozen=True, kw_only=True)
class ScoredDay:
    subject: Subject
    day: datetime
    mase: float
    naive: float
    coverage: float


def skill_by_day(tx: Transaction, since: datetime) -> list[ScoredDay]:
    rows = tx.execute(
        """select f.kind, f.subject, f.tier, date_trunc('day', s.hour, 'UTC') as day, sum(error) as error,
               sum(naive_error) as naive, sum(f.scale) as scale, avg(inside::int)::float8 as coverage
           from forecast_scores s join forecasts f on f.id = s.forecast_id where s.hour >= %s
           group by f.kind, f.subject, f.tier, day order by day, f.kind, f.subject, f.tier""",
        [since],
    )
    return [
        ScoredDay(
            subject=Subject(kind=Kind(row["kind"]), name=row["subject"], tier=row["tier"]),
            day=row["day"],
            mase=_by(row["error"], row["scale"]),
            naive=_by(row["naive"], row["scale"]),
            coverage=row["coverage"],
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was forecast of an hour, by the forecast that was the last to speak of it a day ahead or less; the truth."""

    hour: datetime
    low: float
    median: float
    high: float
    truth: float


def told(tx: Transaction, subject: Subject, since: datetime) -> list[Told]:
    rows = tx.execute(
        """select distinct on (s.hour) s.hour, h.q05 as low, h.q50 as median, h.q95 as high, s.truth
           from forecast_scores s join forecasts f on f.id = s.forecast_id
               join forecast_hours h on h.forecast_id = s.forecast_id and h.hour = s.hour
           where f.kind = %s and f.subject = %s and f.tier is not distinct from %s and s.hour >= %s
           order by s.hour, f.issued_at""",
        [subject.kind, subject.name, subject.tier, since],
    )
    return [Told(**row) for row in rows]


def trials(tx: Transaction, kind: Kind) -> dict[Subject, Trial]:
    rows = tx.execute("select subject, tier, at, worth from forecast_trials where kind = %s", [kind])
    return {
        Subject(kind=kind, name=row["subject"], tier=row["tier"]): Trial(at=row["at"], worth=row["worth"])
        for row in rows
    }


def note_trial(tx: Transaction, subject: Subject, trial: Trial) -> None:
    tx.execute(
        """insert into forecast_trials (kind, subject, tier, at, worth) values (%s, %s, %s, %s, %s)
           on conflict on constraint forecast_trials_one_a_series
           do update set at = excluded.at, worth = excluded.worth""",
        [subject.kind, subject.name, subject.tier, trial.at, trial.worth],
    )


def _by(total: float, scale: float | None) -> float:
    if scale:
        return total / scale
    return 0.0 if total == 0 else float("inf")
