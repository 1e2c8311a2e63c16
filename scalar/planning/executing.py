"""A plan, carried out: each action becomes one order, or says why not. All of it in the caller's one transaction."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scalar.capacity.scheduling import SHORTEST_USEFUL
from scalar.database import Lock, Transaction, lock
from scalar.errors import Conflict, ScalarError
from scalar.market import orders
from scalar.market.guards import Caps
from scalar.market.model import OrderRequest, OrderState, Side, minute_of
from scalar.market.orders import By
from scalar.planning import store
from scalar.planning.model import Action, ActionKind, PlanState, Policy
from scalar.planning.planning import situation_within
from scalar.planning.store import StoredAction, StoredPlan
from scalar.planning.wants import wanted

ACTOR = "planner"
GOOD_FOR = timedelta(minutes=10)
"""A plan that nobody executed for so long is out of date."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    plan_id: str
    state: PlanState
    ordered: int = 0
    refused: int = 0


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    said: str
    order_id: str | None = None


def execute(tx: Transaction, *, caps: Caps, policy: Policy, now: datetime) -> Executed | None:
    """The latest plan, once; None where none waits. Dry runs never wait."""
    if store.proposed(tx) is None:
        return None
    # The order of locks is everyone's: the pass first. None of the nodes that are to be sold gets work meanwhile.
    lock(tx, Lock.SCHEDULING_PASS)
    lock(tx, Lock.MARKET_ORDERS)
    store.expire(tx, now - GOOD_FOR)
    plan = store.proposed(tx)
    if plan is None:
        return None
    if plan.follows != store.last_executed(tx):
        store.settle(tx, plan.id, PlanState.SUPERSEDED, now)
        return Executed(plan_id=plan.id, state=PlanState.SUPERSEDED)
    outcomes = [_carry_out(tx, plan, each, caps, policy, now) for each in plan.actions]
    store.settle(tx, plan.id, PlanState.EXECUTED, now)
    ordered = sum(each.order_id is not None for each in outcomes)
    return Executed(plan_id=plan.id, state=PlanState.EXECUTED, ordered=ordered, refused=len(outcomes) - ordered)


def _carry_out(
    tx: Transaction, plan: StoredPlan, each: StoredAction, caps: Caps, policy: Policy, now: datetime
) -> _Outcome:
    by = By(actor=ACTOR, plan_id=plan.id, key=f"{plan.id}/{each.position}")
    action = _begun(each.action, now)
    if action.kind is ActionKind.LAPSE:
        outcome = _Outcome(said="Left to run out.")
    elif action.window.end - action.window.start < SHORTEST_USEFUL:
        outcome = _Outcome(said="Too late: hardly anything of it is left.")
    elif action.kind is ActionKind.SELL:
        outcome = _sell(tx, action, by, caps, policy, now)
    else:
        outcome = _place(tx, action, by, caps, now)
    store.record_outcome(tx, plan.id, each.position, outcome.said, outcome.order_id)
    return outcome


def _begun(action: Action, now: datetime) -> Action:
    """Where its time has begun already, what is left of it from the next minute on."""
    start = max(action.window.start, minute_of(now, up=True))
    return replace(action, window=replace(action.window, start=start))


def _sell(tx: Transaction, action: Action, by: By, caps: Caps, policy: Policy, now: datetime) -> _Outcome:
    """Those of its nodes that are still spare by the rule that chose them: much may have come in between."""
    try:
        spare = wanted(situation_within(tx, now), policy).spare
    except Conflict as moving:
        return _Outcome(said=moving.message)
    nodes = [each.node_id for each in spare if each.sku == action.sku and each.until >= action.window.end]
    nodes = nodes[: action.window.nodes]
    if not nodes:
        return _Outcome(said="None of them is spare any more.")
    fewer = replace(action, window=replace(action.window, nodes=len(nodes)))
    return _place(tx, fewer, by, caps, now, keep_free=nodes)


def _place(
    tx: Transaction, action: Action, by: By, caps: Caps, now: datetime, *, keep_free: list[str] | None = None
) -> _Outcome:
    try:
        order = orders.place(tx, _request(action), by=by, caps=caps, now=now, keep_free=keep_free or ())
    except ScalarError as refusal:
        return _Outcome(said=refusal.message)
    if order.state is OrderState.PROPOSED:
        return _Outcome(said=f"Waits for an operator's approval. {order.message}", order_id=order.id)
    return _Outcome(said="Ordered.", order_id=order.id)


def _request(action: Action) -> OrderRequest:
    assert action.limit_price is not None  # noqa: S101 - only what lapses has none
    return OrderRequest(
        side=action.kind.side or Side.BUY,
        sku=action.sku,
        window=action.window,
        limit_price=action.limit_price,
        allow_partial=not action.whole,
        purpose=action.reason,
    )
