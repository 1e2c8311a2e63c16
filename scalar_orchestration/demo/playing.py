"""A demo from its first line to its last: the past, the week, what came of it, and the week under other policies."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from scalar.jobs.model import Tier
from scalar.market.settings import MarketSettings
from scalar.metering.model import HOUR, Window
from scalar.replay.model import Report
from scalar.settings import settings
from scalar_orchestration.demo import findings, telling
from scalar_orchestration.demo.customers import arrivals
from scalar_orchestration.demo.past import Past
from scalar_orchestration.demo.sandbox import Sandbox
from scalar_orchestration.demo.timetable import Timetable
from scalar_orchestration.demo.week import PlayedClock, Week
from scalar_orchestration.resources import MarketResource, PostgresResource

_DAY = timedelta(days=1)
_TOLD_EVERY = 6
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What is played. `start`: a midnight, long enough ago that all of it is past by the wall's clock too."""

    start: datetime
    hours: int = 7 * 24
    weeks_before: int = 8
    forecast_days: int = 8
    """Of these: so many with forecasts that are scored."""
    seed: int = 1
    wind_down_hours: int = 12
    """What runs at the end is waited for so long."""

    @property
    def window(self) -> Window:
        return Window(start=self.start, end=self.start + self.hours * HOUR)

    @property
    def first(self) -> datetime:
        return self.start - self.weeks_before * 7 * _DAY


@dataclass(frozen=True, kw_only=True)
class Played:
    """`reports`: as it was, then each policy and the oracle. `failed`: runs of Dagster's that failed."""

    week: Window
    reports: list[Report]
    runs: int
    failed: list[str]
    ahead: findings.Ahead


class Demo:
    """`database`, `market`, `sandbox`: of a platform that is fresh; `instance`: its Dagster's."""

    def __init__(
        self,
        plot: Plot,
        *,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        database: PostgresResource,
        market: MarketResource,
        sandbox: Sandbox,
        say: Say,
    ) -> None:
        self._plot, self._database, self._market, self._sandbox = plot, database, market, sandbox
        self._say = say
        self._clock = PlayedClock(plot.first)
        self._timetable = Timetable(
            definitions,
            instance,
            database=database,
            market=market,
            start=plot.start,
            end=plot.window.end + 2 * _DAY,
        )
        came = arrivals(plot.first, plot.window.end, plot.seed)
        self._before = [each for each in came if each.at < plot.start]
        self._week = Week(
            database=database,
            sandbox=sandbox,
            timetable=self._timetable,
            clock=self._clock,
            window=plot.window,
            came=[each for each in came if each.at >= plot.start],
            wind_down=plot.wind_down_hours * HOUR,
        )

    def play(self) -> Played:
        with self._clock.everywhere():
            self._live_the_past()
            self._week.open_accounts()
            self._say(f"\nThe week from {self._plot.start:%A %d %B %Y}, {self._plot.hours} hours of it:\n")
            self._say(telling.head())
            self._week.play(self._watch)
            return self._sum_up()

    def _live_the_past(self) -> None:
        self._say(f"The {self._plot.weeks_before} weeks before, in fast motion:")
        Past(
            database=self._database,
            sandbox=self._sandbox,
            timetable=self._timetable,
            turn=self._clock.turn,
            came=self._before,
            first=self._plot.first,
            end=self._plot.start,
        ).live_through(self._plot.forecast_days, lambda line: self._say(f"  {line}"))

    def _watch(self, at: datetime) -> None:
        if at.hour % _TOLD_EVERY:
            return
        window = self._plot.window
        with self._database.transaction() as tx:
            now = findings.standing(tx, window, at)
            if at.hour == 0 and at < window.end:
                yesterday = Window(start=at.replace(minute=0) - _DAY, end=at.replace(minute=0))
                came = findings.came(tx, yesterday) if yesterday.start >= window.start else None
                self._say(telling.day(at, findings.foreseen(tx), came))
        self._say(telling.line(at, now))

    def _sum_up(self) -> Played:
        window, caps = self._plot.window, self._market.settings.caps
        self._timetable.materialise("capacity_reconciliation")
        for month in sorted({f"{each:%Y-%m}-01" for each in (window.start, window.end - HOUR)}):
            self._timetable.materialise("block_pnl", "job_margin", "customer_margin", partition_key=month)
            self._timetable.materialise("policy_replay", partition_key=month)
        with self._database.transaction() as tx:
            ahead = findings.bought_ahead(tx)
            lines = telling.outcome(
                orders=findings.orders_by_state(tx),
                refused=findings.refusals(tx),
                most=findings.most_spent(tx),
                caps=caps,
                ahead=ahead,
                waits={tier.value: findings.waits(tx, window, tier) for tier in Tier},
                turned_away=self._week.turned_away,
                trust=findings.trust(tx, window.end),
            )
            self._tell("What came of it", lines)
            reports = [findings.as_it_was(tx, window), *findings.replayed(tx, window)]
        self._tell(
            "The same customers and prices, under each policy and for who knew everything", telling.table(reports)
        )
        tally = self._timetable.tally
        return Played(week=window, reports=reports, runs=tally.runs, failed=tally.failed, ahead=ahead)

    def _tell(self, title: str, lines: Iterator[str]) -> None:
        self._say(f"\n{title}:\n")
        for each in lines:
            self._say(f"  {each}")


@contextmanager
def opened(plot: Plot, say: Say, *, instance: dg.DagsterInstance | None = None) -> Iterator[Demo]:
    """On the platform that the environment describes: its database, its Dagster instance, its sandbox market."""
    from scalar_orchestration.definitions import definitions  # noqa: PLC0415 - loads every asset

    found = MarketSettings()
    with ExitStack() as stack:
        sandbox = Sandbox(str(found.url), found.read_token())
        stack.callback(sandbox.close)
        yield Demo(
            plot,
            definitions=definitions(),
            instance=instance or stack.enter_context(dg.DagsterInstance.get()),
            database=PostgresResource(url=settings().database_url.get_secret_value()),
            market=MarketResource(url=found.url),
            sandbox=sandbox,
            say=say,
        )
