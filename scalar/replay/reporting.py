"""What happened, in dollars and hours: through the same cost and rating code as in earnest. Pure.

A history has a part for each GPU type, with its own prices: each is lived through by itself, and the report is of all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import median

import numpy as np

from scalar.billing.money import dollars
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import RateCard
from scalar.billing.rating import MonthToDate, Use, rate
from scalar.metering.usage import seconds
from scalar.planning.highs import Floats
from scalar.planning.oracle import perfect_mix
from scalar.replay.history import offered
from scalar.replay.model import HOUR, ORACLE, History, Part, Report, Setup
from scalar.replay.simulating import Happened, PlanPolicy, Simulation, UsedKey
from scalar.replay.tape import Tape

_SECONDS = 3600
_MICROS = 3.6e9
"""GPU-microseconds of a GPU-hour."""


@dataclass(frozen=True, kw_only=True)
class Lived:
    """A part of a history, under one policy."""

    part: Part
    happened: Happened


def replay(
    history: History,
    setup: Setup,
    policy: PlanPolicy,
    cards: Sequence[RateCard] = (),
    progress: Callable[[datetime], None] = lambda _: None,
) -> Report:
    """One policy through a history of one GPU type."""
    happened = Simulation(history, setup, policy).run(progress)
    return report(policy.name, [Lived(part=Part(history=history, setup=setup), happened=happened)], cards)


def replay_parts(
    parts: Sequence[Part],
    policy: Callable[[], PlanPolicy],
    cards: Sequence[RateCard] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> Report:
    """One policy through a history of any GPU types; `policy`: made anew for each. `progress`: what share is done."""
    lived = []
    for number, part in enumerate(parts):

        def tell(at: datetime, number: int = number, of: History = part.history) -> None:
            progress((number + (at - of.start) / (of.end - of.start)) / len(parts))

        lived.append(Lived(part=part, happened=Simulation(part.history, part.setup, policy()).run(tell)))
    return report(policy().name, lived, cards)


def report(name: str, lived: Sequence[Lived], cards: Sequence[RateCard] = ()) -> Report:
    arrivals = [each for one in lived for each in one.part.history.arrivals]
    blocks = [(each, one.part.history) for one in lived for each in one.happened.fleet.blocks()]
    waits = [wait for one in lived for wait in one.happened.waits]
    used = [(key, gpus) for one in lived for key, gpus in one.happened.used.items()]
    owned = sum(each.kept(history.start, history.end) * each.gpus for each, history in blocks)
    return Report(
        policy=name,
        jobs=len(arrivals),
        finished=sum(one.happened.finished for one in lived),
        cost=dollars(sum(each.cost_until(history.end) for each, history in blocks)),
        revenue=revenue([(one.part, one.happened.used) for one in lived], cards),
        resold=dollars(sum(sale.net for each, _ in blocks for sale in each.sales)),
        wait_median=median(waits) if waits else 0.0,
        wait_p95=_p95(waits),
        fast_wait_p95=_p95([wait for one in lived for wait in one.happened.fast_waits]),
        deadlines=sum(each.deadline is not None for each in arrivals),
        missed_deadlines=sum(one.happened.missed for one in lived),
        interruptions=sum(one.happened.interruptions for one in lived),
        gpu_hours=sum(gpus for (*_, lost), gpus in used if not lost) / _MICROS,
        owned_gpu_hours=owned / _MICROS,
        orders=sum(one.happened.fleet.orders for one in lived),
        fell_back=sum(one.happened.fell_back for one in lived),
    )


def revenue(used: Iterable[tuple[Part, Mapping[UsedKey, int]]], cards: Sequence[RateCard] = ()) -> Decimal:
    """By the rate cards; what was lost by our fault is credited. Runs of one customer, tier and hour are one line."""
    uses: list[Use] = []
    prices: dict[tuple[datetime, str], Decimal] = {}
    for part, gpus in used:
        sku, tape = part.setup.sku, Tape(part.history, part.setup)
        more = _uses(gpus, sku.gpu_type)
        uses += more
        prices |= {(use.hour, sku.gpu_type): tape.hourly(use.hour) / sku.gpus_per_node / _SECONDS for use in more}
    lines = [line for month in _months(uses) for line in rate(month, RateBook(cards), MonthToDate(), prices)]
    return dollars(sum(line.amount for line in lines))


def oracle(history: History, setup: Setup, cards: Sequence[RateCard] = ()) -> Report:
    return oracle_of([Part(history=history, setup=setup)], cards)


def oracle_of(parts: Sequence[Part], cards: Sequence[RateCard] = ()) -> Report:
    """Who knew everything: every job starts when it comes, on what was cheapest in the end. A bound, not a policy."""
    arrivals = [each for part in parts for each in part.history.arrivals]
    gpu_hours = sum(float(_demand(part).sum()) for part in parts)
    return Report(
        policy=ORACLE,
        jobs=len(arrivals),
        finished=len(arrivals),
        cost=Decimal(str(round(sum(_least_cost(part) for part in parts), 6))),
        revenue=revenue([(part, _ideal(part)) for part in parts], cards),
        resold=Decimal(0),
        wait_median=0.0,
        wait_p95=0.0,
        deadlines=sum(each.deadline is not None for each in arrivals),
        missed_deadlines=0,
        interruptions=0,
        gpu_hours=gpu_hours,
        owned_gpu_hours=gpu_hours,
        orders=0,
    )


def _p95(waits: Sequence[float]) -> float:
    return float(np.quantile(waits, 0.95)) if waits else 0.0


def _uses(used: Mapping[UsedKey, int], gpu_type: str) -> list[Use]:
    return [
        Use(
            hour=hour,
            run_id=f"replayed/{gpu_type}/{tier}/{'lost' if lost else 'kept'}",
            job_id="replayed",
            organisation_id=organisation_id,
            key_id="replayed",
            project=None,
            tier=tier,
            gpu_type=gpu_type,
            gpu_seconds=seconds(gpus),
            lost=lost,
        )
        for (hour, tier, organisation_id, lost), gpus in used.items()
        if gpus
    ]


def _demand(part: Part) -> Floats:
    return offered(part.history.arrivals, part.history.start, part.history.end)


def _least_cost(part: Part) -> float:
    history, setup, demand = part.history, part.setup, _demand(part)
    tape = Tape(history, setup)
    hourly = np.array([float(tape.hourly(history.start + n * HOUR)) for n in range(len(demand))])
    ratios = {length: float(ratio) for length, ratio in setup.block_ratios.items() if length > 1}
    return perfect_mix(demand / setup.sku.gpus_per_node, hourly, ratios)


def _ideal(part: Part) -> dict[UsedKey, int]:
    """What each customer and tier would use, if every job began when it came."""
    history = part.history
    found: dict[UsedKey, int] = {}
    for whose, tier in {(each.organisation_id, each.tier): None for each in history.arrivals}:
        theirs = [each for each in history.arrivals if (each.organisation_id, each.tier) == (whose, tier)]
        for n, gpus in enumerate(offered(theirs, history.start, history.end)):
            found[history.start + n * HOUR, tier, whose, False] = round(gpus * _MICROS)
    return found


def _months(uses: Sequence[Use]) -> list[list[Use]]:
    months: dict[tuple[int, int], list[Use]] = {}
    for use in uses:
        months.setdefault((use.hour.year, use.hour.month), []).append(use)
    return list(months.values())
