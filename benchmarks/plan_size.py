"""How long does a plan take? 20 kinds of machines, 168 hours, 50 scenarios of demand and price; goal: 20 s on 2 cores.

`python -m benchmarks.plan_size`: demand and prices are made up, by a seed; everything but the quotes is the real thing.
"""

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from scalar.market.model import Rectangle, Seat, Side, Sku
from scalar.planning.model import Kind, Policy, Quote, Situation
from scalar.planning.optimal import decide, questions
from scalar.planning.outlook import Ahead, Outlook, levels

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_size", description=__doc__)
    parser.add_argument("--kinds", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--hours", type=int, default=168, help="default: %(default)s")
    parser.add_argument("--scenarios", type=int, default=50, help="default: %(default)s")
    arguments = parser.parse_args()
    for name, value in measured(arguments.kinds, arguments.hours, arguments.scenarios).items():
        print(f"{value:10.2f}  {name}")


def measured(kinds: int = 20, hours: int = 168, scenarios: int = 50) -> dict[str, float]:
    situation, outlook = made_up(kinds, hours, scenarios)
    policy = Policy(max_nodes=10_000)
    began, cpu = time.perf_counter(), time.process_time()
    asked = questions(situation, policy, outlook)
    situation = replace(situation, quotes=tuple(Quote(question=each, price=price(each)) for each in asked))
    decided = decide(situation, policy, outlook, seconds=60)
    took, worked = time.perf_counter() - began, time.process_time() - cpu
    if decided.fell_back:
        raise RuntimeError(decided.fell_back)
    return {
        f"{kinds} kinds x {hours} h x {scenarios} scenarios, seconds (goal ≤ 20)": took,
        "of them, of one core": worked,
        "actions": len(decided.plan.actions),
        "expected cost over doing nothing": sum(each.expected for each in decided.seen.values())
        / sum(each.without for each in decided.seen.values()),
    }


def made_up(kinds: int, hours: int, scenarios: int) -> tuple[Situation, Outlook]:
    random = np.random.default_rng(0)
    skus = [Sku(id=f"isku_{n:02}", alias=f"kind-{n:02}", gpu_type=f"G{n:02}", gpus_per_node=8) for n in range(kinds)]
    ahead = {}
    for sku in skus:
        daily = 1 + 0.4 * np.sin(np.arange(hours) / 24 * 2 * np.pi)
        walk = np.cumsum(random.normal(0, 0.03, (scenarios, hours)), axis=1)
        demand = random.uniform(40, 800) * daily * np.exp(walk)
        hourly = 16 * np.exp(np.cumsum(random.normal(0, 0.01, (scenarios, hours)), axis=1)).mean(axis=0)
        flex = tuple((0.2 * demand.mean(axis=0)).tolist())
        ahead[sku.id] = Ahead(fast=levels(demand), hourly=tuple(hourly.tolist()), flex=flex)
    owned = [
        Seat(
            block_id=f"block_{sku.id}",
            number=n,
            sku=sku.id,
            start=NOW,
            end=NOW + timedelta(hours=int(random.integers(1, 72))),
        )
        for sku in skus
        for n in range(4)
    ]
    kinds_there = tuple(Kind(sku=sku, usual_price=Decimal(16)) for sku in skus)
    return Situation(now=NOW, kinds=kinds_there, owned=tuple(owned)), Outlook(kinds=ahead)


def price(question: object) -> Decimal:
    window: Rectangle = question.window  # type: ignore[attr-defined]
    hours = (window.end - window.start) / timedelta(hours=1)
    base = Decimal(16) if hours < 24 else Decimal(10) if hours < 168 else Decimal(9)
    more = base * (1 + Decimal(window.nodes) / 500)
    return more if question.side is Side.BUY else base / 2  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
