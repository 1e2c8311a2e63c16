"""What a plan that looks ahead is told: read at the moment of its situation.

demand (scenarios), prices, skill  ◄─ a `Foresight`: the forecasts, or `FromUsage` where none is fresh
flex work that waits               ◄─ the queue, with what each job pays and until when it may wait
what may be spent                  ◄─ the caps, less what was spent and what open orders may cost
what can be paid for               ◄─ wallets, credit and commitments, where every customer's is limited
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from scalar.billing import wallets
from scalar.billing.invoice_sources import commitments
from scalar.database import Transaction
from scalar.jobs.model import Tier
from scalar.market import store as market
from scalar.market.guards import Caps
from scalar.planning import foresight_store as store
from scalar.planning.experts import anchored
from scalar.planning.foresight import Foreseen, Foresight
from scalar.planning.highs import Floats
from scalar.planning.model import Kind, Policy, Situation
from scalar.planning.outlook import Ahead, Outlook, funded, levels
from scalar.planning.queued_flex import Queued, queued_flex, with_queue

KEPT_LEVELS = 20
"""Of each hour, with the plan: enough that a node more or less makes the difference."""
_MICROS = Decimal(1_000_000)
_HALF = 30


def outlook(tx: Transaction, situation: Situation, caps: Caps, foresight: Foresight, policy: Policy) -> Outlook:
    """For the cheapest kind of machine of each GPU type; it only reads."""
    kinds: dict[str, Ahead] = {}
    notes: list[str] = []
    best = _cheapest(situation.kinds)
    for kind in best:
        seen = _by_the_hour(foresight, tx, situation, kind, any_type=kind is best[0])
        hourly = _hourly(tx, kind, situation.now)
        if seen is None or hourly is None:
            notes.append(f"The demand for {kind.sku.gpu_type}, or its price, is not known: it is not foreseen.")
            continue
        waits = queued_flex(situation, kind, policy, any_type=kind is best[0])
        kinds[kind.sku.id] = _ahead(tx, kind, situation.now, seen, hourly, foresight, waits)
        notes += _notes(kind, seen)
    return Outlook(
        kinds=kinds,
        service_level=policy.service_level,
        budget=_budget(tx, caps, situation.now),
        notes=tuple(notes),
    )


def _by_the_hour(
    foresight: Foresight, tx: Transaction, situation: Situation, kind: Kind, *, any_type: bool
) -> Foreseen | None:
    """From the whole hour on that is nearest: what is bought now serves the next one, if this one is nearly over.

    Of the hour that runs it is known what is wanted, however wide its forecast was, and the next ones go on from there.
    """
    seen = foresight.demand(tx, kind.sku.gpu_type, situation.now, any_type=any_type)
    if seen is None:
        return None
    fast = anchored(seen.fast, wanted_now(situation, kind.sku.gpu_type, any_type=any_type))
    if _nearly_over(situation.now):
        return replace(seen, fast=fast[:, 1:], flex=seen.flex[1:])
    return replace(seen, fast=fast)


def wanted_now(situation: Situation, gpu_type: str, *, any_type: bool) -> int:
    """GPUs that Fast jobs have, or wait for."""
    running = sum(
        work.gpus
        for node in situation.nodes
        if node.gpu_type == gpu_type
        for work in node.work
        if work.wish.tier is Tier.FAST
    )
    types = (gpu_type, None) if any_type else (gpu_type,)
    return running + sum(
        job.gpus * job.nodes for job in situation.queue if job.wish.tier is Tier.FAST and job.gpu_type in types
    )


def _nearly_over(now: datetime) -> bool:
    return now.minute >= _HALF


def _ahead(
    tx: Transaction, kind: Kind, now: datetime, seen: Foreseen, hourly: float, foresight: Foresight, waits: Queued
) -> Ahead:
    can_pay = funded_gpu_hours(tx, kind, now, hourly)
    rows = levels(seen.fast if can_pay is None else funded(seen.fast, can_pay), KEPT_LEVELS)
    flex = seen.flex if can_pay is None else funded(seen.flex[None], can_pay)[0]
    ahead = Ahead(fast=rows, hourly=(hourly,) * len(rows), authority=seen.authority)
    prices = foresight.prices(tx, kind.sku.id, now)
    if prices is not None and _nearly_over(now):
        prices = prices[1:]
    if prices is not None:
        ahead = _priced(ahead, prices, hourly)
    return with_queue(ahead, flex, waits)


def _priced(ahead: Ahead, shape: Floats, hourly: float) -> Ahead:
    """`shape` (hours, levels): by what the first hour is likely to cost. What an hour is offered at moves with it."""
    hours = min(len(shape), ahead.hours)
    rows = tuple(tuple(float(each) for each in row) for row in np.sort(shape[:hours] * hourly, axis=1))
    return replace(ahead, fast=ahead.fast[:hours], hourly=tuple(float(np.mean(row)) for row in rows), prices=rows)


def _notes(kind: Kind, seen: Foreseen) -> list[str]:
    said = [f"{kind.sku.gpu_type}: {note}" for note in seen.notes]
    bound = seen.authority
    if bound.why:
        said.append(
            f"{kind.sku.gpu_type}: {bound.why}; nothing is bought ahead for more than {bound.horizon_hours} h, nor"
            f" more than {bound.order_size:.0%} of it, nor above {bound.limit_price:.0%} of its worth."
        )
    return said


def funded_gpu_hours(tx: Transaction, kind: Kind, now: datetime, hourly: float) -> float | None:
    """What all customers' wallets, credit and commitments cover; None: somebody has no limit, or nobody is there."""
    customers = store.recent_customers(tx, now - timedelta(days=28))
    if not customers:
        return None
    covered = Decimal(0)
    for organisation_id in customers:
        available = wallets.available(tx, organisation_id, now)
        if available is None:
            return None
        covered += max(0, available)
    covered += sum(_committed(tx, customers, now))
    return float(covered / _MICROS) / (hourly / kind.gpus)


def _committed(tx: Transaction, customers: Sequence[str], now: datetime) -> list[int]:
    """Micro-dollars that the month's minimum commitments still lack: they are paid, whether used or not."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    committed = commitments(tx, month.date(), list(customers))
    return [max(0, least - store.rated_since(tx, whose, month)) for whose, least in committed.items()]


def _cheapest(kinds: Sequence[Kind]) -> list[Kind]:
    """One of each GPU type; the cheapest of all first."""
    best: dict[str, Kind] = {}
    for kind in sorted(kinds, key=lambda each: (each.usual_price is None, _per_gpu(each), each.sku.alias)):
        best.setdefault(kind.sku.gpu_type, kind)
    return list(best.values())


def _per_gpu(kind: Kind) -> Decimal:
    return (kind.usual_price or Decimal(0)) / kind.gpus


def _hourly(tx: Transaction, kind: Kind, now: datetime) -> float | None:
    """What an hour is offered at by the hour, of late."""
    asked = store.asked_by_hour(tx, kind.sku.id, now - timedelta(days=1))
    if asked:
        return float(np.mean([float(each) for each in asked]))
    return None if kind.usual_price is None else float(kind.usual_price)


def _budget(tx: Transaction, caps: Caps, now: datetime) -> float:
    left = [
        caps.per_hour - market.spent_since(tx, now - timedelta(hours=1)),
        caps.per_day - market.spent_since(tx, now - timedelta(days=1)),
        caps.in_all - market.spent_since(tx, None),
    ]
    return float(max(Decimal(0), min(left)))
