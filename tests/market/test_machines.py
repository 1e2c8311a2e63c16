"""What two processes do at once, and what the market does late: no machine is lost, doubled, or taken from its work."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Thread
from typing import Any

import httpx
import pytest
from test_boarding import a_running_job, buy, man, node
from trading_floor import Floor, agent_environment

from scalar.capacity import fleet
from scalar.capacity.model import NodeState
from scalar.capacity.placing import run_pass
from scalar.database import Database, Lock, Transaction, lock
from scalar.errors import Conflict
from scalar.market import instances, joining, machines, orders, seats
from scalar.market.boarding import board
from scalar.market.comparing import reconcile
from scalar.market.errors import MarketAnswerMalformed
from scalar.market.instances import ASK_LEASE
from scalar.market.machines import BOOT_LIMIT
from scalar.market.model import Order, OrderRequest, Rectangle, Side, minute_of
from scalar.market.orders import By
from scalar.market.selling import set_aside
from scalar.market.trading import trade
from tests import made_up

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


# Created at the market, and nobody knows


def test_a_machine_that_joins_before_its_creation_is_written_down_is_known_all_the_same(floor: Floor) -> None:
    buy(floor, minutes=120)
    floor.sandbox.fault("dropped", method="POST", path="/instances$", times=1)
    board(floor.desk)
    floor.sandbox.no_faults()
    floor.sandbox.advance(300)
    (machine,) = floor.machines()
    joined = floor.boot(machine)
    board(floor.desk)
    assert floor.rows("select state, market_id from instances") == [{"state": "joined", "market_id": machine["id"]}]
    assert reconcile(floor.desk).findings == []
    floor.sandbox.fault("dies")
    floor.sandbox.advance(60)
    board(floor.desk)
    assert node(floor, joined).state is NodeState.GONE


def test_a_call_that_the_market_may_be_at_still_is_not_made_again_at_once(floor: Floor) -> None:
    buy(floor)
    floor.sandbox.fault("dropped", method="POST", path="/instances$", times=1)
    floor.sandbox.fault("empty_list", method="GET", path="/instances", times=2)
    board(floor.desk)
    board(floor.desk)
    floor.sandbox.advance(ASK_LEASE.total_seconds() - 60)
    board(floor.desk)
    assert len(floor.machines()) == 1
    assert floor.rows("select state, asks from instances") == [{"state": "booting", "asks": 1}]


def test_of_two_machines_that_came_of_one_the_one_that_can_join_stays(floor: Floor) -> None:
    """The first call is done by the market only after the second: what came of it is ended, and could never join."""
    buy(floor, minutes=120)
    late: list[httpx.Request] = []

    def swallow(request: httpx.Request) -> None:
        if request.method == "POST" and request.url.path.endswith("/instances"):
            late.append(request)
            raise httpx.ReadTimeout("no answer", request=request)

    with floor.meddled(before=swallow) as desk:
        board(desk)
    floor.sandbox.advance(ASK_LEASE.total_seconds() + 1)
    board(floor.desk)
    (right,) = floor.machines()
    floor.sandbox.advance(180)
    (first,) = late
    with httpx.Client() as wire:
        # The market refuses a second machine of a name. Nothing in its schema says that it does.
        body = {**json.loads(first.content), "name": "another"}
        wire.post(first.url, json=body, headers={"Authorization": first.headers["Authorization"]}).raise_for_status()
    wrong = next(each for each in floor.machines() if each["id"] != right["id"])
    with pytest.raises(Exception, match="join token"):
        floor.boot(wrong)
    works = floor.boot(right)
    board(floor.desk)
    board(floor.desk)
    assert [each["id"] for each in floor.machines()] == [right["id"]]
    assert node(floor, works).state is NodeState.READY
    assert floor.rows("select market_id, node_id from instances") == [{"market_id": right["id"], "node_id": works}]


def test_who_was_slower_than_his_lease_asks_for_nothing(floor: Floor) -> None:
    buy(floor)
    with floor.database.transaction() as tx:
        machines.take_seats(tx, floor.now())
        (slow,) = instances.lease_wanted(tx, floor.now(), limit=20)
    floor.sandbox.advance(ASK_LEASE.total_seconds() + 1)
    with floor.database.transaction() as tx:
        (next_one,) = instances.lease_wanted(tx, floor.now(), limit=20)
        asked = machines.ask(tx, next_one, floor.now())
    with pytest.raises(Conflict), floor.database.transaction() as tx:
        machines.ask(tx, slow, floor.now())
    with floor.database.transaction() as tx:
        assert fleet.admit(tx, asked.token.get_secret_value(), floor.now()).instance_id == slow.id
        assert not instances.created(tx, slow.id, "late", ask=slow.asks, now=floor.now())


def test_a_machine_that_came_late_for_the_markets_sake_has_its_time_to_boot(floor: Floor) -> None:
    buy(floor, minutes=240)
    floor.sandbox.fault("server_error", path="/instances", until=floor.sandbox.now + 1800)
    board(floor.desk)
    floor.sandbox.advance(1801)
    board(floor.desk)
    board(floor.desk)
    assert floor.rows("select state from instances") == [{"state": "booting"}]


def test_a_machine_that_the_market_never_starts_is_replaced(floor: Floor) -> None:
    buy(floor, minutes=240)
    floor.sandbox.fault("never_boots")
    board(floor.desk)
    floor.sandbox.advance(BOOT_LIMIT.total_seconds() + 121)
    board(floor.desk)
    assert floor.rows("select end_reason from instances where state = 'ended'") == [
        {"end_reason": "the market never started it"}
    ]


def test_a_node_that_an_operator_marked_gone_frees_its_seat(floor: Floor) -> None:
    buy(floor, minutes=240)
    (lost,) = man(floor)
    with floor.database.transaction() as tx:
        fleet.mark_gone(tx, lost, "operator:x", floor.now())
    board(floor.desk)
    (other,) = man(floor)
    assert node(floor, other).state is NodeState.READY
    assert len(floor.machines()) == 1


# Ended, and it works


def test_an_overdue_machine_that_comes_before_it_is_ended_stays(floor: Floor) -> None:
    machine = an_overdue_machine(floor)
    comes = meanwhile(
        floor, "select pg_advisory_xact_lock", lambda: boot_and_work(floor, machine), after="unfit is not"
    )
    with comes as (desk, done):
        board(desk)
    assert done
    assert floor.rows("select state from nodes") == [{"state": "ready"}]
    assert floor.rows("select state from jobs") == [{"state": "placed"}]
    assert len(floor.machines()) == 1


def test_an_overdue_machine_that_comes_while_it_is_ended_is_turned_away(floor: Floor) -> None:
    machine = an_overdue_machine(floor)
    turned_away = []

    def before(request: httpx.Request) -> None:
        if request.url.path.endswith("/terminate"):
            with pytest.raises(Conflict, match="not wanted any more"):
                floor.boot(machine)
            turned_away.append(request)

    with floor.meddled(before=before) as desk:
        board(desk)
    assert turned_away
    assert floor.rows("select state, end_reason from instances") == [
        {"state": "ended", "end_reason": "its agent never called"}
    ]


def test_a_machine_that_has_joined_and_is_being_ended_passes_no_gate_even_where_the_market_is_away(
    floor: Floor,
) -> None:
    buy(floor, minutes=240)
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    joined = join(floor)
    floor.sandbox.advance(BOOT_LIMIT.total_seconds() + 1)
    floor.sandbox.fault("server_error", path="/terminate")
    board(floor.desk)
    with floor.database.transaction() as tx:
        joining.heard(tx, joined, floor.now())
    assert node(floor, joined).state is NodeState.CHECKING
    assert floor.rows("select state, ended_at from instances") == [{"state": "joined", "ended_at": None}]
    floor.sandbox.no_faults()
    board(floor.desk)
    assert node(floor, joined).state is NodeState.GONE
    assert floor.rows("select end_reason from instances where state = 'ended'") == [
        {"end_reason": "its agent joined and was not heard again"}
    ]


def test_a_machine_that_is_being_ended_moves_on_nowhere(floor: Floor) -> None:
    an_overdue_machine(floor)
    (row,) = floor.rows("select until from instances")
    floor.sandbox.fault("server_error", path="/terminate")
    board(floor.desk)
    buy(floor, minutes=60, start=row["until"])
    board(floor.desk)
    assert floor.rows("select until from instances where end_reason is not null") == [row]


# Sold, and somebody sits on it


def test_a_seat_that_is_sold_while_it_is_given_a_machine_has_none_in_the_time_that_was_sold(floor: Floor) -> None:
    end = floor.order(buy(floor, minutes=240)).request.window.end
    start = minute_of(floor.now()) + MINUTE
    sale = floor.sell(start=start, minutes=(end - start) // MINUTE)
    floor.sandbox.fault("slow_fills", seconds=30)
    trade(floor.desk)
    floor.sandbox.advance(60)
    floor.sandbox.no_faults()
    with meanwhile(floor, "from orders where ended_at", lambda: trade(floor.desk), after="from sales") as (desk, done):
        board(desk)
    assert done
    assert floor.order(sale.id).state == "filled"
    assert sat_and_sold(floor) == []


def test_a_machine_that_ends_while_it_is_moved_on_keeps_no_seat(floor: Floor) -> None:
    first = buy(floor, minutes=60)
    man(floor)
    buy(floor, minutes=60, start=floor.order(first).request.window.end)
    (row,) = floor.rows("select id from instances")

    def off() -> None:
        with floor.database.transaction() as tx:
            machines.off(tx, row["id"], "it burnt down", floor.now())

    with floor.database.transaction() as real:
        tx: Any = Interrupted(real, floor.database, "insert into seatings", off)
        machines.take_seats(tx, floor.now())
    tx.other.join(20)
    assert floor.rows("select state from instances") == [{"state": "ended"}]
    assert floor.rows("select * from seatings where upper(during) > (select max(ended_at) from instances)") == []


def test_a_seat_that_a_sale_counts_on_gets_a_machine_until_the_sale_begins(floor: Floor) -> None:
    window = floor.order(buy(floor, minutes=600, start=minute_of(floor.now()) + 30 * MINUTE)).request.window
    sale = put_up(floor, window.start + HOUR, window.end)
    floor.sandbox.fault("slow_fills", seconds=7 * 3600)
    trade(floor.desk)
    floor.sandbox.advance((window.start - floor.now()).total_seconds() - 60)
    (works,) = man(floor)
    assert node(floor, works).available_until == window.start + HOUR
    with floor.database.transaction() as tx:
        job = made_up.a_job_of(tx, made_up.a_customer(tx), now=floor.now(), gpus=8, max_runtime_seconds=7200)
        run_pass(tx, floor.now())
    assert floor.rows(f"select state from jobs where id = '{job.id}'") == [{"state": "queued"}]
    assert reconcile(floor.desk).findings == []
    with floor.database.transaction() as tx:
        orders.call_off(tx, sale.id, actor="test", now=floor.now())
    floor.sandbox.no_faults()
    for _ in range(2):
        trade(floor.desk)
        floor.sandbox.advance(60)
    assert floor.order(sale.id).state == "cancelled"
    board(floor.desk)
    assert node(floor, works).available_until == window.end


def test_a_machine_that_works_moves_on_to_no_seat_that_a_sale_counts_on(floor: Floor) -> None:
    first = floor.order(buy(floor, minutes=60)).request.window
    (works,) = man(floor)
    with floor.database.transaction() as tx:
        a_running_job(tx, floor, gpus=8)
    buy(floor, minutes=240, start=first.end)
    put_up(floor, first.end, first.end + 4 * HOUR)
    board(floor.desk)
    assert node(floor, works).available_until == first.end


def test_a_sale_that_fills_takes_at_each_moment_the_seat_that_stands_empty(floor: Floor) -> None:
    """One seat stands empty in the first hour, another in the second: the machine that works on the others stays."""
    now = minute_of(floor.now()) + MINUTE
    buy(floor, minutes=60, start=now)
    (works,) = man(floor)
    with floor.database.transaction() as tx:
        a_running_job(tx, floor, gpus=8)
    first = buy(floor, minutes=110, start=now + 10 * MINUTE)
    (here,) = floor.rows("select id from instances")
    sit(floor, here["id"], first, now + HOUR)
    buy(floor, minutes=60, start=now + HOUR)
    sale = put_up(floor, now + 10 * MINUTE, now + 2 * HOUR)
    trade(floor.desk)
    floor.sandbox.advance(60)
    trade(floor.desk)
    assert floor.order(sale.id).state == "filled"
    assert node(floor, works).available_until == now + 2 * HOUR
    assert sat_and_sold(floor) == []


def test_a_seat_that_somebody_moves_on_to_within_the_window_is_not_taken_for_empty(floor: Floor) -> None:
    """The only seat that is empty when the window begins is that of a machine that works, a little later."""
    now = minute_of(floor.now()) + MINUTE
    end = now + 3 * HOUR
    buy(floor, minutes=62, start=now)
    (works,) = man(floor)
    with floor.database.transaction() as tx:
        a_running_job(tx, floor, gpus=8)
    buy(floor, minutes=120, start=now + HOUR)
    board(floor.desk)
    assert node(floor, works).available_until == end
    buy(floor, minutes=118, start=now + 62 * MINUTE)
    sale = put_up(floor, now + HOUR, end)
    trade(floor.desk)
    floor.sandbox.advance(60)
    trade(floor.desk)
    assert floor.order(sale.id).state == "filled"
    assert node(floor, works).available_until == end
    assert sat_and_sold(floor) == []


def test_an_idle_machine_whose_time_is_up_within_the_window_makes_up_for_none_that_works(floor: Floor) -> None:
    now = minute_of(floor.now()) + MINUTE
    buy(floor, minutes=60, start=now)
    man(floor)
    buy(floor, minutes=240, start=now + 30 * MINUTE)
    floor.sandbox.advance((now + 29 * MINUTE - floor.now()).total_seconds())
    (longer,) = man(floor)
    with floor.database.transaction() as tx:
        tx.execute("update nodes set state = 'draining' where id <> %s", [longer])
        a_running_job(tx, floor, gpus=8)
        tx.execute("update nodes set state = 'ready' where id <> %s", [longer])
    with pytest.raises(Conflict, match=r"1 machine\(s\) of this kind would have to stop for it"):
        put_up(floor, now + 40 * MINUTE, now + 3 * HOUR)
    put_up(floor, now + 40 * MINUTE, now + HOUR)


# Locks are taken in one order


def test_a_second_try_to_join_and_the_end_of_the_machine_wait_for_each_other(floor: Floor) -> None:
    buy(floor, minutes=240)
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    join(floor)
    (row,) = floor.rows("select id from instances")
    turned_away: list[Exception] = []

    def again() -> None:
        try:
            join(floor)
        except Conflict as error:
            turned_away.append(error)

    with floor.database.transaction() as tx:
        lock(tx, Lock.SCHEDULING_PASS)
        other = Thread(target=again, daemon=True)
        other.start()
        wait_until_it_waits(floor.database, other)
        machines.off(tx, row["id"], "its agent never called", floor.now())
    other.join(20)
    assert not other.is_alive()
    assert [str(error) for error in turned_away] == ["This machine is not wanted any more."]


def test_a_machine_that_is_heard_while_its_time_changes_waits_for_that(floor: Floor) -> None:
    buy(floor, minutes=240)
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    joined = join(floor)
    (row,) = floor.rows("select id, until from instances")

    def hear() -> None:
        with floor.database.transaction() as tx:
            joining.heard(tx, joined, floor.now())

    with floor.database.transaction() as tx:
        instances.instance(tx, row["id"], for_update=True)
        other = Thread(target=hear, daemon=True)
        other.start()
        wait_until_it_waits(floor.database, other)
        tx.execute("update nodes set available_until = %s where id = %s", [row["until"] - HOUR, joined])
    other.join(20)
    assert node(floor, joined).state is NodeState.READY
    assert node(floor, joined).available_until == row["until"] - HOUR


# Which pool is ours


def test_two_pools_of_our_name_stop_no_tick(floor: Floor) -> None:
    floor.sandbox.a_pool(floor.settings.pool)

    def twice(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not request.url.path.endswith("/pools"):
            return None
        body = response.json()
        body["data"] += [{**each, "id": each["id"] + "x"} for each in body["data"]]
        return httpx.Response(200, json=body)

    order = floor.want()
    with floor.meddled(after=twice) as desk:
        with pytest.raises(MarketAnswerMalformed, match="2 pools named 'scalar'"):
            desk.pool()
        assert "2 pools" in trade(desk).problems[0]
        assert "2 pools" in board(desk).problems[0]
    assert floor.order(order.id).state == "intended"


class Interrupted:
    """A transaction; before one of its statements, something else happens on another connection, and ends or waits."""

    def __init__(self, tx: Transaction, database: Database, before: str, happens: Callable[[], Any]) -> None:
        self._tx, self._database, self._before = tx, database, before
        self.other = Thread(target=happens, daemon=True)

    def execute(self, query: str, *parameters: Any) -> Any:
        if self._before in query and self.other.ident is None:
            self.other.start()
            wait_until_it_waits(self._database, self.other)
        return self._tx.execute(query, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)


@contextmanager
def meanwhile(floor: Floor, before: str, happens: Callable[[], Any], *, after: str) -> Iterator[tuple[Any, list[str]]]:
    """A desk; before the first such statement that comes after such another one, something else happens meanwhile."""
    done: list[str] = []
    seen: list[str] = []
    other = Thread(target=happens, daemon=True)

    class Watched:
        def __init__(self, tx: Transaction) -> None:
            self._tx = tx

        def execute(self, query: str, *parameters: Any) -> Any:
            if before in query and seen and not done:
                done.append(query)
                other.start()
                wait_until_it_waits(floor.database, other)
            if re.search(after, query):
                seen.append(query)
            return self._tx.execute(query, *parameters)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tx, name)

    @contextmanager
    def transact() -> Iterator[Any]:
        with floor.database.transaction() as tx:
            yield Watched(tx)

    yield floor.desk_with(floor.client, transact), done
    if done:
        other.join(20)
        assert not other.is_alive()


def wait_until_it_waits(database: Database, other: Thread) -> None:
    """Until it has done its work, or waits for a lock that somebody else holds."""
    deadline = time.monotonic() + 20
    while other.is_alive():
        with database.transaction() as tx:
            row = tx.execute(
                """select count(*) as n from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'"""
            ).fetchone()
        if row is not None and row["n"]:
            return
        assert time.monotonic() < deadline, "it neither ends nor waits for a lock"
        time.sleep(0.01)


