"""The reactive policy, whole and pure: it buys what is missing now, and looks no further.

    questions(situation, policy) ─► (quotes) ─► plan(situation with quotes, policy) ─► Plan(actions, notes)

1. **Extend**: machines that work (or that the buffer needs) and whose time is nearly up get the block that follows,
   while that costs no more than somebody on them will pay.
2. **Buy**: whole nodes for queued jobs that have no room, packed onto as few as they fit, long enough for their longest
   runtime; for the cheapest kind of machine that will do; and for the buffer. What was bought or ordered and is not
   there yet counts as there.
3. **Sell** the rest of the time of nodes that have been idle for long; where nobody bids, let it **lapse**.

The same situation is always the same plan. `wants` says what is wanted, `basket` what is bought for it.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from scalar.market.model import Rectangle, Side, on_tick, usd
from scalar.planning.basket import Basket, length_for, too_long
from scalar.planning.model import Action, ActionKind, Kind, Plan, Policy, Question, Situation
from scalar.planning.packing import suits
from scalar.planning.prices import Quotes, acceptable, bid, ladder, soon
from scalar.planning.wants import Ending, Spare, Wants, wanted

NAME = "reactive"
MOST_QUESTIONS = 120
"""Of one plan: what is not asked about waits for the next."""


def plan(situation: Situation, policy: Policy) -> Plan:
    wants = wanted(situation, policy)
    quotes = Quotes(situation.quotes)
    basket = Basket(situation, policy, wants.machines)
    for job in wants.jobs:
        basket.add_job(job)
    for gpu_type, gpus in wants.short_gpus.items():
        basket.add_idle(gpu_type, gpus)
    kinds = {kind.sku.id: kind for kind in situation.kinds}
    extends, notes = _extends(wants.endings, kinds, quotes, policy)
    sales = _sales(wants.spare, kinds, quotes, policy, situation.now)
    return Plan(actions=(*extends, *basket.actions(), *sales), notes=(*notes, *basket.notes()))


def questions(situation: Situation, policy: Policy) -> tuple[Question, ...]:
    """What the market is to be asked before this situation can be decided."""
    wants = wanted(situation, policy)
    asked = [
        *_about_extends(wants.endings, policy),
        *_about_buys(wants, situation, policy),
        *_about_sales(wants.spare, policy, situation.now),
    ]
    return tuple(dict.fromkeys(asked))[:MOST_QUESTIONS]


def _about_extends(endings: Iterable[Ending], policy: Policy) -> list[Question]:
    return [
        question
        for sku, end, group in _by_end(endings)
        for question in ladder(Side.BUY, sku, Rectangle(start=end, end=end + policy.block, nodes=len(group)))
    ]


def _about_buys(wants: Wants, situation: Situation, policy: Policy) -> list[Question]:
    """For as many nodes as might be wanted of each kind and length."""
    start, most = soon(situation.now, policy), max(0, policy.max_nodes - wants.machines)
    nodes: dict[tuple[str, datetime], int] = defaultdict(int)
    for job in wants.jobs:
        for kind in situation.kinds:
            if suits(job, kind) and not too_long(job, policy):
                nodes[kind.sku.id, start + length_for(job, policy)] += job.nodes
    for gpu_type, gpus in wants.short_gpus.items():
        for kind in situation.kinds:
            if kind.sku.gpu_type == gpu_type:
                nodes[kind.sku.id, start + policy.block] += -(-gpus // kind.gpus)
    return [
        question
        for (sku, end), wanted_nodes in nodes.items()
        if most
        for question in ladder(Side.BUY, sku, Rectangle(start=start, end=end, nodes=min(wanted_nodes, most)))
    ]


def _about_sales(spare: Iterable[Spare], policy: Policy, now: datetime) -> list[Question]:
    return [
        Question(side=Side.SELL, sku=sku, window=Rectangle(start=soon(now, policy), end=until, nodes=1))
        for sku, until in sorted({(each.sku, each.until) for each in spare})
    ]


def _extends(
    endings: Iterable[Ending], kinds: dict[str, Kind], quotes: Quotes, policy: Policy
) -> tuple[list[Action], list[str]]:
    actions, notes = [], []
    for sku, end, group in _by_end(endings):
        if sku not in kinds:
            continue
        action, note = _extend(kinds[sku], end, group, quotes, policy)
        actions += [action] if action else []
        notes += [note] if note else []
    return actions, notes


def _extend(
    kind: Kind, end: datetime, group: list[Ending], quotes: Quotes, policy: Policy
) -> tuple[Action | None, str | None]:
    """As many of them as will pay what so many cost."""
    generous = sorted(group, key=lambda each: _worth(each, kind, policy), reverse=True)
    price = None
    for count in range(len(generous), 0, -1):
        window = Rectangle(start=end, end=end + policy.block, nodes=count)
        price, most = quotes.price(Side.BUY, kind.sku.id, window), _worth(generous[count - 1], kind, policy)
        if price is not None and price <= most:
            limit = bid(price, most if most.is_finite() else None, policy)
            names = ", ".join(each.node_id for each in generous[:count])
            reason = (
                f"{count} node(s) of {kind.sku.alias} that are needed ({names}) end at {end:%H:%M}:"
                f" {policy.block_minutes} more minutes at {usd(price)} per node-hour."
            )
            left = f"{len(group) - count} node(s) end at {end:%H:%M} and cost more than their jobs will pay."
            return _buy(ActionKind.EXTEND, kind, window, limit, reason), left if count < len(group) else None
    why = "nobody offers the time that follows" if price is None else f"{usd(price)} is more than their jobs will pay"
    return None, f"{len(group)} node(s) of {kind.sku.alias} end at {end:%H:%M}: {why}."


def _worth(ending: Ending, kind: Kind, policy: Policy) -> Decimal:
    """Dollars per node-hour that somebody on this node will pay: of several, the most."""
    offers = [acceptable(wish, kind, policy) for wish in ending.wishes]
    return max(Decimal("Infinity") if each is None else each for each in offers)


def _buy(kind: ActionKind, of: Kind, window: Rectangle, limit: Decimal, reason: str) -> Action:
    return Action(kind=kind, sku=of.sku.id, window=window, limit_price=limit, reason=reason)


def _sales(
    spare: Iterable[Spare], kinds: dict[str, Kind], quotes: Quotes, policy: Policy, now: datetime
) -> list[Action]:
    ordered = sorted(spare, key=lambda each: (each.sku, each.until, each.node_id))
    return [
        _sale(kinds[sku], until, list(group), quotes, policy, now)
        for (sku, until), group in groupby(ordered, key=lambda each: (each.sku, each.until))
        if sku in kinds
    ]


def _sale(kind: Kind, until: datetime, group: list[Spare], quotes: Quotes, policy: Policy, now: datetime) -> Action:
    window = Rectangle(start=soon(now, policy), end=until, nodes=len(group))
    one = Rectangle(start=window.start, end=until, nodes=1)
    quoted = quotes.price(Side.SELL, kind.sku.id, one)
    limit = None if quoted is None else on_tick(quoted * policy.sell_down)
    idle = min(now - each.idle_since for each in group)
    said = (
        f"{len(group)} node(s) of {kind.sku.alias} ({', '.join(each.node_id for each in group)}) have been idle for"
        f" {idle.total_seconds() // 60:.0f} minutes or more and end at {until:%H:%M}"
    )
    if quoted is None or not limit:
        return Action(
            kind=ActionKind.LAPSE, sku=kind.sku.id, window=window, limit_price=None, reason=f"{said}: nobody bids."
        )
    return _buy(ActionKind.SELL, kind, window, limit, f"{said}: the bid is {usd(quoted)} per node-hour.")


def _by_end(endings: Iterable[Ending]) -> list[tuple[str, datetime, list[Ending]]]:
    ordered = sorted(endings, key=lambda each: (each.end, each.sku, each.node_id))
    return [(sku, end, list(group)) for (end, sku), group in groupby(ordered, key=lambda each: (each.end, each.sku))]
