"""What a plan that looks ahead counts with: blocks and their lengths, and nodes by hour. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter

import numpy as np

from scalar.market.model import Rectangle, Side
from scalar.planning.highs import Floats
from scalar.planning.model import ActionKind, Kind, Policy, Situation
from scalar.planning.outlook import Ahead, Outlook, Row
from scalar.planning.wants import Wants

HOUR = timedelta(hours=1)
LENGTHS = (1, 24, 168)
"""Hours that blocks are bought for ahead."""
MOST_AT_ONCE = 64
_A_DAY = 24


@dataclass(frozen=True, kw_only=True)
class Block:
    """One rung of one block's ladder: the nodes between two numbers that were quoted."""

    kind: ActionKind
    window: Rectangle
    """Its nodes are those that the rung ends at."""
    price: Decimal
    """Per node-hour, for all of them."""


def of_length(row: Row, hours: int) -> Floats:
    found = np.zeros(hours)
    found[: min(hours, len(row))] = row[:hours]
    return found


def served(come: Floats, idle: Floats) -> float:
    """Of work that has come by each hour (cumulated), what idle hours do, first come, first served."""
    done = 0.0
    for there, room in zip(come, idle, strict=True):
        done += min(float(there) - done, float(room))
    return done


def or_any(bound: float | None) -> float:
    return float("inf") if bound is None else bound


def rungs(most: int) -> list[int]:
    return sorted({most, *(1 << power for power in range(most.bit_length()))} - {0})


def lengths_of(ahead: Ahead, policy: Policy) -> list[int]:
    most = min(ahead.authority.horizon_hours, policy.horizon_minutes // 60)
    return [hours for hours in LENGTHS if hours <= most]


def ends_of(wants: Wants, kind: Kind) -> dict[datetime, int]:
    """When the time of nodes is nearly up, and of how many, busy or idle: more of it costs no boot."""
    return {end: nodes for (sku, end), nodes in sorted(wants.nearly_up.items()) if sku == kind.sku.id}


def most_wanted(kind: Kind, outlook: Outlook) -> int:
    """Nodes: for the most of fast work in any hour, and the flex work of a day, evenly."""
    ahead = outlook.kinds[kind.sku.id]
    highest = max((row[-1] for row in ahead.fast if row), default=0.0)
    flex = sum(ahead.flex[:_A_DAY]) / min(_A_DAY, max(1, ahead.slack))
    return int(np.ceil((highest + flex) / kind.gpus - 1e-9))


def owned_nodes(situation: Situation, kind: Kind, start: datetime, hours: int, sure: timedelta) -> Floats:
    """Whole nodes that are there at every moment of an hour, and what is ordered; less what may be sold.

    Of the first hour, until `sure` from now: what ends after that is seen to when its time is nearly up. Otherwise each
    plan of an hour would buy it once more.
    """
    changes = [(float(hour), 0) for hour in range(hours)]

    def count(begin: datetime, end: datetime, nodes: int) -> None:
        changes.append((max(0.0, (begin - start) / HOUR), nodes))
        changes.append((max(0.0, (end - start) / HOUR), -nodes))

    for seat in situation.owned:
        if seat.sku == kind.sku.id:
            count(seat.start, seat.end, 1)
    for order in situation.open_orders:
        if order.sku == kind.sku.id:
            sign = 1 if order.side is Side.BUY else -1
            count(order.window.start, order.window.end, sign * order.window.nodes)
    standing = [node for node in situation.nodes if node.until is None and node.gpu_type == kind.sku.gpu_type]
    owned = _least_of_each_hour(changes, hours, (situation.now + sure - start) / HOUR)
    return np.maximum(owned, 0.0) + sum(node.gpus for node in standing) / kind.gpus


def _least_of_each_hour(changes: list[tuple[float, int]], hours: int, sure: float) -> Floats:
    least, level = np.full(hours, np.inf), 0
    for moment, group in groupby(sorted(changes), key=itemgetter(0)):
        level += sum(nodes for _, nodes in group)
        hour = int(moment)
        if hour < hours and (hour > 0 or moment == 0 or moment < sure):
            least[hour] = min(least[hour], level)
    return least
