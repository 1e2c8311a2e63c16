"""Which queued Flex jobs are left to wait for a cheaper hour, and which are bought for now. Pure.

The rule of `deadlines`, asked for each job that may wait, with what is foreseen: the prices of the hours to come, and
how likely it is in each that what is owned stands idle. A job that is patient stays in the queue (an idle GPU is its at
once: the scheduling pass sees to that), and is left out of what the reactive policy buys for. Nobody waits beyond the
moment by which he must start, less what a machine takes to boot: from then on he is bought for like everybody else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import numpy as np

from scalar.jobs.model import Tier
from scalar.market.model import Rectangle, Side
from scalar.planning import deadlines
from scalar.planning.basket import length_for
from scalar.planning.deadlines import Place
from scalar.planning.highs import Floats
from scalar.planning.model import Kind, Policy, WaitingJob
from scalar.planning.outlook import Ahead, Row, at_once
from scalar.planning.packing import suits
from scalar.planning.prices import Quotes, soon

HOUR = timedelta(hours=1)
_MOST_HOURS = 336
"""To a deadline; who has more time than that is taken to have so much."""


_ORDERING = timedelta(minutes=20)
"""From a deadline that begins to press to a machine that boots: a plan, its order, and one that is refused between."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Waiting:
    """What is foreseen for one kind of machine. `owned`: nodes, by hour."""

    kind: Kind
    ahead: Ahead
    owned: Floats


def presses(start_by: datetime | None, boot: timedelta, now: datetime) -> bool:
    """Whether a node has to be on its way now, at any price, for a deadline to be met."""
    return start_by is not None and start_by - boot - _ORDERING <= now


def may_wait(job: WaitingJob) -> bool:
    return job.wish.tier is Tier.FLEX and job.start_by is not None


def patient(
    jobs: Sequence[WaitingJob], foreseen: Sequence[Waiting], quotes: Quotes, policy: Policy, now: datetime
) -> frozenset[str]:
    """By id: jobs for which nothing is bought now. `now`: when the plan is made."""
    known: dict[tuple[object, ...], bool] = {}
    found = set()
    for job in jobs:
        of = [each for each in foreseen if suits(job, each.kind)]
        if not may_wait(job) or not of:
            continue
        key = (job.gpu_type, job.gpus, job.nodes, job.cpus, job.memory_bytes, job.max_runtime_seconds, job.start_by)
        if key not in known:
            known[key] = all(_waits(job, each, quotes, policy, now) for each in of)
        if known[key]:
            found.add(job.id)
    return frozenset(found)


def work_of(job: WaitingJob, policy: Policy, now: datetime) -> deadlines.Work:
    """In hours. A job that doesn't say how long it runs is taken to run for an hour."""
    left = max(1.0, job.runtime / HOUR)
    until_start = ((job.start_by or now) - now) / HOUR
    return deadlines.Work(left=left, until_deadline=until_start + left, restart=min(policy.boot / HOUR, 0.99))


def _waits(job: WaitingJob, foreseen: Waiting, quotes: Quotes, policy: Policy, now: datetime) -> bool:
    work = work_of(job, policy, now)
    hours = min(int(work.until_deadline), _MOST_HOURS)
    if hours < 1:
        return False
    start = soon(now, policy)
    window = Rectangle(start=start, end=start + length_for(job, policy), nodes=job.nodes)
    price = quotes.price(Side.BUY, foreseen.kind.sku.id, window)
    outlook = deadlines.Outlook(idle=_idle(foreseen, job, hours), prices=_prices(foreseen.ahead, hours))
    asked = foreseen.ahead.hourly[0] if price is None else float(price)
    return deadlines.by_reservation_price(outlook)(work, False, asked) is Place.WAIT


def _idle(foreseen: Waiting, job: WaitingJob, hours: int) -> Floats:
    """The chance, by hour, that the nodes that it needs are owned and not wanted; in this hour there are none."""
    needed = job.nodes * job.gpus / foreseen.kind.gpus
    fast = at_once(foreseen.ahead.fast) / foreseen.kind.gpus
    known = min(len(fast), len(foreseen.owned))
    chance = (foreseen.owned[:known, None] - fast[:known] >= ceil(needed)).mean(axis=1)
    found = np.zeros(hours)
    found[: min(hours, known)] = chance[:hours]
    found[0] = 0.0
    return found


def _prices(ahead: Ahead, hours: int) -> Floats:
    """Beyond what is foreseen they are as in the last hour that is."""
    rows: Sequence[Row] = ahead.prices or tuple((price,) for price in ahead.hourly)
    return at_once([rows[min(hour, len(rows) - 1)] for hour in range(hours)])
