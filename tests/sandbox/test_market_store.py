import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.market.rules import DAY, Rules
from sandbox.market.store import Store
from sandbox.market.values import OrderStatus
from tests.sandbox.random_calls import CALLS, RULES, opened, play, state
from tests.sandbox.traders import T, a_bid, a_market, an_ask, resting


@settings(max_examples=100, deadline=None)
@given(RULES, CALLS, st.integers(0, 30))
def test_a_loaded_market_is_the_live_one_and_goes_on_alike(rules, calls, killed_after):
    store = Store(":memory:")
    live, _ = opened(rules)
    store.save(live)
    now = play(live, None, calls[:killed_after], lambda *_: store.save(live))
    loaded = store.load(rules)
    assert state(loaded) == state(live)
    # What isn't seen from outside shows in what the two do next.
    assert play(live, None, calls[killed_after:], now=now) == play(loaded, None, calls[killed_after:], now=now)
    assert state(loaded) == state(live)
    assert loaded.fees == live.fees
    store.close()


def test_an_empty_file_is_an_empty_market(tmp_path):
    store = Store(tmp_path / "market.db")
    assert list(store.load().orders()) == []
    store.close()


def test_what_is_trimmed_is_gone_from_the_file_too(tmp_path):
    store = Store(tmp_path / "market.db")
    live = a_market(minutes=100 * 1440, history_days=1)
    resting(live, an_ask(end=100 * 1440, standing=True, partial=True))
    live.submit(a_bid(), T)
    store.save(live)
    live.trim(T + 3 * DAY)
    store.save(live)
    loaded = store.load(Rules(history_days=1))
    assert [order.id for order in loaded.orders()] == ["ask"]
    assert loaded.order("ask") == live.order("ask")
    assert loaded.account("ann") == live.account("ann")
    assert loaded.transactions("ann") == live.transactions("ann") == ()
    assert loaded.pool("provider") == live.pool("provider")
    loaded.cancel("ask", T + 3 * DAY)
    assert loaded.pool("provider").offered == {}
    store.close()


def test_a_failed_save_leaves_the_file_as_it_was_and_can_be_repeated(tmp_path):
    store = Store(tmp_path / "market.db")
    live = a_market()
    store.save(live)
    kept = state(store.load())
    live.submit(a_bid(standing=True), T)
    store.connection.execute(
        "create trigger full before insert on market_orders begin select raise(abort, 'full'); end"
    )
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        store.save(live)
    assert state(store.load()) == kept
    store.connection.execute("drop trigger full")
    store.save(live)
    assert state(store.load()) == state(live) != kept
    store.close()


def test_a_killed_process_has_kept_all_it_answered(tmp_path):
    """It answers each order's number after it is saved, and is killed while it is at it."""
    path = tmp_path / "market.db"
    program = f"""
        from sandbox.market.store import Store
        from tests.sandbox.traders import T, a_bid, a_market
        store, market, n = Store({str(path)!r}), a_market(), 0
        while True:
            market.submit(a_bid(f"bid{{n}}", limit=1, standing=True), T)
            store.save(market)
            print(n, flush=True)
            n += 1
    """
    market = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert market.stdout is not None
    for _ in range(50):
        market.stdout.readline()
    os.kill(market.pid, signal.SIGKILL)
    answered = 49 + len([line for line in market.stdout if line.endswith("\n")])
    market.stdout.close()
    market.wait()
    store = Store(path)
    loaded = store.load()
    kept = [order.status for order in loaded.orders()]
    assert kept == [OrderStatus.STANDING] * len(kept)
    assert answered + 1 <= len(kept) <= answered + 2
    assert loaded.account("ann").reserved == 60 * len(kept)
    store.close()
