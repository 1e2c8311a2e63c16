"""A plan, made: reads the situation, asks the market what it must know of it, decides, and records it all.

1. read     the situation and the last plan that was executed, as they were at one moment
2. ask      the market, about what the policy wants to know; no transaction is open
3. decide   purely
4. write    the plan, with all that it was decided from; earlier ones that nobody executed are superseded
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scalar.capacity import reservations_store
from scalar.capacity.model import Obstacle
from scalar.database import Transaction
from scalar.errors import Conflict
from scalar.jobs import store as jobs
from scalar.jobs.model import Job, Tier
from scalar.market import catalogue, seats
from scalar.market import store as market
from scalar.market.answers import Quoted
from scalar.market.desk import Desk
from scalar.market.model import Order, Side
from scalar.planning import optimal, reactive, store
from scalar.planning.foreseeing import outlook
from scalar.planning.foresight import Foresight
from scalar.planning.model import Kind, OpenOrder, Plan, Policy, Promise, Question, Quote, Situation, WaitingJob, Wish
from scalar.planning.optimal import Decided
from scalar.planning.patience import presses

BUY_FOR = frozenset({Obstacle.NO_NODES, Obstacle.NO_SUCH_NODE, Obstacle.BUSY, Obstacle.BLOCK_ENDS})
"""More nodes would help against these."""
_MOST_JOBS = 1000
"""Of the queue, most urgent first: what a plan looks at is kept with it."""
_WEEK = timedelta(days=7)
_READINGS = 6
_AS_USUAL = Policy()


@dataclass(frozen=True, kw_only=True)
class Planned:
    id: str
    plan: Plan
    situation: Situation
    decided: Decided | None = None
    """Of a policy that looks ahead: what it saw."""


def make_plan(desk: Desk, policy: Policy, foresight: Foresight | None = None) -> Planned:
    """By the reactive policy; with `foresight`, by the one that looks ahead.

    Raises: `MarketError`, and then there is no plan: nothing is concluded from an answer that did not come.
    """
    with desk.transact() as tx:
        # Of one moment: an execution is all in it, with its orders, or this plan won't be executed after it.
        seen, follows = situation(tx, desk.clock(), policy), store.last_executed(tx)
    if not seen.kinds:
        catalogue.learn(desk)
        with desk.transact() as tx:
            seen = replace(seen, kinds=kinds(tx, seen.now))
    ahead = None
    if foresight is not None:
        with desk.transact() as tx:
            ahead = outlook(tx, seen, desk.settings.caps, foresight, policy)
    asked = reactive.questions(seen, policy) if ahead is None else optimal.questions(seen, policy, ahead)
    inputs = store.Inputs(
        situation=replace(seen, quotes=tuple(_ask(desk, question) for question in asked)), policy=policy, outlook=ahead
    )
    name, plan, decided = _decide(inputs)
    with desk.transact() as tx:
        plan_id = store.insert_plan(tx, plan, inputs, policy=name, follows=follows, dry_run=desk.settings.dry_run)
        store.supersede_others(tx, plan_id)
    return Planned(id=plan_id, plan=plan, situation=inputs.situation, decided=decided)


def situation(tx: Transaction, now: datetime, policy: Policy = _AS_USUAL) -> Situation:
    """All but the quotes, as it was at one moment: the first thing that its transaction does, and it only reads.

    Orders become blocks, blocks get machines, machines become nodes: of two moments, one such step would be missed, and
    bought again. No lock keeps them all still, so a snapshot has to.
    """
    tx.execute("set transaction isolation level repeatable read, read only")
    return _read(tx, now, policy)


def situation_within(tx: Transaction, now: datetime) -> Situation:
    """As `situation`, with what this transaction has done itself: read again until two readings agree.

    A step between two statements of one reading is over before the next reading begins, so that they differ.
    Raises: `Conflict` where it never stands still.
    """
    seen = _read(tx, now)
    for _ in range(_READINGS):
        again = _read(tx, now)
        if again == seen:
            return seen
        seen = again
    raise Conflict("Orders and machines change faster than they can be read.")


def kinds(tx: Transaction, now: datetime) -> tuple[Kind, ...]:
    sizes = store.sizes(tx)
    found = []
    for sku in market.skus(tx):
        cpus, memory = sizes.get(sku.id, (None, None))
        usual = market.usual_price(tx, sku.id, now - _WEEK)
        found.append(Kind(sku=sku, usual_price=usual, cpus=cpus, memory_bytes=memory))
    return tuple(found)


def decide_again(stored: store.StoredPlan) -> Plan:
    """What the policy makes of the same situation: the same plan, unless the policy is another since."""
    if stored.policy == optimal.FELL_BACK:
        made = reactive.plan(stored.inputs.situation, stored.inputs.policy)
        return replace(made, notes=(*stored.notes[:1], *made.notes))
    return _decide(stored.inputs)[1]


def _decide(inputs: store.Inputs) -> tuple[str, Plan, Decided | None]:
    """(the policy's name, its plan, what it saw)."""
    if inputs.outlook is None:
        return reactive.NAME, reactive.plan(inputs.situation, inputs.policy), None
    decided = optimal.decide(inputs.situation, inputs.policy, inputs.outlook)
    return optimal.NAME if decided.fell_back is None else optimal.FELL_BACK, decided.plan, decided


def _read(tx: Transaction, now: datetime, policy: Policy = _AS_USUAL) -> Situation:
    queue = [_waiting(job, policy, now) for job in jobs.queue(tx, now) if _wants_room(job)]
    return Situation(
        now=now,
        kinds=kinds(tx, now),
        queue=tuple(queue[:_MOST_JOBS]),
        nodes=tuple(store.fleet(tx, now)),
        machines=tuple(store.machines(tx)),
        owned=tuple(seats.owned_seats(tx, now)),
        seats=tuple(seats.free_seats(tx, now)),
        orders_of={block.id: block.order_id for block in market.blocks(tx, ending_after=now)},
        open_orders=tuple(_open(tx, order) for order in market.open_orders(tx)),
        claims=tuple(store.claims(tx, now)),
        promises=tuple(
            Promise(gpu_type=each.gpu_type, gpus=each.gpus, start=each.start, end=each.end)
            for each in reservations_store.held(tx, now)
        ),
    )


def _ask(desk: Desk, question: Question) -> Quote:
    window = question.window
    preview = desk.market.preview_order(
        side=question.side,
        requirements={"id": [question.sku]},
        start=window.start,
        seconds=int((window.end - window.start).total_seconds()),
        nodes=window.nodes,
        pool=desk.pool() if question.side is Side.SELL else None,
    )
    return Quote(question=question, price=preview.price if isinstance(preview, Quoted) else None)


def _wants_room(job: Job) -> bool:
    return job.waiting is not None and job.waiting.get("obstacle") in BUY_FOR


def _waiting(job: Job, policy: Policy, now: datetime) -> WaitingJob:
    spec = job.spec
    may_wait = job.submitted_at + policy.flex_wait if spec.tier is Tier.FLEX else None
    wanted = spec.requirements
    return WaitingJob(
        id=job.id,
        gpus=wanted.gpus,
        nodes=wanted.nodes,
        gpu_type=wanted.gpu_type,
        cpus=wanted.cpus,
        memory_bytes=wanted.memory_bytes,
        max_runtime_seconds=spec.max_runtime_seconds,
        wish=Wish(
            tier=spec.tier,
            price_limit=spec.max_price_per_gpu_hour,
            pressing=presses(spec.start_by, policy.boot, now),
        ),
        start_by=spec.start_by or may_wait,
    )


def _open(tx: Transaction, order: Order) -> OpenOrder:
    """What of it may still fill: whole nodes, rounded up."""
    request = order.request
    window = request.window
    filled = sum(fill.node_minutes for fill in market.fills(tx, order.id))
    minutes = window.node_minutes // window.nodes
    return OpenOrder(
        id=order.id,
        side=request.side,
        sku=request.sku,
        window=replace(window, nodes=window.nodes - filled // minutes),
    )
