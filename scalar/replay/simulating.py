"""A month, again: jobs come, the pass places them, plans buy, extend and sell; event by event. Pure.

    arrivals, ends, machines that are ready or whose time is up ─► (a minute's events) ─► pass ─► plan, if due

The pass is `scalar.capacity.scheduling.place`; the plan is the policy's: `scalar.planning.reactive` or `.optimal`, on
the same `Situation` that they get in earnest. What differs from earnest: every order fills at its quote, at once; a
machine takes `boot` from its purchase to its first job; a machine whose time is up goes on only by being extended.
A job on a machine that goes away starts anew, and what it had used is not billed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Protocol

from scalar.capacity.model import Placement
from scalar.capacity.scheduling import place
from scalar.jobs.model import LAST_CALL, Job, Tier
from scalar.metering.model import hour_of
from scalar.planning.model import Action, ActionKind, Claim, Plan, Question, Quote, Situation
from scalar.replay.arrivals import job_of
from scalar.replay.fleet import Fleet
from scalar.replay.model import HOUR, Arrival, History, Setup
from scalar.replay.scene import Scene
from scalar.replay.tape import Tape
from scalar.replay.waiting import Queue

Ask = Callable[[tuple[Question, ...]], tuple[Quote, ...]]
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Past:
    """What a policy may know: nothing of it is of later than now."""

    demand: list[float]
    """GPUs that fast work wanted (ran or waited), by hour; the last hour is the one that runs."""
    prices: list[float]


class PlanPolicy(Protocol):
    name: str

    def plan(self, situation: Situation, ask: Ask, past: Past) -> tuple[Plan, bool]:
        """The plan, and whether it is not the one that was meant (the solver failed)."""


UsedKey = tuple[datetime, Tier, str, bool]
"""(hour, tier, organisation, lost by our fault)."""


@dataclass(kw_only=True)
class Happened:
    """All that a report is made of."""

    fleet: Fleet
    used: dict[UsedKey, int] = field(default_factory=lambda: defaultdict(int))
    """GPU-microseconds."""
    waits: list[float] = field(default_factory=list)
    fast_waits: list[float] = field(default_factory=list)
    finished: int = 0
    missed: int = 0
    interruptions: int = 0
    plans: int = 0
    fell_back: int = 0


@dataclass(kw_only=True)
class _Running:
    job: Job
    arrival: Arrival
    placement: Placement
    since: datetime


class Simulation:
    def __init__(self, history: History, setup: Setup, policy: PlanPolicy) -> None:
        self._history, self._setup, self._policy = history, setup, policy
        self._tape, self._queue = Tape(history, setup), Queue()
        self.happened = Happened(fleet=Fleet(setup))
        self._fleet = self.happened.fleet
        self._events: list[tuple[datetime, int, str, str]] = []
        self._pushed = 0
        self._running: dict[str, _Running] = {}
        self._arrivals = {each.id: each for each in history.arrivals}
        self._started: set[str] = set()
        self._claims: dict[str, Claim] = {}
        self._scene = Scene(
            setup=setup,
            tape=self._tape,
            fleet=self._fleet,
            queue=self._queue,
            arrivals=self._arrivals,
            claims=self._claims,
        )
        self._past = Past(demand=list(history.earlier), prices=[])
        self._in_use = 0
        self._measured: list[int] = []
        self._measured_hour = hour_of(history.start)

    def run(self, progress: Callable[[datetime], None] = lambda _: None) -> Happened:
        self._push(self._history.start, "plan", "")
        coming = iter(self._history.arrivals)
        due = next(coming, None)
        moment = self._history.start
        while moment < self._history.end:
            changed = False
            while due is not None and due.at <= moment:
                self._come(due)
                due, changed = next(coming, None), True
            changed, planned = self._handle(moment, changed)
            if changed and self._queue:
                self._pass(moment)
            if planned:
                self._plan(moment)
                self._push(moment + self._setup.plan_every, "plan", "")
                progress(moment)
            moment = self._next(moment, due)
        self._close()
        return self.happened

    def _next(self, moment: datetime, due: Arrival | None) -> datetime:
        """The next minute in which anything happens."""
        times = [self._events[0][0]] if self._events else []
        times += [due.at] if due is not None else []
        soonest = max(min(times, default=self._history.end), moment + _MICROSECOND)
        begun = self._history.start
        return begun + -(-(soonest - begun) // self._setup.grain) * self._setup.grain

    def _handle(self, moment: datetime, changed: bool) -> tuple[bool, bool]:
        """Whether room may have come, and whether it is time to plan."""
        planned = False
        while self._events and self._events[0][0] <= moment:
            at, _, what, whose = heappop(self._events)
            if what == "plan":
                planned = True
            elif what == "end":
                changed = self._end(whose, at) or changed
            elif what == "ready":
                changed = self._ready(whose, at) or changed
            elif what == "last call":
                self._queue.press(job_of(self._arrivals[whose]))
            else:
                changed = self._over(whose, at) or changed
        return changed, planned

    def _push(self, at: datetime, what: str, id: str) -> None:
        self._pushed += 1
        heappush(self._events, (at, self._pushed, what, id))

    def _come(self, arrival: Arrival) -> None:
        job = job_of(arrival)
        self._queue.add(job)
        if arrival.start_by is not None:
            self._push(arrival.start_by - LAST_CALL, "last call", arrival.id)

    def _pass(self, now: datetime) -> None:
        free = [each.free for each in self._fleet.machines.values() if each.ready and each.free.free_gpus]
        might = self._queue.that_might_start(sum(len(each.free_gpus) for each in free))
        if not might:
            return
        decision = place(might, free, {}, now)
        jobs = {job.id: job for job in might}
        self._queue.remove({each.job_id for each in decision.placements})
        for placement in decision.placements:
            self._start(jobs[placement.job_id], placement, now)

    def _start(self, job: Job, placement: Placement, now: datetime) -> None:
        arrival = self._arrivals[job.id]
        for share in placement.shares:
            self._fleet.take(job.id, share)
        self._running[job.id] = _Running(job=job, arrival=arrival, placement=placement, since=now)
        self._in_use += _fast_gpus(arrival)
        if job.id not in self._started:
            self._started.add(job.id)
            self._waited(arrival, now)
        self._push(now + timedelta(seconds=arrival.seconds), "end", job.id)

    def _waited(self, arrival: Arrival, until: datetime) -> None:
        seconds = (until - arrival.at).total_seconds()
        self.happened.waits.append(seconds)
        if arrival.tier is Tier.FAST:
            self.happened.fast_waits.append(seconds)

    def _end(self, id: str, at: datetime) -> bool:
        running = self._running.get(id)
        if running is None or running.since + timedelta(seconds=running.arrival.seconds) != at:
            return False
        self._stop(running, at, lost=False)
        self.happened.finished += 1
        deadline = running.arrival.deadline
        self.happened.missed += deadline is not None and at > deadline + self._setup.grain
        return True

    def _stop(self, running: _Running, at: datetime, *, lost: bool) -> None:
        del self._running[running.job.id]
        for share in running.placement.shares:
            self._fleet.give_back(running.job.id, share, at)
        gpus = running.arrival.gpus * running.arrival.nodes
        self._in_use -= _fast_gpus(running.arrival)
        for hour, microseconds in _by_hour(running.since, at):
            key = (hour, running.job.spec.tier, running.job.organisation_id, lost)
            self.happened.used[key] += gpus * microseconds

    def _ready(self, id: str, at: datetime) -> bool:
        machine = self._fleet.machines.get(id)
        if machine is None:
            return False
        machine.ready, machine.idle_since = True, at
        self._claims.pop(machine.order, None)
        return True

    def _over(self, id: str, at: datetime) -> bool:
        machine = self._fleet.machines.get(id)
        if machine is None or machine.until > at:
            return False
        for job_id in list(machine.work):
            running = self._running[job_id]
            self._stop(running, at, lost=True)
            self.happened.interruptions += 1
            self._again(running, at)
        del self._fleet.machines[id]
        return True

    def _again(self, running: _Running, at: datetime) -> None:
        start_by = running.arrival.start_by
        self._queue.add(running.job, pressing=start_by is not None and start_by - LAST_CALL <= at)

    def _plan(self, now: datetime) -> None:
        self._measure(now)
        plan, fell_back = self._policy.plan(
            self._scene.situation(now), lambda asked: self._quotes(asked, now), self._past
        )
        self.happened.plans += 1
        self.happened.fell_back += fell_back
        for action in plan.actions:
            self._carry_out(action, now)

    def _measure(self, now: datetime) -> None:
        """What is wanted, as the mean of what was seen in each hour."""
        hour = hour_of(now)
        if hour > self._measured_hour or not self._past.prices:
            self._past.demand.append(0.0)
            self._past.prices.append(float(self._tape.hourly(now)))
            self._measured, self._measured_hour = [], hour
        self._measured.append(self._in_use + self._queue.gpus(Tier.FAST))
        self._past.demand[-1] = sum(self._measured) / len(self._measured)

    def _quotes(self, asked: tuple[Question, ...], now: datetime) -> tuple[Quote, ...]:
        return tuple(self._tape.quote(now, each) for each in asked)

    def _carry_out(self, action: Action, now: datetime) -> None:
        if action.kind is ActionKind.BUY:
            bought = self._fleet.buy(action.window, self._tape.ask(now, action.window), now)
            for each in bought:
                self._push(each.start + self._setup.boot, "ready", each.id)
                self._push(each.until, "over", each.id)
            if action.jobs and bought:
                order = bought[0].order
                self._claims[order] = Claim(order_id=order, nodes=len(bought), jobs=action.jobs)
        elif action.kind is ActionKind.EXTEND:
            for each in self._fleet.extend(action.window, self._tape.ask(now, action.window)):
                self._push(each.until, "over", each.id)
        elif action.kind is ActionKind.SELL:
            self._fleet.sell(action.window, self._tape.bid(now, action.window), now)

    def _close(self) -> None:
        """What still runs has used so much; what still waits has waited so long."""
        end = self._history.end
        for running in list(self._running.values()):
            self._stop(running, end, lost=False)
            self.happened.missed += running.arrival.deadline is not None and running.arrival.deadline < end
        for job in self._queue:
            if job.id not in self._started:
                self._waited(self._arrivals[job.id], end)
            deadline = self._arrivals[job.id].deadline
            self.happened.missed += deadline is not None and deadline < end


def _by_hour(start: datetime, end: datetime) -> Iterator[tuple[datetime, int]]:
    hour = hour_of(start)
    while start < end:
        until = min(end, hour + HOUR)
        yield hour, (until - start) // _MICROSECOND
        start, hour = until, hour + HOUR


def _fast_gpus(arrival: Arrival) -> int:
    return arrival.gpus * arrival.nodes if arrival.tier is Tier.FAST else 0
