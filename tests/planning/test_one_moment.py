"""What a plan looks at is of one moment, whatever the market's sensors write while it is being read."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from scalar.capacity.placing import run_pass
from scalar.database import Database, Transaction
from scalar.errors import Conflict
from scalar.market.boarding import board
from scalar.market.model import OrderState
from scalar.market.trading import trade
from scalar.planning.executing import execute
from scalar.planning.model import Policy
from scalar.planning.planning import make_plan, situation_within
from scalar.planning.wants import wanted
from tests import made_up
from tests.market.trading_floor import Floor
from tests.sandbox_process import SandboxMarket

POLICY = Policy()
pools = itertools.count(1)

READS = {
    "machines": "from instances i",
    "blocks": "from blocks",
    "seats": "from seatings where",
    "open orders": "from orders where ended_at is null",
    "claims": "join plan_actions",
}
"""The statements of a reading in their order, each by a piece of it."""


class Interrupted:
    """A transaction; right before one of its statements, something else happens on another connection, and ends."""

    def __init__(self, tx: Transaction, before: str, happens: Callable[[], Any], done: list[str]) -> None:
        self._tx = tx
        self._before = before
        self._happens = happens
        self._done = done

    def execute(self, query: str, *parameters: Any) -> Any:
        if self._before in query and not self._done:
            self._done.append(query)
            other = Thread(target=self._happens, daemon=True)
            other.start()
            other.join(20)
            assert not other.is_alive(), "it waits for a lock that the reader holds"
        return self._tx.execute(query, *parameters)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(Path(tmp_path_factory.mktemp("market"))) as running:
        yield running


@pytest.fixture
def floor(sandbox: SandboxMarket, database: Database) -> Iterator[Floor]:
    made = Floor(sandbox, database, pool=f"pool{next(pools)}")
    yield made
    sandbox.no_faults()
    made.client.close()


@pytest.fixture
def ordered(floor: Floor) -> Floor:
    """A job waits; the plan has ordered a node for it; the market takes its time, and has just filled the order."""
    with floor.database.transaction() as tx:
        customer = made_up.a_customer(tx)
        made_up.a_job_of(tx, customer, now=floor.now(), gpus=8, gpu_type="H100", max_runtime_seconds=7200)
        run_pass(tx, floor.now())
    make_plan(floor.desk, POLICY)
    with floor.database.transaction() as tx:
        execute(tx, caps=floor.settings.caps, policy=POLICY, now=floor.now())
    floor.sandbox.fault("slow_fills", seconds=30, times=1)
    trade(floor.desk)
    floor.sandbox.advance(60)
    assert order_state(floor) == OrderState.PENDING
    return floor


@pytest.fixture
def filled(ordered: Floor) -> Floor:
    """We know that it has filled, and its seat is empty."""
    trade(ordered.desk)
    assert order_state(ordered) == OrderState.FILLED
    return ordered


@pytest.fixture
def failed(filled: Floor) -> Floor:
    """Its machine ran, and has just died, before it joined."""
    board(filled.desk)
    filled.sandbox.advance(120)
    board(filled.desk)
    filled.sandbox.fault("dies", instance=filled.rows("select market_id from instances")[0]["market_id"])
    return filled


@pytest.mark.parametrize("read", READS)
def test_a_fill_that_is_written_meanwhile_is_not_bought_again(ordered: Floor, read: str):
    assert actions_while(ordered, read, lambda: trade(ordered.desk)) == ()
    assert order_state(ordered) == OrderState.FILLED


@pytest.mark.parametrize("read", READS)
def test_a_seat_that_is_taken_meanwhile_is_not_bought_again(filled: Floor, read: str):
    assert actions_while(filled, read, lambda: board(filled.desk)) == ()
    assert [row["state"] for row in filled.rows("select state from instances")] == ["booting"]


@pytest.mark.parametrize("read", READS)
def test_a_machine_that_is_lost_meanwhile_is_not_bought_again(failed: Floor, read: str):
    """Its seat is free again, for another machine."""
    assert actions_while(failed, read, lambda: board(failed.desk)) == ()
    assert [row["state"] for row in failed.rows("select state from instances")] == ["ended"]


@pytest.mark.parametrize("read", READS)
def test_within_a_transaction_it_is_read_until_nothing_moves(ordered: Floor, read: str):
    """That of a sale, which must see the orders that its own transaction has placed."""
    done: list[str] = []
    with ordered.database.transaction() as tx:
        tx.execute("update skus set alias = 'renamed within'")
        interrupted: Any = Interrupted(tx, READS[read], lambda: trade(ordered.desk), done)
        seen = situation_within(interrupted, ordered.now())
    assert done
    assert {kind.sku.alias for kind in seen.kinds} == {"renamed within"}
    assert seen.open_orders == ()
    window = ordered.rows("select starts_at, ends_at from orders")[0]
    assert sum((each.end - each.start for each in seen.seats), timedelta()) == window["ends_at"] - window["starts_at"]
    assert wanted(seen, POLICY).jobs == ()


def test_what_never_stands_still_is_a_conflict(ordered: Floor):
    names = itertools.count()
    done: list[str] = []

    def rename() -> None:
        with ordered.database.transaction() as tx:
            tx.execute("update skus set alias = 'name ' || %s::text", [next(names)])
        done.clear()

    with ordered.database.transaction() as tx:
        interrupted: Any = Interrupted(tx, READS["machines"], rename, done)
        with pytest.raises(Conflict, match="faster than they can be read"):
            situation_within(interrupted, ordered.now())


def actions_while(floor: Floor, read: str, happens: Callable[[], Any]) -> Any:
    """What a plan wants, while whose reading that happens."""
    done: list[str] = []

    @contextmanager
    def transact() -> Iterator[Any]:
        with floor.database.transaction() as tx:
            yield Interrupted(tx, READS[read], happens, done)

    planned = make_plan(floor.desk_with(floor.client, transact), POLICY)
    assert done, f"no statement of {read} was seen"
    return planned.plan.actions


def order_state(floor: Floor) -> str:
    (row,) = floor.rows("select state from orders")
    return str(row["state"])
