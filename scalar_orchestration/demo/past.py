"""The weeks before a demo: what was wanted in them (made up), what the market traded (really, at the sandbox), and the
forecasts that were issued in the last days of them, each scored when its hours came.

Without a past there is nothing to foresee by, and forecasts without measured skill have little authority.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from scalar.database import Transaction
from scalar.forecasts import demand_store, store
from scalar.forecasts.demand import Demand
from scalar.forecasts.store import Kind, Subject
from scalar.forecasts.trials import Trial
from scalar.jobs.model import Tier
from scalar.metering.model import HOUR
from scalar.replay.history import offered
from scalar.replay.model import Arrival
from scalar_orchestration.demo.customers import GPU_TYPE
from scalar_orchestration.demo.sandbox import Sandbox
from scalar_orchestration.demo.timetable import Timetable
from scalar_orchestration.resources import PostgresResource

_DAY = timedelta(days=1)


class Past:
    """`came`: what customers asked for in [first, end); `turn`: sets the played clock."""

    def __init__(
        self,
        *,
        database: PostgresResource,
        sandbox: Sandbox,
        timetable: Timetable,
        turn: Callable[[datetime], None],
        came: Sequence[Arrival],
        first: datetime,
        end: datetime,
    ) -> None:
        self._database, self._sandbox, self._timetable, self._turn = database, sandbox, timetable, turn
        self._came, self._first, self._end = came, first, end

    def live_through(self, forecast_days: int, say: Callable[[str], None]) -> None:
        """The last `forecast_days` day by day, with forecasts and their scores; what was before them in one go."""
        day, market_since = self._end - forecast_days * _DAY, self._sandbox.now()
        self._known_until(self._first, market_since, day)
        made_up, traded = (day - self._first).days, (day - market_since).days
        say(f"{made_up} days of demand (made up), {traded} days of trades (the sandbox's)")
        self._leave_prophet_out()
        while day < self._end:
            self._forecast(day)
            say(f"forecasts of {day:%a %d %b} are issued; those of before are scored")
            self._known_until(day, day, day + _DAY)
            day += _DAY
        self._forecast(day)

    def _known_until(self, demand_from: datetime, prices_from: datetime, until: datetime) -> None:
        self._sandbox.advance_to(until)
        self._turn(until)
        with self._database.transaction() as tx:
            write_demand(tx, self._came, demand_from, until)
        tags = {
            "dagster/asset_partition_range_start": f"{prices_from:%Y-%m-%d-%H:%M}",
            "dagster/asset_partition_range_end": f"{until - HOUR:%Y-%m-%d-%H:%M}",
        }
        self._timetable.materialise("price_history", tags=tags)

    def _forecast(self, at: datetime) -> None:
        self._turn(at)
        self._timetable.materialise("demand_forecast", "price_forecast", "forecast_skill")

    def _leave_prophet_out(self) -> None:
        """Its trial takes a minute a series, once a week: for the demo, it was tried and not taken."""
        with self._database.transaction() as tx:
            demand = [Subject(kind=Kind.DEMAND, name=GPU_TYPE, tier=tier.value) for tier in Tier]
            for subject in (*demand, *store.prices_since(tx, self._first)):
                store.note_trial(tx, subject, Trial(at=self._end + 2 * 7 * _DAY, worth=False))


def write_demand(tx: Transaction, came: Sequence[Arrival], start: datetime, end: datetime) -> None:
    """As if every job had run when it came."""
    by_tier = {tier: offered([each for each in came if each.tier is tier], start, end) for tier in Tier}
    for number in range((end - start) // HOUR):
        hour = start + number * HOUR
        demand_store.clear_hour(tx, hour, hour + HOUR)
        wanted = [
            Demand(gpu_type=GPU_TYPE, tier=tier.value, running=float(gpus[number]))
            for tier, gpus in by_tier.items()
            if gpus[number] > 0
        ]
        demand_store.insert(tx, hour, wanted)
