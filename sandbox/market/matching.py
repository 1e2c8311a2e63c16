"""Which resting orders a newcomer meets: one walk along the other side of the book, best first.

At each resting order the walk takes what both have in common, and goes on with what is left. A resting order that
doesn't allow partial fills is taken whole or not at all, by one newcomer. A newcomer that doesn't allow partial fills
gets everything or nothing.

The walk never goes back. With indivisible orders in the book, another choice of them may fit where the walk's own
doesn't (that is set packing, and hard); then the newcomer doesn't fill, although it could have. For the same reason two
small orders never join to fill one resting indivisible one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.market.orders import LiveOrder
from sandbox.market.rules import Rules
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """What the newcomer wants: `want` is one rectangle that doesn't begin before the current minute.

    `limit` None: at any price. `account_id` None: nobody's, for a preview.
    """

    side: Side
    want: Schedule
    limit: int | None
    allow_partial: bool
    account_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """`delta` of one resting order; `left` is what the newcomer wants after it."""

    order: LiveOrder
    delta: Schedule
    left: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What to take of whom, in order; what remains; and which orders of the newcomer's own account stood in the way."""

    takes: list[Take]
    left: Schedule
    own: list[LiveOrder]


def walk(resting: Iterable[LiveOrder], taker: Taker, rules: Rules, now: int) -> Match:
    takes: list[Take] = []
    own: list[LiveOrder] = []
    left = taker.want
    for order in resting:
        if not _crosses(order, taker):
            break
        delta = _common(order, left, taker, rules, now)
        if not delta:
            continue
        if order.asked.account_id == taker.account_id:
            own.append(order)
            continue
        left = left.minus(delta)
        takes.append(Take(order=order, delta=delta, left=left))
        if not left:
            break
    if left and not taker.allow_partial:
        return Match(takes=[], left=taker.want, own=own)
    return Match(takes=takes, left=left, own=own)


def _crosses(order: LiveOrder, taker: Taker) -> bool:
    if taker.limit is None:
        return True
    return order.asked.limit <= taker.limit if taker.side is Side.BUY else order.asked.limit >= taker.limit


def _common(order: LiveOrder, left: Schedule, taker: Taker, rules: Rules, now: int) -> Schedule:
    """What the newcomer can take of this one order.

    Minutes that have passed fall away by themselves, since no newcomer wants them: of a divisible order the rest
    remains, and an indivisible one that has begun fits nobody any more.
    """
    asked = order.asked
    if asked.end <= left.start or asked.start >= left.end:
        return EMPTY
    if rules.windows == "exact" and order.window(now) != (taker.want.start, taker.want.end):
        return EMPTY
    if order.allow_partial:
        return order.left.meet(left)
    return order.left if left.covers(order.left) else EMPTY
