"""The policy that looks ahead: what is cheapest over the week that comes, as far as it can be foreseen. Pure.

    questions(situation, policy, outlook) ─► (quotes) ─► decide(situation with quotes, policy, outlook) ─► Decided(plan)

1. For each kind of machine with an outlook, a `programme` says how many blocks of which length to begin now, or where
   nodes end, and which idle tails are better sold than kept. Blocks that would begin later are in it as well, and
   nothing is ordered for them: the next plan decides again (a rolling horizon).
2. What skill in forecasting has earned (`Authority`) bounds it: its size, its price, its length.
3. The queue comes first, as ever: waiting jobs are put onto what is bought, and for those that are left the reactive
   policy decides, as if these orders were open. So it does for nodes that work and end soon. Nothing that it would buy
   is left out, and nothing is sold that it would not sell.

Where the solver is out of time or fails, the reactive plan is made, and `fell_back` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from scalar.market.model import Rectangle, Side
from scalar.planning import reactive
from scalar.planning.blocks_ahead import HOUR, MOST_AT_ONCE, ends_of, lengths_of, most_wanted, or_any
from scalar.planning.highs import SolverFailed
from scalar.planning.kind_ahead import KindAhead, Seen
from scalar.planning.model import Action, ActionKind, Claim, Kind, OpenOrder, Plan, Policy, Question, Situation
from scalar.planning.outlook import Outlook
from scalar.planning.packing import Room, empty_room, fitting, put
from scalar.planning.patience import Waiting, patient
from scalar.planning.prices import Quotes, acceptable, below, ladder, soon
from scalar.planning.programme import answer
from scalar.planning.wants import Wants, wanted

NAME = "optimal"
FELL_BACK = "reactive, since the solver failed"
"""The name of the plan that is made then."""
SOLVER_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Decided:
    plan: Plan
    fell_back: str | None = None
    """Why this is the reactive plan; None: it is not."""
    seen: dict[str, Seen] = field(default_factory=dict)


def questions(situation: Situation, policy: Policy, outlook: Outlook) -> tuple[Question, ...]:
    """What the reactive policy would ask, and blocks of each length that begin now or where nodes end."""
    wants = wanted(situation, policy)
    asked = list(reactive.questions(situation, policy))
    for kind in _kinds(situation, outlook):
        most = min(MOST_AT_ONCE, max(0, policy.max_nodes - wants.machines), most_wanted(kind, outlook))
        if not most:
            continue
        for start in [soon(situation.now, policy), *ends_of(wants, kind)]:
            for hours in lengths_of(outlook.kinds[kind.sku.id], policy):
                window = Rectangle(start=start, end=start + hours * HOUR, nodes=most)
                asked += ladder(Side.BUY, kind.sku.id, window)
    return tuple(dict.fromkeys(asked))[: 2 * reactive.MOST_QUESTIONS]


def decide(situation: Situation, policy: Policy, outlook: Outlook, *, seconds: float = SOLVER_SECONDS) -> Decided:
    wants = wanted(situation, policy)
    actions: list[Action] = []
    kept: dict[str, _Kept] = {}
    seen: dict[str, Seen] = {}
    waiting: list[Waiting] = []
    room = float(policy.max_nodes - wants.machines)
    budget = or_any(outlook.budget)
    try:
        for kind in _kinds(situation, outlook):
            ahead = KindAhead(situation, policy, outlook, wants, kind)
            waiting.append(ahead.waiting)
            found = answer(ahead.asked(room, budget), seconds=seconds)
            more = ahead.actions(found)
            actions += more
            kept[kind.sku.id] = _Kept(sold=sum(found.sell), tails=ahead.tails)
            seen[kind.sku.id] = ahead.seen(found)
            room -= sum(each.window.nodes for each in more if each.kind is ActionKind.BUY)
            budget -= sum(float(each.window.cost_at(each.limit_price)) for each in more if each.limit_price)
    except SolverFailed as failure:
        why = f"The solver failed ({failure}): this is the reactive plan."
        plan = reactive.plan(situation, policy)
        return Decided(plan=replace(plan, notes=(why, *plan.notes)), fell_back=why)
    actions = _for_the_queue(actions, situation, policy, wants)
    held = patient(wants.jobs, waiting, Quotes(situation.quotes), policy, situation.now)
    rest = reactive.plan(_after(_without(situation, held), actions), policy)
    sales, notes = _sales(rest.actions, kept)
    waits = _said(held, actions)
    return Decided(
        plan=Plan(actions=(*actions, *sales), notes=(*outlook.notes, *waits, *notes, *rest.notes)), seen=seen
    )


def who_waits(situation: Situation, policy: Policy, outlook: Outlook) -> frozenset[str]:
    """Queued Flex jobs that a plan between two of these should leave alone, too."""
    wants = wanted(situation, policy)
    ahead = [KindAhead(situation, policy, outlook, wants, kind).waiting for kind in _kinds(situation, outlook)]
    return patient(wants.jobs, ahead, Quotes(situation.quotes), policy, situation.now)


def _without(situation: Situation, held: frozenset[str]) -> Situation:
    return replace(situation, queue=tuple(job for job in situation.queue if job.id not in held))


def _said(held: frozenset[str], actions: Sequence[Action]) -> list[str]:
    left = held - {job for action in actions for job in action.jobs}
    return [f"{len(left)} flex job(s) wait for idle or cheaper hours: there is time."] if left else []


def plan(situation: Situation, policy: Policy, outlook: Outlook) -> Plan:
    return decide(situation, policy, outlook).plan


@dataclass(frozen=True, kw_only=True)
class _Kept:
    sold: int
    tails: int


def _kinds(situation: Situation, outlook: Outlook) -> list[Kind]:
    return [kind for kind in situation.kinds if kind.sku.id in outlook.kinds and outlook.kinds[kind.sku.id].hours]


def _for_the_queue(actions: Sequence[Action], situation: Situation, policy: Policy, wants: Wants) -> list[Action]:
    """Waiting jobs, put onto what is bought now anyway: where it lasts, and costs no more than they will pay."""
    kinds = {kind.sku.id: kind for kind in situation.kinds}
    rooms: dict[str, Room] = {}
    of: dict[str, int] = {}
    for number, action in enumerate(actions):
        if action.kind is ActionKind.BUY:
            for node in range(action.window.nodes):
                room = empty_room(f"{number:04}/{node:04}", kinds[action.sku], action.window.end)
                rooms[room.id], of[room.id] = room, number
    for_whom: dict[int, list[str]] = {}
    begin = soon(situation.now, policy) + policy.boot
    for job in wants.jobs:
        payable = [
            room
            for room in rooms.values()
            if below(
                actions[of[room.id]].limit_price or Decimal(0),
                acceptable(job.wish, kinds[actions[of[room.id]].sku], policy),
            )
        ]
        found = fitting(job, payable, begin)
        if len(found) == job.nodes:
            for room in found:
                rooms[room.id] = put(job, room)
                for_whom.setdefault(of[room.id], []).append(job.id)
    return [
        replace(each, jobs=tuple(dict.fromkeys(for_whom[number]))) if number in for_whom else each
        for number, each in enumerate(actions)
    ]


def _after(situation: Situation, actions: Sequence[Action]) -> Situation:
    """As if each action were an open order already."""
    orders = [
        OpenOrder(id=f"planned/{number}", side=action.kind.side or Side.BUY, sku=action.sku, window=action.window)
        for number, action in enumerate(actions)
    ]
    claims = [
        Claim(order_id=f"planned/{number}", nodes=action.window.nodes, jobs=action.jobs)
        for number, action in enumerate(actions)
        if action.jobs
    ]
    return replace(
        situation,
        open_orders=(*situation.open_orders, *orders),
        claims=(*situation.claims, *claims),
    )


def _sales(actions: Sequence[Action], kept: dict[str, _Kept]) -> tuple[list[Action], list[str]]:
    """Of what the reactive policy would sell, what is not worth more kept."""
    left = {sku: each.sold for sku, each in kept.items()}
    made, notes = [], []
    for action in actions:
        if action.kind is not ActionKind.SELL or action.sku not in kept:
            made.append(action)
            continue
        nodes = min(action.window.nodes, left[action.sku])
        left[action.sku] -= nodes
        if nodes:
            made.append(replace(action, window=replace(action.window, nodes=nodes)))
        if nodes < action.window.nodes:
            notes.append(f"{action.window.nodes - nodes} idle node(s) are kept: what they save is more than the bid.")
    return made, notes
