"""The week, tick by tick: customers come, agents call, Dagster's sensors and schedules are looked at, orders are sent.

    :00 :10 :20 …   what came and ended since the tick before, each at its own moment, with a scheduling pass after it;
                    machines, a plan if one is due or needed, its orders; a minute later their fills and machines
    :10             the hour that is over: prices, usage, rating, costs, demand; every six hours forecasts

What Dagster would do every few seconds is done once a tick, and what it would do every few minutes at the pace of
`PACE`: in a week of some minutes nobody could tell the difference but by the wait.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import dagster as dg

from scalar.accounts import store as accounts
from scalar.accounts.keys import Role, new_key
from scalar.billing import wallets
from scalar.billing.credit import Terms
from scalar.billing.money import micros
from scalar.billing.rate_cards import RateCard
from scalar.billing.rates import set_rate_card
from scalar.database import Transaction
from scalar.errors import PaymentRequired
from scalar.jobs import life
from scalar.jobs.model import JobSpec, Requirements
from scalar.metering.model import HOUR, Window
from scalar.replay.model import Arrival
from scalar_orchestration.clock import time_is
from scalar_orchestration.demo.agents import Agents
from scalar_orchestration.demo.customers import CUSTOMERS, GPU_TYPE, Customer
from scalar_orchestration.demo.sandbox import Sandbox
from scalar_orchestration.demo.timetable import Asked, Timetable
from scalar_orchestration.resources import PostgresResource

TICK = timedelta(minutes=10)
PACE = {
    "plan_often": timedelta(minutes=30),
    "reconcile_often": 3 * HOUR,
    "history_landed": 6 * HOUR,
    "credit_to_draw": 6 * HOUR,
    "margins_of_the_month": 24 * HOUR,
}
"""Of what would take too long at its own pace. Everything else is looked at each tick, or each hour."""
METERED = frozenset(dg.AssetKey(name) for name in ("hourly_usage", "rated_usage", "run_costs"))
"""Made in one run: each is what the one before it is asked for."""
_MINUTE = timedelta(minutes=1)
_CHORES_AT = 10


class PlayedClock:
    """Turned by hand; it never goes back."""

    def __init__(self, start: datetime) -> None:
        self.moment = start

    def now(self) -> datetime:
        return self.moment

    def turn(self, moment: datetime) -> None:
        self.moment = max(self.moment, moment)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        with time_is(self.now):
            yield


@dataclass(frozen=True, kw_only=True)
class Account:
    organisation_id: str
    key_id: str


class Week:
    """`came`: what customers ask for, by time. `wind_down`: what runs at the end is waited for so long."""

    def __init__(
        self,
        *,
        database: PostgresResource,
        sandbox: Sandbox,
        timetable: Timetable,
        clock: PlayedClock,
        window: Window,
        came: Sequence[Arrival],
        wind_down: timedelta,
    ) -> None:
        self._database, self._sandbox, self._timetable, self._clock = database, sandbox, timetable, clock
        self.window = window
        self._last = window.end + wind_down
        self._coming = iter(came)
        self._next: Arrival | None = next(self._coming, None)
        self._lasts: dict[str, timedelta] = {}
        self._agents = Agents(database, sandbox, self._lasts)
        self._looked_at: dict[str, datetime] = {}
        self._accounts: dict[str, Account] = {}
        self.turned_away = 0

    def open_accounts(self, customers: Sequence[Customer] = CUSTOMERS) -> None:
        with self._database.transaction() as tx:
            for each in customers:
                self._accounts[each.name] = _account(tx, each, self.window.start)

    def play(self, watch: Callable[[datetime], None]) -> None:
        """Until its end, and until what runs then has ended. `watch` is told every hour, after its chores."""
        moment = self.window.start
        while moment < self.window.end or (self._agents.next_end and moment < self._last):
            self._tick(moment)
            if moment.minute == _CHORES_AT:
                watch(moment)
            moment += TICK
        over = moment + HOUR
        # Until the hour in which the last of it ended is over, and was looked at.
        while moment <= over or moment.minute <= _CHORES_AT:
            self._tick(moment)
            moment += TICK

    def _tick(self, moment: datetime) -> None:
        self._live_until(moment)
        self._sandbox.advance_to(moment)
        self._agents.call(moment)
        self._timetable.sensor("market_instances")
        self._agents.obey(moment)
        self._agents.place(moment)
        if moment.minute == _CHORES_AT:
            self._chores()
        self._plan()
        self._live_until(moment + _MINUTE)
        self._sandbox.advance_to(moment + _MINUTE)
        self._timetable.sensor("market_orders")
        self._timetable.sensor("market_instances")
        self._agents.obey(moment + _MINUTE)

    def _plan(self) -> None:
        """The schedule's, or, where something is missing, the sensor's at once."""
        asked = self._look_at_schedule("plan_often") or self._timetable.sensor("plan_needed")
        self._timetable.run(asked)
        self._timetable.sensor("plan_orders")
        self._timetable.sensor("market_orders")

    def _chores(self) -> None:
        self._agents.tell(self._clock.now())
        self._timetable.run(self._timetable.sensor("price_hours"))
        self._timetable.run([*self._usage(), *self._timetable.sensor("demand_hours")])
        for name in ("hours_to_rate", "cost_hours", "empty_wallets"):
            self._timetable.run(self._timetable.sensor(name))
        self._timetable.run(self._timetable.schedule("forecast_daily"))
        for name in ("history_landed", "credit_to_draw"):
            if self._is_time_for(name):
                self._timetable.run(self._timetable.sensor(name))
        for name in ("reconcile_often", "margins_of_the_month"):
            self._timetable.run(self._look_at_schedule(name))

    def _usage(self) -> list[Asked]:
        return [replace(each, selection=METERED) for each in self._timetable.sensor("usage_hours")]

    def _look_at_schedule(self, name: str) -> list[Asked]:
        return self._timetable.schedule(name) if self._is_time_for(name) else []

    def _is_time_for(self, name: str) -> bool:
        now, last = self._clock.now(), self._looked_at.get(name)
        if last is not None and now - last < PACE[name]:
            return False
        self._looked_at[name] = now
        return True

    def _live_until(self, moment: datetime) -> None:
        """What happens until then, in order: each arrival and each end at its own time, and a pass after it."""
        while (at := self._next_event()) is not None and at <= moment:
            self._clock.turn(at)
            self._come(at)
            self._agents.end_due(at)
            self._agents.place(self._clock.now())
        self._clock.turn(moment)

    def _next_event(self) -> datetime | None:
        times = [self._agents.next_end, self._next.at if self._next is not None else None]
        return min((each for each in times if each is not None), default=None)

    def _come(self, until: datetime) -> None:
        while self._next is not None and self._next.at <= until:
            self._submit(self._next)
            self._next = next(self._coming, None)

    def _submit(self, arrival: Arrival) -> None:
        account = self._accounts[arrival.organisation_id]
        try:
            with self._database.transaction() as tx:
                submitted = life.submit(
                    tx,
                    _spec(arrival),
                    organisation_id=account.organisation_id,
                    key_id=account.key_id,
                    idempotency_key=arrival.id,
                    now=arrival.at,
                )
        except PaymentRequired:
            self.turned_away += 1
        else:
            self._lasts[submitted.job.id] = timedelta(seconds=arrival.seconds)


def _account(tx: Transaction, customer: Customer, now: datetime) -> Account:
    made = accounts.create_organisation(tx, customer.name)
    key = accounts.create_key(tx, new_key(Role.CUSTOMER), Role.CUSTOMER, name="demo", organisation_id=made.id)
    if customer.prepaid is not None:
        wallets.set_terms(tx, made.id, Terms.PREPAID, limit=None, grace=HOUR, now=now)
        wallets.top_up(tx, made.id, micros(Decimal(customer.prepaid)), f"demo/{customer.name}", now, note="play money")
    if customer.discount_percent is not None:
        card = RateCard(
            id="",
            name=f"{customer.name}'s own",
            organisation_id=made.id,
            effective_from=now,
            discount_percent=Decimal(customer.discount_percent),
        )
        set_rate_card(tx, card, actor="demo", now=now)
    return Account(organisation_id=made.id, key_id=key.id)


def _spec(arrival: Arrival) -> JobSpec:
    """Nobody says how long it will run: who does gets only nodes that are ours for so long."""
    return JobSpec(
        name=arrival.id.split("/", maxsplit=1)[0],
        image="played",
        requirements=Requirements(gpus=arrival.gpus, gpu_type=GPU_TYPE),
        tier=arrival.tier,
        max_price_per_gpu_hour=arrival.max_price_per_gpu_hour,
    )
