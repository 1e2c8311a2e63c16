"""Flex work, as the optimiser sees it: what is foreseen of it, and what waits in the queue. Pure.

What waits is there from the first hour on. It is a part of what is foreseen, not an addition to it: what has come by an
hour is the larger of the two. A queued job is due when it must start, and for as long as it may run.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil

import numpy as np

from scalar.jobs.model import Tier
from scalar.planning.highs import Floats
from scalar.planning.model import Kind, Policy, Situation
from scalar.planning.outlook import Ahead
from scalar.planning.packing import suits
from scalar.planning.patience import work_of
from scalar.planning.prices import acceptable

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Queued:
    """`due`: GPU-hours, by the hour in which they must be done at the latest."""

    gpu_hours: float = 0.0
    due: tuple[tuple[int, float], ...] = ()
    price: float | None = None
    """Dollars that a GPU-hour of it pays at most, in the mean; None: whatever it costs."""
    slack: int = 24


def queued_flex(situation: Situation, kind: Kind, policy: Policy, *, any_type: bool) -> Queued:
    """`any_type`: whether jobs that name no type are this kind's."""
    work, pays, unbounded, due = 0.0, 0.0, False, []
    for job in situation.queue:
        if job.wish.tier is not Tier.FLEX or not suits(job, kind) or (job.gpu_type is None and not any_type):
            continue
        left = work_of(job, policy, situation.now)
        gpu_hours = job.gpus * job.nodes * left.left
        most = acceptable(job.wish, kind, policy)
        unbounded = unbounded or most is None
        pays += gpu_hours * float(most or 0) / kind.gpus
        work += gpu_hours
        due.append((max(0, ceil(left.until_deadline) - 1), gpu_hours))
    usual = None if kind.usual_price is None else float(kind.usual_price * policy.flex_price_ratio) / kind.gpus
    price = None if unbounded else pays / work if work else usual
    return Queued(gpu_hours=work, due=tuple(due), price=price, slack=policy.flex_wait // _HOUR)


def with_queue(ahead: Ahead, flex: Floats, waits: Queued) -> Ahead:
    """`flex`: GPUs' worth of it that is foreseen, by hour."""
    come = np.maximum(np.cumsum(flex[: ahead.hours]), waits.gpu_hours)
    if not len(come) or not come[-1]:
        return ahead
    due = np.zeros(ahead.hours)
    for hour, gpu_hours in waits.due:
        if hour < ahead.hours:
            due[hour] += gpu_hours
    return replace(
        ahead,
        flex=tuple(np.diff(come, prepend=0.0).tolist()),
        flex_due=tuple(due.tolist()),
        slack=waits.slack,
        flex_price=waits.price,
    )
