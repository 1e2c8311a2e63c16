"""A market with a provider and two customers, and orders said in minutes."""

from sandbox.market.engine import Engine
from sandbox.market.rules import MINUTE, Rules
from sandbox.market.schedules import Schedule
from sandbox.market.values import NewOrder, Outcome, Side

T = 1_800_000_000
H100 = "isku_h100"
CASH = 10**9


def a_market(*, nodes: int = 100, minutes: int = 1440, **rules) -> Engine:
    """`provider` owns `nodes` nodes of H100; `ann` and `bob` have cash; each has a pool of the same name."""
    engine = Engine(Rules(**rules), remember_changes=True)
    engine.open_account("provider", originating=True)
    engine.open_pool("provider", "provider")
    engine.grant("provider", H100, between(0, minutes, nodes))
    for customer in ("ann", "bob"):
        engine.open_account(customer, cash=CASH, now=T)
        engine.open_pool(customer, customer)
    return engine


def between(start: int, end: int, nodes: int) -> Schedule:
    """`nodes` nodes from minute `start` to minute `end`."""
    return Schedule.rectangle(at(start), at(end), nodes)


def at(minute: int) -> int:
    return T + minute * MINUTE


def a_bid(id: str = "bid", who: str = "ann", **changes) -> NewOrder:
    return an_order(id, who, Side.BUY, **changes)


def an_ask(id: str = "ask", who: str = "provider", **changes) -> NewOrder:
    return an_order(id, who, Side.SELL, **changes)


def an_order(
    id, who, side, *, nodes=1, start=0, end=60, limit=100, standing=False, partial=False, sku=H100
) -> NewOrder:
    return NewOrder(
        id=id,
        account_id=who,
        pool_id=who,
        side=side,
        sku=sku,
        start=at(start),
        end=at(end),
        nodes=nodes,
        limit=limit,
        allow_standing=standing,
        allow_partial=partial,
    )


def resting(engine: Engine, order: NewOrder, *, now: int = T) -> None:
    """Submits it and sees that it rests."""
    assert engine.submit(order, now).order.status.live


def who_traded(outcome: Outcome) -> list[tuple[str, int, int]]:
    """(the other order, price, node-minutes) of each trade."""
    mine = outcome.order.id
    return [
        (t.buy_order_id if t.sell_order_id == mine else t.sell_order_id, t.price, t.delta.node_minutes)
        for t in outcome.trades
    ]
