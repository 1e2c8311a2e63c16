"""A job with a deadline: use idle hours that are paid for, wait for a cheaper hour, or buy now? Pure.

An hour of work is worth what it saves later. With `T` hours to the deadline and `w` of work left, let `V(T, w)` be what
the rest will cost. In each hour a bought machine may stand idle (with some chance: it costs nothing), or an hour may
be bought at that hour's price, of which quantiles are known:

    V(T, w) = idle · V(T-1, w-1) + (1 - idle) · mean over prices p of min( p + V(T-1, w-1), V(T-1, w) )
    V(T, 0) = 0,    V(T, w) = ∞ where w > T

So the rule buys where `p ≤ V(T-1, w) - V(T-1, w-1)`: the reservation price of this hour. It rises as slack goes.

Whatever the forecasts say, no deadline is missed: a job that would have to begin anew elsewhere (`restart`: what that
takes) must still be done in time if what it stands on goes away after this hour. Where waiting, or an idle hour that
may be its last, would break that, an hour is bought, and the job stays there until it has slack again:

    T - 1 ≥ w after this hour + restart        or it is bought for

`uniform_progress` is the policy of "Can't Be Late" (Wu et al., NSDI'24), which needs no forecast: idle hours wherever
there are some; bought ones while the job lags behind a steady pace to its deadline; the same safety net at the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

import numpy as np

from scalar.planning.highs import Floats

_TINY = 1e-9


class Place(StrEnum):
    WAIT = "wait"
    IDLE = "idle"
    """On hours that are paid for already; somebody else may want them back after any hour."""
    BOUGHT = "bought"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is left of a job, in hours. `restart`: what moving it to another place takes, below one hour."""

    left: float
    until_deadline: float
    restart: float = 0.0
    place: Place = Place.WAIT
    """Where it was in the hour before this one."""

    @property
    def done(self) -> bool:
        return self.left <= _TINY

    @property
    def feasible(self) -> bool:
        """It can be done in time, if it is bought for from now on."""
        begins = 0.0 if self.place is Place.BOUGHT else self.restart
        return self.until_deadline + _TINY >= self.left + begins

    def after(self, place: Place) -> "Work":
        """An hour later, if it spent it there. An interrupted idle machine counts as another place: `interrupted`."""
        stays = place is self.place
        gain = 0.0 if place is Place.WAIT else 1.0 - self.restart * (not stays)
        return replace(self, left=max(0.0, self.left - gain), until_deadline=self.until_deadline - 1, place=place)

    def interrupted(self) -> "Work":
        """Its idle hours are wanted back."""
        return replace(self, place=Place.WAIT) if self.place is Place.IDLE else self


Policy = Callable[[Work, bool, float], Place]
"""(work, whether there is an idle machine in this hour, what buying it would cost) ─► where it spends the hour."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlook:
    """The hours to come. `idle[t]`: the chance of an idle machine; `prices[t]`: equally likely prices."""

    idle: Floats
    prices: Floats

    @property
    def hours(self) -> int:
        return len(self.idle)


def safe(work: Work, place: Place) -> bool:
    """If the place goes away after this hour, the rest can still be bought."""
    after = work.after(place)
    return after.done or after.until_deadline + _TINY >= after.left + work.restart


def by_reservation_price(outlook: Outlook) -> Policy:
    """The rule. `outlook` begins with the hour that the job's deadline is so many hours from: see `reservation`."""
    worth = worths(outlook)

    def choose(work: Work, idle: bool, price: float) -> Place:
        if idle and safe(work, Place.IDLE):
            return Place.IDLE
        if not safe(work, Place.WAIT):
            return Place.BOUGHT
        return Place.BOUGHT if price <= reservation(worth, work) + _TINY else Place.WAIT

    return choose


def reservation(worth: Floats, work: Work) -> float:
    """The most that an hour of this work should cost now. Hours beyond what was foreseen are like the first of them."""
    left = min(ceil(work.left - _TINY), worth.shape[1] - 1)
    slack_gone = ceil(work.restart)
    rest = min(max(int(work.until_deadline + _TINY) - slack_gone - 1, 0), worth.shape[0] - 1)
    later, less = worth[rest, left], worth[rest, left - 1]
    return float("inf") if not np.isfinite(later) else float(later - less)


def worths(outlook: Outlook) -> Floats:
    """`V[T, w]`, for T hours to the deadline, which is at the outlook's end."""
    hours = outlook.hours
    found = np.full((hours + 1, hours + 1), np.inf)
    found[:, 0] = 0.0
    for left in range(1, hours + 1):
        at = hours - left
        gone, stays = found[left - 1, :-1], found[left - 1, 1:]
        bought = np.minimum(outlook.prices[at][:, None] + gone, stays).mean(axis=0)
        chance = outlook.idle[at]
        found[left, 1:] = _mixed(chance, gone, bought)
    return found


def _mixed(chance: float, one: Floats, other: Floats) -> Floats:
    """The mean of two; what has no chance doesn't count, though it were infinite."""
    if chance <= 0 or chance >= 1:
        return other if chance <= 0 else one
    return np.asarray(chance * one + (1 - chance) * other)


def uniform_progress(work: Work) -> Policy:
    """At a steady pace from where `work` is now to its deadline, wherever idle hours don't do it."""
    pace = work.left / max(work.until_deadline, _TINY)

    def choose(now: Work, idle: bool, price: float) -> Place:  # noqa: ARG001 - it goes by no price
        gone = work.until_deadline - now.until_deadline
        behind = (work.left - now.left) + _TINY < pace * gone
        # Once it has bought, it goes on until it is ahead by what two moves cost: it doesn't flutter.
        ahead = (work.left - now.left) >= pace * gone + 2 * work.restart
        if idle and safe(now, Place.IDLE) and (now.place is not Place.BOUGHT or ahead):
            return Place.IDLE
        if not safe(now, Place.WAIT) or behind or (now.place is Place.BOUGHT and not ahead):
            return Place.BOUGHT
        return Place.IDLE if idle and safe(now, Place.IDLE) else Place.WAIT

    return choose


def at_the_last_moment(work: Work, idle: bool, price: float) -> Place:  # noqa: ARG001
    """Idle hours while there is slack; then bought ones."""
    if idle and safe(work, Place.IDLE):
        return Place.IDLE
    return Place.WAIT if safe(work, Place.WAIT) else Place.BOUGHT


@dataclass(frozen=True, kw_only=True)
class Ran:
    paid: float
    bought_hours: int
    idle_hours: int
    late: bool


def run(policy: Policy, work: Work, idle: Sequence[bool], prices: Sequence[float]) -> Ran:
    """A job's life under a policy, hour by hour, until it is done or its deadline is over."""
    paid, spent = 0.0, {Place.IDLE: 0, Place.BOUGHT: 0}
    for there, price in zip(idle, prices, strict=True):
        if work.done or work.until_deadline < 1 - _TINY:
            break
        work = work if there else work.interrupted()
        place = policy(work, there, price)
        if place is not Place.WAIT:
            spent[place] += 1
        paid += price if place is Place.BOUGHT else 0.0
        work = work.after(place)
    return Ran(paid=paid, bought_hours=spent[Place.BOUGHT], idle_hours=spent[Place.IDLE], late=not work.done)


def least(work: Work, idle: Sequence[bool], prices: Sequence[float]) -> float:
    """What it costs who knows every hour, and moves for nothing."""
    hours = int(work.until_deadline + _TINY)
    costs = sorted(0.0 if there else price for there, price in zip(idle[:hours], prices[:hours], strict=True))
    return sum(costs[: ceil(work.left - _TINY)])
