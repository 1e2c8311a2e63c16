"""How many orders a second the sandbox market's engine matches: `python -m benchmarks.market_engine --orders 50000`.

A mix on two SKUs, ten orders a minute: providers keep a ladder of wide divisible asks standing, some customers keep
bids standing, others buy at once what they find, some resell; what still stands after some hours is called back, and
once a day the engine is trimmed. Most orders keep to whole hours, as those of the market's own command line do;
`--scattered` is the share of those that begin at any minute, which breaks schedules into many more steps. Every call is
made up before the clock starts. For comparing machines, the same orders go through a bare heap, too: one push and one
pop each.
"""

import argparse
import json
import platform
import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from statistics import quantiles
from time import perf_counter

from sandbox.market.engine import Engine
from sandbox.market.errors import NotCancellable, Rejected
from sandbox.market.rules import DAY, MINUTE
from sandbox.market.schedules import Schedule
from sandbox.market.store import Store
from sandbox.market.values import NewOrder, Side

START = 1_800_000_000
HOUR = 60 * MINUTE
SECONDS_APART = 6
TRIM_EVERY = DAY // SECONDS_APART
SKUS = ("isku_h100", "isku_h200")
PROVIDERS = [f"provider-{n}" for n in range(8)]
CUSTOMERS = [f"customer-{n}" for n in range(40)]


@dataclass(frozen=True, kw_only=True)
class Call:
    """An order at a moment, and at what later order it is called back, if it is."""

    order: NewOrder
    now: int
    cancelled_at: int | None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.market_engine", description=__doc__)
    parser.add_argument("--orders", type=int, default=50_000, help="how many (default: %(default)s)")
    parser.add_argument("--scattered", type=float, default=0.2, help="share off the hour (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the made-up calls (default: %(default)s)")
    parser.add_argument("--store", metavar="FILE", help="also keep each call in this SQLite file")
    arguments = parser.parse_args()
    figures = measured(arguments.orders, arguments.scattered, arguments.seed, arguments.store)
    print(json.dumps(figures))
    print(
        f"{figures['orders_per_second']:,.0f} orders/s, p50 {figures['p50_us']:.0f}, p99 {figures['p99_us']:.0f} µs, "
        f"{figures['trades']:,} trades, {figures['resting_mean']:.0f} resting; a bare heap is "
        f"{figures['heap_ratio']:.0f} times as fast; Python {platform.python_version()}, {platform.machine()}"
    )


def measured(orders: int, scattered: float = 0.2, seed: int = 1, file: str | None = None) -> dict[str, float]:
    calls = made_up(orders, scattered, random.Random(seed))
    engine = a_market(remember_changes=bool(file))
    store = Store(file) if file else None
    figures = played(engine, calls, (lambda: store.save(engine)) if store else None)
    figures["heap_orders_per_second"] = round(through_a_heap(calls))
    figures["heap_ratio"] = round(figures["heap_orders_per_second"] / figures["orders_per_second"], 1)
    return figures


def a_market(*, remember_changes: bool) -> Engine:
    engine = Engine(remember_changes=remember_changes)
    for provider in PROVIDERS:
        engine.open_account(provider, originating=True)
        engine.open_pool(provider, provider)
        for sku in SKUS:
            engine.grant(provider, sku, Schedule.rectangle(START, START + 400 * DAY, 5_000))
    for customer in CUSTOMERS:
        engine.open_account(customer, cash=10**15, now=START)
        engine.open_pool(customer, customer)
    return engine


def made_up(orders: int, scattered: float, chance: random.Random) -> list[Call]:
    calls = []
    for n in range(orders):
        now = START + n * SECONDS_APART
        kind = chance.choices((an_ask, a_standing_bid, an_immediate_bid, a_resale), weights=(20, 15, 55, 10))[0]
        first = now - now % MINUTE if chance.random() < scattered else now - now % HOUR + HOUR
        order = kind(f"o{n}", first, chance)
        called_back = n + chance.randrange(200, 1500) if order.allow_standing else None
        calls.append(Call(order=order, now=now, cancelled_at=called_back))
    return calls


