"""The policies that can be replayed, by name: each is the very code that plans in earnest."""

from dataclasses import dataclass, field, replace

import numpy as np

from scalar.forecasts.batch import forecasts
from scalar.forecasts.blending import blended
from scalar.forecasts.model import HOUR, Forecast, Series
from scalar.forecasts.scenarios import scenarios
from scalar.metering.model import hour_of
from scalar.planning import optimal, reactive
from scalar.planning.experts import DAY, WEEK, anchored, foreseen
from scalar.planning.highs import Floats
from scalar.planning.model import ActionKind, Plan, Policy, Situation
from scalar.planning.outlook import Ahead, Outlook, levels
from scalar.planning.queued_flex import queued_flex, with_queue
from scalar.replay.simulating import Ask, Past, PlanPolicy

NAMES = ("reactive", "optimal")
_UNBOUND = Policy(max_nodes=100_000)


@dataclass(kw_only=True)
class Reactive:
    policy: Policy = _UNBOUND
    name: str = reactive.NAME

    def plan(self, situation: Situation, ask: Ask, past: Past) -> tuple[Plan, bool]:  # noqa: ARG002 - it looks at now
        quotes = ask(reactive.questions(situation, self.policy))
        return reactive.plan(replace(situation, quotes=quotes), self.policy), False


@dataclass(kw_only=True)
class Optimal:
    """Looks ahead once an hour; between, the reactive policy keeps things going, and sells nothing."""

    policy: Policy = _UNBOUND
    scenarios: int = 50
    hours: int = WEEK
    name: str = optimal.NAME
    foresee_every: int = DAY
    """Hours from a forecast to the next. In earnest there is one an hour: that would take minutes."""
    _hour: int = field(default=-1, init=False)
    _made: list[Forecast] = field(default_factory=list, init=False)
    _foreseen: Floats = field(default_factory=lambda: np.zeros((0, 0)), init=False)
    """Scenarios (n, hours), from the last forecast's first hour on."""
    _last: Outlook = field(default_factory=Outlook, init=False)

    def plan(self, situation: Situation, ask: Ask, past: Past) -> tuple[Plan, bool]:
        if len(past.prices) == self._hour:
            return self._between(situation, ask, past), False
        self._hour = len(past.prices)
        self._last = outlook = self._outlook(situation, past)
        quotes = ask(optimal.questions(situation, self.policy, outlook))
        decided = optimal.decide(replace(situation, quotes=quotes), self.policy, outlook)
        return decided.plan, decided.fell_back is not None

    def _outlook(self, situation: Situation, past: Past) -> Outlook:
        (kind,) = situation.kinds
        paths = self._paths(situation, np.array(past.demand))
        hours = paths.shape[1]
        hourly = (float(np.mean(past.prices[-DAY:])),) * hours
        levels_by_hour = tuple(sorted(past.prices[-WEEK:]))
        ahead = Ahead(fast=levels(paths, 20), hourly=hourly, prices=(levels_by_hour,) * hours)
        waits = queued_flex(situation, kind, self.policy, any_type=True)
        return Outlook(kinds={kind.sku.id: with_queue(ahead, np.zeros(hours), waits)})

    def _paths(self, situation: Situation, demand: Floats) -> Floats:
        """The forecasts that would have been issued, from the hour that runs on, of which is known what is wanted."""
        known, now = len(demand) - 1, hour_of(situation.now)
        if known < DAY:
            return foreseen(demand, self.hours, self.scenarios)
        if not self._made or now - self._made[-1].start >= self.foresee_every * HOUR:
            (made,) = forecasts([Series(start=now - known * HOUR, values=demand[:-1])])
            self._made = [*self._made[-DAY:], made]
            self._foreseen = np.maximum(scenarios(blended(self._made), self.scenarios), 0.0)
        gone = (now - self._made[-1].start) // HOUR
        return anchored(self._foreseen[:, gone : self.hours], float(demand[-1]))

    def _between(self, situation: Situation, ask: Ask, past: Past) -> Plan:
        waits = optimal.who_waits(situation, self.policy, self._last)
        rest = replace(situation, queue=tuple(job for job in situation.queue if job.id not in waits))
        made, _ = Reactive(policy=self.policy).plan(rest, ask, past)
        return replace(made, actions=tuple(each for each in made.actions if each.kind is not ActionKind.SELL))


def policy_named(name: str, policy: Policy = _UNBOUND) -> PlanPolicy:
    """Raises: `KeyError` where there is none of that name."""
    every: dict[str, PlanPolicy] = {"reactive": Reactive(policy=policy), "optimal": Optimal(policy=policy)}
    return every[name]
