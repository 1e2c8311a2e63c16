"""What a plan that looks ahead counts with: blocks and their lengths, and nodes by hour. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

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


def ends_of(wants: Wants, kind: Kind) -> list[datetime]:
    return sorted({each.end for each in wants.endings if each.sku == kind.sku.id})


def most_wanted(kind: Kind, outlook: Outlook) -> int:
    """Nodes: for the most of fast work in any hour, and the flex work of a day, evenly."""
    ahead = outlook.kinds[kind.sku.id]
    highest = max((row[-1] for row in ahead.fast if row), default=0.0)
    flex = sum(ahead.flex[:_A_DAY]) / min(_A_DAY, max(1, ahead.slack))
    return int(np.ceil((highest + flex) / kind.gpus - 1e-9))


def owned_nodes(situation: Situation, kind: Kind, start: datetime, hours: int) -> Floats:
    """Whole nodes by hour: those whose time covers it to its end, and what is ordered; less what may be sold."""
    owned = np.zeros(hours)

    def count(begin: datetime, end: datetime, nodes: int) -> None:
        first = max(0, -((start - begin) // HOUR) if begin > start else 0)
        last = min(hours, (end - start) // HOUR)
        owned[first : max(first, last)] += nodes

    for seat in situation.owned:
        if seat.sku == kind.sku.id:
            count(seat.start, seat.end, 1)
    for order in situation.open_orders:
        if order.sku == kind.sku.id:
            sign = 1 if order.side is Side.BUY else -1
            count(order.window.start, order.window.end, sign * order.window.nodes)
    standing = [node for node in situation.nodes if node.until is None and node.gpu_type == kind.sku.gpu_type]
    return np.maximum(owned, 0.0) + sum(node.gpus for node in standing) / kind.gpus