def an_ask(id: str, first: int, chance: random.Random) -> NewOrder:
    who = chance.choice(PROVIDERS)
    start = first + HOUR * chance.randrange(24)
    end = start + HOUR * chance.choice((12, 24, 72))
    return an_order(id, who, Side.SELL, start, end, chance.randrange(4, 33), chance.randrange(180_000, 260_000), chance)


def a_standing_bid(id: str, first: int, chance: random.Random) -> NewOrder:
    start = first + HOUR * chance.randrange(1, 48)
    end = start + HOUR * chance.randrange(1, 25)
    who = chance.choice(CUSTOMERS)
    return an_order(id, who, Side.BUY, start, end, chance.randrange(1, 9), chance.randrange(120_000, 200_000), chance)


def an_immediate_bid(id: str, first: int, chance: random.Random) -> NewOrder:
    start = first + HOUR * chance.randrange(24)
    end = start + HOUR * chance.randrange(1, 13)
    who = chance.choice(CUSTOMERS)
    limit = chance.randrange(180_000, 260_000)
    return an_order(id, who, Side.BUY, start, end, chance.randrange(1, 9), limit, chance, standing=False)


def a_resale(id: str, first: int, chance: random.Random) -> NewOrder:
    """Not everybody who tries owns what they offer; those are refused, as in life."""
    start = first + HOUR * chance.randrange(12)
    who = chance.choice(CUSTOMERS)
    return an_order(id, who, Side.SELL, start, start + HOUR, 1, chance.randrange(150_000, 220_000), chance)


def an_order(
    id: str,
    who: str,
    side: Side,
    start: int,
    end: int,
    nodes: int,
    limit: int,
    chance: random.Random,
    *,
    standing: bool = True,
) -> NewOrder:
    return NewOrder(
        id=id,
        account_id=who,
        pool_id=who,
        side=side,
        sku=chance.choice(SKUS),
        start=start,
        end=end,
        nodes=nodes,
        limit=limit,
        allow_standing=standing,
        allow_partial=side is Side.SELL or chance.random() < 0.3,
    )


def played(engine: Engine, calls: list[Call], save: Callable[[], None] | None) -> dict[str, float]:
    called_back: dict[int, list[str]] = {}
    took: list[float] = []
    trades = refused = resting = 0
    began = perf_counter()
    for n, call in enumerate(calls):
        start = perf_counter()
        engine.expire(call.now)
        if n % TRIM_EVERY == TRIM_EVERY - 1:
            engine.trim(call.now)
        for order_id in called_back.pop(n, ()):
            cancel(engine, order_id, call.now)
        try:
            outcome = engine.submit(call.order, call.now)
            trades += len(outcome.trades)
            if call.cancelled_at and outcome.order.status.live:
                called_back.setdefault(call.cancelled_at, []).append(call.order.id)
        except Rejected:
            refused += 1
        if save:
            save()
        took.append(perf_counter() - start)
        if n % 100 == 0:
            resting += sum(len(book.bids) + len(book.asks) for book in engine.books.values())
    seconds = perf_counter() - began
    cuts = quantiles(took, n=100)
    return {
        "orders": len(calls),
        "seconds": round(seconds, 3),
        "orders_per_second": round(len(calls) / seconds),
        "p50_us": round(cuts[49] * 1e6, 1),
        "p99_us": round(cuts[98] * 1e6, 1),
        "trades": trades,
        "refused": refused,
        "resting_mean": round(resting / (len(calls) / 100)),
    }


def cancel(engine: Engine, order_id: str, now: int) -> None:
    try:
        engine.cancel(order_id, now)
    except NotCancellable:
        return


def through_a_heap(calls: list[Call]) -> float:
    """Orders a second through a heap by price and age: each pushed, and popped once a few hundred are in it."""
    heap: list[tuple[int, int]] = []
    began = perf_counter()
    for n, call in enumerate(calls):
        heappush(heap, (call.order.limit, n))
        if n >= 300:
            heappop(heap)
    return len(calls) / (perf_counter() - began)


if __name__ == "__main__":
    main()
