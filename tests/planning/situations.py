"""Situations with defaults, for tests to name only what matters to them; and a market that goes by a price list."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from scalar.jobs.model import Tier
from scalar.market.model import Rectangle, Seat, Side, Sku
from scalar.planning.model import (
    Action,
    Claim,
    FleetNode,
    Kind,
    Machine,
    OpenOrder,
    Plan,
    Policy,
    Promise,
    Quote,
    Situation,
    WaitingJob,
    Wish,
    Work,
)
from scalar.planning.reactive import plan, questions
from tests.made_up import GIB, NOON

H100 = Sku(id="isku_h100", alias="sea-3-h100", gpu_type="H100", gpus_per_node=8)
H200 = Sku(id="isku_h200", alias="iad-12-h200", gpu_type="H200", gpus_per_node=8)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def a_kind(sku: Sku = H100, **changes: Any) -> Kind:
    return Kind(sku=sku, **changes)


def a_wish(tier: Tier = Tier.FAST, limit: str | None = None) -> Wish:
    return Wish(tier=tier, price_limit=None if limit is None else Decimal(limit))


def a_waiting_job(id: str = "job_1", gpus: int = 8, *, minutes: int | None = None, **changes: Any) -> WaitingJob:
    wish = a_wish(changes.pop("tier", Tier.FAST), changes.pop("limit", None))
    seconds = None if minutes is None else minutes * 60
    return WaitingJob(id=id, gpus=gpus, max_runtime_seconds=seconds, wish=wish, **changes)


def a_fleet_node(id: str = "node_1", *, free: int = 8, **changes: Any) -> FleetNode:
    node = FleetNode(
        id=id,
        gpu_type="H100",
        gpus=8,
        free_gpus=free,
        cpus=128,
        free_cpus=free * 16,
        memory_bytes=512 * GIB,
        free_memory=free * 64 * GIB,
        takes_work=True,
    )
    return replace(node, **changes)


def bought(
    id: str = "node_1", until: float = 60, *, sku: Sku = H100, free: int = 8, idle_for: float = 5, **changes: Any
) -> tuple[FleetNode, Machine]:
    """A node on a machine of ours, `until` minutes from noon; idle if it is free, or with one unbounded run."""
    work = changes.pop("work", () if free == 8 else (Work(job_id=f"on_{id}", wish=a_wish()),))
    idle_since = None if work else at(-idle_for)
    node = a_fleet_node(
        id, free=free, until=at(until), idle_since=idle_since, work=work, **{"gpu_type": sku.gpu_type, **changes}
    )
    return node, Machine(id=f"gpu_{id}", sku=sku.id, until=at(until), node_id=id)


def a_seat(block_id: str = "block_1", sku: str = H100.id, *, until: datetime) -> Seat:
    return Seat(block_id=block_id, number=0, sku=sku, start=at(-60), end=until)


def a_promise(gpus: int, start: float = 0, end: float = 60) -> Promise:
    return Promise(gpu_type="H100", gpus=gpus, start=at(start), end=at(end))


def a_situation(*owned: tuple[FleetNode, Machine], queue: list[WaitingJob] | None = None, **changes: Any) -> Situation:
    """Each machine sits on a seat of its own."""
    sat_on = [a_seat(machine.id, machine.sku, until=machine.until) for _, machine in owned]
    return Situation(
        **{
            "now": NOON,
            "kinds": (a_kind(H100), a_kind(H200)),
            "queue": tuple(queue or ()),
            "nodes": tuple(node for node, _ in owned),
            "machines": tuple(machine for _, machine in owned),
            "owned": (*sat_on, *changes.get("seats", ())),
            **changes,
        }
    )


USUAL = Policy()
ASKS = {H100.id: Decimal("16.8"), H200.id: Decimal(24)}
BIDS = {H100.id: Decimal(12), H200.id: Decimal(18)}


def quoted(
    situation: Situation,
    policy: Policy = USUAL,
    asks: Mapping[str, Decimal] = ASKS,
    bids: Mapping[str, Decimal] = BIDS,
    depth: int = 64,
) -> Situation:
    """With the market's answers to all that this policy asks: one price a kind, for up to `depth` nodes."""
    answers = []
    for question in questions(situation, policy):
        prices = asks if question.side is Side.BUY else bids
        price = prices.get(question.sku) if question.window.nodes <= depth else None
        answers.append(Quote(question=question, price=price))
    return replace(situation, quotes=tuple(answers))


def decided(situation: Situation, policy: Policy = USUAL, **market: Any) -> Plan:
    return plan(quoted(situation, policy, **market), policy)


def ordered(situation: Situation, actions: tuple[Action, ...]) -> Situation:
    """After each action has become an open order; what is to be sold takes no more work."""
    orders = tuple(
        OpenOrder(id=f"order_{number}", side=action.kind.side, sku=action.sku, window=action.window)
        for number, action in enumerate(actions)
        if action.kind.side is not None
    )
    claims = tuple(
        Claim(order_id=f"order_{number}", nodes=action.window.nodes, jobs=action.jobs)
        for number, action in enumerate(actions)
        if action.jobs
    )
    return replace(situation, open_orders=(*situation.open_orders, *orders), claims=claims, quotes=())


def a_rectangle(start: float, end: float, nodes: int = 1) -> Rectangle:
    return Rectangle(start=at(start), end=at(end), nodes=nodes)
