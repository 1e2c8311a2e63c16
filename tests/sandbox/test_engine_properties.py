"""Random calls, in any market: the engine does what the naive market does, and the invariants hold after each call."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.market.rules import MINUTE, Rules
from sandbox.market.schedules import EMPTY, Schedule
from sandbox.market.values import Order, OrderStatus, Outcome, Side
from tests.sandbox.random_calls import CALLS, CASH, MINUTES, NODES, RULES, TRADERS, minutes, opened, play, state
from tests.sandbox.traders import H100, T, an_order, at, between


@settings(max_examples=200, deadline=None)
@given(RULES, CALLS)
def test_the_engine_comes_to_the_same_state_as_the_naive_market(rules, calls):
    engine, naive = opened(rules)

    def same(*_) -> None:
        for trader in TRADERS:
            account, pool = engine.account(trader), engine.pool(trader)
            assert account.cash == naive.cash[trader]
            assert account.reserved == naive.reserved(trader)
            assert minutes(pool.owned.get(H100, EMPTY)) == naive.owned[trader]
            assert minutes(pool.offered.get(H100, EMPTY)) == naive.offered(trader)
        for order in engine.orders():
            other = naive.orders[order.id]
            assert (minutes(order.unfilled), order.spent, order.fee) == (other.left, other.spent, other.fee)
            assert order.status.live == other.live
        assert engine.fees == naive.fees

    play(engine, naive, calls, same)


@settings(max_examples=150, deadline=None)
@given(RULES, CALLS)
def test_nothing_comes_from_nowhere_and_nobody_goes_below_zero(rules, calls):
    engine, _ = opened(rules)

    def sound(*_) -> None:
        accounts = [engine.account(trader) for trader in TRADERS]
        assert sum(account.cash for account in accounts) + engine.fees == CASH * len(TRADERS)
        assert all(account.reserved >= 0 and account.available >= 0 for account in accounts)
        pools = [engine.pool(trader) for trader in TRADERS]
        total = Schedule.of(step for pool in pools for owned in pool.owned.values() for step in owned.steps())
        assert total == between(0, MINUTES, NODES)
        assert all(pool.owned[sku].covers(offered) for pool in pools for sku, offered in pool.offered.items())
        for account in accounts:
            rows = engine.transactions(account.id)
            assert sum(row.amount for row in rows) == account.cash == rows[-1].balance

    play(engine, None, calls, sound)


@settings(max_examples=150, deadline=None)
@given(RULES, CALLS)
def test_every_fill_keeps_to_what_was_asked(rules, calls):
    engine, _ = opened(rules)

    def kept(*_) -> None:
        for order in engine.orders():
            assert all(
                fill.price <= order.limit if order.side is Side.BUY else fill.price >= order.limit
                for fill in order.fills
            )
            assert all(fill.delta.start >= fill.at - fill.at % MINUTE for fill in order.fills)
            assert sum(fill.value for fill in order.fills) == order.spent
            assert Schedule.of(step for fill in order.fills for step in fill.delta.steps()) == order.filled
            assert order.filled.plus(order.unfilled) == order.whole
            assert order.allow_partial or order.filled in (EMPTY, order.whole)
            assert order.allow_standing or not order.status.live
            if rules.partial_ioc_end == "cancelled" or order.allow_standing:
                assert (order.status is OrderStatus.FILLED) == (not order.unfilled)

    play(engine, None, calls, kept)


@settings(max_examples=200, deadline=None)
@given(RULES, CALLS)
def test_nobody_able_to_fill_is_passed_over(rules, calls):
    """After a newcomer no divisible resting order has left what one behind it gave, or the newcomer still wants."""
    engine, _ = opened(rules)

    def fair(outcome: Outcome | None, now: int) -> None:
        if outcome is None or rules.windows == "exact":
            return
        newcomer = outcome.order
        for order in engine.orders(live=True):
            if not order.allow_partial or not could_meet(order, newcomer):
                continue
            ahead = order.unfilled.clip(now - now % MINUTE)
            if newcomer.allow_partial:
                assert not ahead.meet(newcomer.unfilled)
            for trade in outcome.trades:
                behind = engine.order(trade.buy_order_id if newcomer.side is Side.SELL else trade.sell_order_id)
                if rank(order, rules) < rank(behind, rules):
                    assert not ahead.meet(trade.delta)

    play(engine, None, calls, fair)


def could_meet(order: Order, newcomer: Order) -> bool:
    if order.side is newcomer.side or order.account_id == newcomer.account_id:
        return False
    bid, ask = (order, newcomer) if order.side is Side.BUY else (newcomer, order)
    return ask.limit <= bid.limit


def rank(order: Order, rules: Rules) -> tuple[int, int, int]:
    size = order.whole.node_minutes if rules.priority == "price_size_time" else 0
    return (order.limit if order.side is Side.SELL else -order.limit), -size, order.seq


@settings(max_examples=100, deadline=None)
@given(RULES, CALLS)
def test_the_same_calls_give_the_same_market(rules, calls):
    first, second = opened(rules)[0], opened(rules)[0]
    play(first, None, calls)
    play(second, None, calls)
    assert state(first) == state(second)


@settings(max_examples=100, deadline=None)
@given(RULES, CALLS)
def test_when_all_is_cancelled_nothing_is_held(rules, calls):
    engine, _ = opened(rules)
    play(engine, None, calls)
    for order in list(engine.orders(live=True)):
        engine.cancel(order.id, at(20))
    assert [engine.account(trader).reserved for trader in TRADERS] == [0, 0, 0]
    assert [dict(engine.pool(trader).offered) for trader in TRADERS] == [{}, {}, {}]
    assert not list(engine.expire(at(1000)))


@settings(max_examples=150, deadline=None)
@given(RULES, CALLS, st.integers(1, 5), st.integers(1, 4), st.sampled_from(Side))
def test_an_order_posted_as_previewed_fills_at_the_estimate(rules, calls, length, nodes, side):
    """By somebody without orders of their own, whose means are no question."""
    engine, _ = opened(rules)
    play(engine, None, calls)
    engine.open_account("carl", cash=10**6, now=T)
    engine.open_account("carla", originating=True)
    who = "carl" if side is Side.BUY else "carla"
    engine.open_pool(who, who)
    if side is Side.SELL:
        engine.grant(who, H100, between(0, 40, nodes))
    now = at(6)
    engine.expire(now)
    preview = engine.preview(side, [H100], now, length * MINUTE, nodes, now=now)
    limit = preview.price if preview else (10 if side is Side.BUY else 0)
    outcome = engine.submit(an_order("new", who, side, nodes=nodes, start=6, end=6 + length, limit=limit), now)
    assert (outcome.order.status is OrderStatus.FILLED) == (preview is not None)
    assert preview is None or outcome.order.spent == preview.value
