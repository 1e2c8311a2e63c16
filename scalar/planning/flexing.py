"""Flex work in the hours in which there is room: what the buying rule sees of it, and when it is done. Pure.

Work that may wait for `slack` hours is wanted at a steady rate: the mean of what came within the slack. That is what
blocks are bought for. What was bought and stands idle does the work that is due first; what is due now and has found no
room is bought by the hour, so that nothing is ever late.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from scalar.planning.buying import Buyer, BuyingRule
from scalar.planning.highs import Floats

_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What became of each hour: the stock, Flex work that was done, and what was bought by the hour."""

    stock: Floats
    done: Floats
    hourly: Floats
    late: float
    """Flex work that was done after its slack: never any."""


def spread(fast: Floats, flex: Floats, slack: int) -> Floats:
    """Demand as the buying rule sees it: Fast, and Flex at the rate at which it came within its slack."""
    come = np.concatenate([[0.0], np.cumsum(flex)])
    t = np.arange(len(flex))
    since = np.maximum(t - slack, 0)
    return np.asarray(fast + (come[t + 1] - come[since]) / (t + 1 - since))


def follow_flex(rule: BuyingRule, fast: Floats, flex: Floats, slack: int, start: int, end: int) -> Followed:
    """`follow`, with work that may wait. What came before `start` is somebody else's."""
    buyer, hours, span = Buyer(rule, spread(fast, flex, slack), start), rule.terms.hours, end - start
    stock, done, hourly = np.zeros(span + hours), np.zeros(span), np.zeros(span)
    waiting: deque[list[float]] = deque()
    late = 0.0
    for at in range(start, end):
        now = at - start
        waiting.append([float(at + slack), float(flex[at])])
        pressing = float(fast[at]) + sum(work for due, work in waiting if due <= at or at == end - 1)
        wanted = min(buyer.target(at), float(fast[at]) + sum(work for _, work in waiting))
        stock[now : now + hours] += max(0.0, wanted - stock[now])
        hourly[now] = max(0.0, pressing - stock[now])
        room = stock[now] + hourly[now] - float(fast[at])
        late += sum(work for due, work in waiting if due < at)
        done[now] = _work_off(waiting, room)
    return Followed(stock=stock[:span], done=done, hourly=hourly, late=late)


def _work_off(waiting: deque[list[float]], room: float) -> float:
    """First what is due first; how much."""
    begun = room
    while waiting and room > _TINY:
        work = min(room, waiting[0][1])
        waiting[0][1] -= work
        room -= work
        if waiting[0][1] <= _TINY:
            waiting.popleft()
    return begun - room