def an_overdue_machine(floor: Floor) -> dict[str, Any]:
    buy(floor, minutes=600)
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    floor.sandbox.advance(BOOT_LIMIT.total_seconds() + 1)
    (machine,) = floor.machines()
    return machine


def boot_and_work(floor: Floor, machine: dict[str, Any]) -> None:
    floor.boot(machine)
    with floor.database.transaction() as tx:
        a_running_job(tx, floor, gpus=8)


def join(floor: Floor) -> str:
    """Its agent joins, and is not heard yet; the id of the node."""
    (machine,) = floor.machines()
    environment = agent_environment(machine["cloud_init_user_data"])
    with floor.database.transaction() as tx:
        joined, _ = joining.join(
            tx,
            environment["SCALAR_AGENT_JOIN_TOKEN"],
            made_up.facts(environment["SCALAR_AGENT_NAME"]),
            floor.now(),
            process_runtime=True,
        )
    return joined.id


def put_up(floor: Floor, start: datetime, end: datetime) -> Order:
    """A standing sale of one node, as one by hand."""
    request = OrderRequest(
        side=Side.SELL,
        sku=floor.sku.id,
        window=Rectangle(start=start, end=end, nodes=1),
        limit_price=Decimal("0.06"),
        allow_standing=True,
        purpose="test",
    )
    with floor.database.transaction() as tx:
        keep_free = set_aside(tx, request, floor.now())
        return orders.place(
            tx, request, by=By(actor="test"), caps=floor.settings.caps, now=floor.now(), keep_free=keep_free
        )


def sit(floor: Floor, instance_id: str, order_id: str, start: datetime) -> None:
    """That machine has the seat that was bought with this order, from then on."""
    (block,) = floor.rows(f"select id from blocks where order_id = '{order_id}'")
    with floor.database.transaction() as tx:
        (there,) = [each for each in seats.free_seats(tx, floor.now()) if each.block_id == block["id"]]
        seats.sit(tx, instance_id, replace(there, start=start))


def sat_and_sold(floor: Floor) -> list[dict[str, Any]]:
    return floor.rows(
        """select s.instance_id, s.during, x.during as sold from seatings s
           join sales x on x.block_id = s.block_id and x.seat = s.seat and x.during && s.during"""
    )
