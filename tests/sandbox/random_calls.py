"""Random calls to a market, and how to make them."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import strategies as st

from sandbox.market.engine import Engine
from sandbox.market.errors import InsufficientBalance, InsufficientCapacity, NotCancellable
from sandbox.market.rules import MINUTE, Rules
from sandbox.market.schedules import Schedule
from sandbox.market.values import NewOrder, Outcome, Side
from tests.sandbox.naive_market import NaiveMarket
from tests.sandbox.traders import H100, T, an_order, at, between

NODES, MINUTES, CASH = 6, 10, 150
TRADERS = ("provider", "ann", "bob")

RULES = st.builds(
    Rules,
    windows=st.sampled_from(["cover", "exact"]),
    execution=st.sampled_from(["resting", "midpoint", "own"]),
    priority=st.sampled_from(["price_time", "price_size_time"]),
    self_trade=st.sampled_from(["skip", "cancel_resting"]),
    partial_ioc_end=st.sampled_from(["cancelled", "filled"]),
    fee_flat=st.sampled_from([0, 2]),
    fee_bps=st.sampled_from([0, 2500]),
)


@dataclass(frozen=True, kw_only=True)
class Submit:
    who: str
    sells: bool
    start: int
    length: int
    nodes: int
    limit: int
    standing: bool
    partial: bool


@dataclass(frozen=True, kw_only=True)
class Cancel:
    nth: int


@dataclass(frozen=True, kw_only=True)
class Wait:
    seconds: int


CALLS = st.lists(
    st.one_of(
        # More often than the others, and mostly standing, so that much trades.
        *[
            st.builds(
                Submit,
                who=st.sampled_from(TRADERS),
                sells=st.booleans(),
                start=st.integers(0, 5),
                length=st.integers(1, 5),
                nodes=st.integers(1, 4),
                limit=st.integers(0, 5),
                standing=st.sampled_from([True, True, False]),
                partial=st.booleans(),
            )
        ]
        * 4,
        st.builds(Cancel, nth=st.integers(0, 30)),
        st.builds(Wait, seconds=st.sampled_from([1, 59, 60, 150])),
    ),
    max_size=30,
)


def opened(rules: Rules) -> tuple[Engine, NaiveMarket]:
    engine = Engine(rules, remember_changes=True)
    for trader in TRADERS:
        engine.open_account(trader, cash=CASH, originating=trader == "provider", now=T)
        engine.open_pool(trader, trader)
    # Ann owns some of it from the start, so that there are resales, and meetings of one's own orders, early on.
    engine.grant("provider", H100, between(0, MINUTES, NODES))
    engine.transfer("provider", "ann", H100, at(0), at(MINUTES), 2)
    owned = {trader: Counter() for trader in TRADERS}
    owned["provider"], owned["ann"] = minutes(between(0, MINUTES, NODES - 2)), minutes(between(0, MINUTES, 2))
    return engine, NaiveMarket(rules=rules, cash=Counter(dict.fromkeys(TRADERS, CASH)), owned=owned)


def asked(call: Submit, id: str, now: int) -> NewOrder:
    """Providers only sell; a start that has passed moves to the current minute."""
    side = Side.SELL if call.sells or call.who == "provider" else Side.BUY
    start = max(call.start, (now - T) // MINUTE)
    return an_order(
        id,
        call.who,
        side,
        nodes=call.nodes,
        start=start,
        end=start + call.length,
        limit=call.limit,
        standing=call.standing,
        partial=call.partial,
    )


def minutes(schedule: Schedule) -> Counter[int]:
    return Counter({m: nodes for start, end, nodes in schedule.steps() for m in range(start // MINUTE, end // MINUTE)})


def outcome_of(engine: Engine, new: NewOrder, now: int) -> Outcome | None:
    """None where its account couldn't pay or its pool couldn't deliver."""
    before = state(engine)
    try:
        return engine.submit(new, now)
    except (InsufficientBalance, InsufficientCapacity):
        assert state(engine) == before
        return None


def cancelled(engine: Engine, order_id: str, now: int) -> bool:
    try:
        engine.cancel(order_id, now)
    except NotCancellable:
        return False
    return True


def state(engine: Engine):
    """All there is to see of a market."""
    return (
        list(engine.orders()),
        [(engine.account(trader), engine.transactions(trader)) for trader in TRADERS],
        [engine.pool(trader) for trader in TRADERS],
        engine.trades(),
        engine.fees,
    )


def play(engine: Engine, naive: NaiveMarket | None, calls, after=lambda *_: None, *, now: int = T) -> int:
    """Makes the calls in both markets, from `now` on, and looks after each with `after(outcome, now)`.

    Gives the time of the last call.
    """
    ids = [order.id for order in engine.orders()]
    for call in calls:
        outcome = None
        if isinstance(call, Wait):
            now += call.seconds
            expired = engine.expire(now)
            assert naive is None or set(expired) == naive.expire(now)
        elif isinstance(call, Submit):
            new = asked(call, f"o{len(ids)}", now)
            outcome = outcome_of(engine, new, now)
            assert naive is None or (outcome is not None) == naive.submit(new, now)
            ids += [new.id] if outcome else []
        elif call.nth < len(ids):
            done = cancelled(engine, ids[call.nth], now)
            assert naive is None or done == naive.cancel(ids[call.nth])
        after(outcome, now)
    return now
