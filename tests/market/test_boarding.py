"""From a block to nodes that work, and off again, against a real market."""

from datetime import timedelta
from decimal import Decimal

import pytest
from trading_floor import Floor, Killed, Steps, agent_environment

from scalar.capacity import store as capacity
from scalar.capacity.model import NodeState
from scalar.capacity.placing import run_pass
from scalar.errors import Conflict, NotAuthenticated
from scalar.market import statement
from scalar.market.boarding import TAG, board
from scalar.market.comparing import reconcile
from scalar.market.instances import ASK_LEASE
from scalar.market.joining import unfit
from scalar.market.machines import BOOT_LIMIT
from scalar.market.model import Side, Sku
from scalar.market.trading import trade
from tests import made_up


def buy(floor: Floor, **more) -> str:
    """A filled order."""
    order = floor.want(**more)
    trade(floor.desk)
    floor.sandbox.advance(60)
    trade(floor.desk)
    assert floor.order(order.id).state == "filled"
    return order.id


def man(floor: Floor) -> list[str]:
    """Machines for what was bought, booted and joined; the ids of the new nodes."""
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    return floor.boot_agents()


def a_running_job(tx, floor: Floor, **spec) -> str:
    job = made_up.a_job_of(tx, made_up.a_customer(tx), now=floor.now(), **spec)
    run_pass(tx, floor.now())
    return job.id


def node(floor: Floor, node_id: str):
    with floor.database.transaction() as tx:
        return capacity.node(tx, node_id)


def test_each_node_that_was_bought_gets_a_machine_and_works(floor):
    buy(floor, nodes=2, minutes=120)
    first, second = man(floor)
    assert {node(floor, each).state for each in (first, second)} == {NodeState.READY}
    until = floor.rows("select ends_at from blocks limit 1")[0]["ends_at"]
    assert {node(floor, each).available_until for each in (first, second)} == {until}
    rows = floor.rows("""select b.price, i.node_id from seatings s join blocks b on b.id = s.block_id
                         join instances i on i.id = s.instance_id order by i.node_id""")
    assert [row["node_id"] for row in rows] == sorted([first, second])
    assert floor.rows("select count(*) as n from instances where ready_at is not null") == [{"n": 2}]


def test_a_machine_joins_with_a_token_of_its_own_and_once(floor):
    buy(floor)
    (node_id,) = man(floor)
    (machine,) = floor.machines()
    with pytest.raises(Conflict, match="joined and works already"):
        floor.boot(machine)
    assert node(floor, node_id).state is NodeState.READY
    floor.sandbox.advance(7 * 3600)
    with pytest.raises(NotAuthenticated):
        floor.boot(machine)


def test_what_a_machine_is_started_with_is_what_an_agent_needs(floor):
    buy(floor)
    board(floor.desk)
    (machine,) = floor.machines()
    environment = agent_environment(machine["cloud_init_user_data"])
    assert environment["SCALAR_AGENT_NAME"] == machine["name"] == machine["tags"][TAG]
    assert environment["SCALAR_AGENT_API_URL"] == floor.settings.agent_api_url


def test_a_machine_that_is_not_what_was_bought_takes_no_work_and_is_replaced(floor):
    buy(floor)
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    (wrong,) = floor.boot_agents(gpus=4)
    assert node(floor, wrong).state is NodeState.CHECKING
    board(floor.desk)
    assert node(floor, wrong).state is NodeState.GONE
    assert floor.rows("select end_reason from instances where state = 'ended'") == [
        {"end_reason": "it has 4 GPUs, and 8 were bought"}
    ]
    (right,) = man(floor)
    assert node(floor, right).state is NodeState.READY
    assert len(floor.machines()) == 1


def test_its_gpus_go_by_the_name_under_which_they_were_bought(floor):
    buy(floor)
    board(floor.desk)
    floor.sandbox.advance(180)
    board(floor.desk)
    (node_id,) = floor.boot_agents(gpu_type="NVIDIA H100 80GB HBM3")
    assert (node(floor, node_id).state, node(floor, node_id).gpu_type) == (NodeState.READY, "H100")


def test_a_name_that_only_contains_the_bought_one_is_another():
    bought = Sku(id="sku_1", alias="sea-3-h200", gpu_type="H200", gpus_per_node=1)
    for name, why in (("NVIDIA H200", None), ("NVIDIA GH200 480GB", "its GPUs are NVIDIA GH200 480GB")):
        told = unfit(made_up.facts("n", gpus=1, gpu_type=name), bought, process_runtime=True)
        assert (told or "").startswith(why or "")
        assert (told is None) == (why is None)


def test_a_machine_that_never_calls_is_replaced_and_after_three_a_person_is_told(floor):
    buy(floor, minutes=600)
    for _ in range(3):
        board(floor.desk)
        floor.sandbox.advance(180)
        board(floor.desk)
        floor.sandbox.advance(BOOT_LIMIT.total_seconds() + 60)
        board(floor.desk)
    done = board(floor.desk)
    assert floor.rows("select count(*) as n from instances where end_reason = 'its agent never called'") == [{"n": 3}]
    assert "no machine comes up" in done.problems[0]
    assert floor.machines() == []
    assert [finding.kind for finding in reconcile(floor.desk).findings] == ["empty_seat"]


def test_a_machine_that_fails_gives_its_runs_back_and_its_seat_to_another(floor):
    buy(floor, minutes=240)
    (lost,) = man(floor)
    with floor.database.transaction() as tx:
        job_id = a_running_job(tx, floor, gpus=8)
    floor.sandbox.fault("dies")
    floor.sandbox.advance(60)
    board(floor.desk)
    assert node(floor, lost).state is NodeState.GONE
    assert floor.rows(f"select state, reason from jobs where id = '{job_id}'") == [
        {"state": "queued", "reason": "node_lost"}
    ]
    (other,) = man(floor)
    assert other != lost
    seats = floor.rows("select block_id, seat, during from seatings order by lower(during)")
    assert seats[0]["seat"] == seats[1]["seat"]
    assert seats[0]["during"].upper <= seats[1]["during"].lower


def test_a_block_that_follows_keeps_the_machine_and_its_time_grows(floor):
    first = buy(floor, minutes=60)
    (kept,) = man(floor)
    end = floor.order(first).request.window.end
    buy(floor, minutes=60, start=end)
    board(floor.desk)
    assert node(floor, kept).available_until == end + timedelta(hours=1)
    floor.sandbox.advance(3600)
    board(floor.desk)
    assert node(floor, kept).state is NodeState.READY
    assert len(floor.machines()) == 1
    assert floor.rows("select count(*) as n from instances") == [{"n": 1}]


def test_runs_that_would_outlast_their_node_stop_in_order_and_the_machine_goes_when_its_time_is_up(floor):
    order_id = buy(floor, minutes=60)
    (node_id,) = man(floor)
    with floor.database.transaction() as tx:
        job_id = a_running_job(tx, floor)
    end = floor.order(order_id).request.window.end
    floor.sandbox.advance((end - floor.now()).total_seconds() - 120)
    assert board(floor.desk).stopped_runs == 1
    assert floor.rows(f"select state, reason, interruptions from jobs where id = '{job_id}'") == [
        {"state": "queued", "reason": "block_ended", "interruptions": 0}
    ]
    floor.sandbox.advance(121)
    board(floor.desk)
    assert node(floor, node_id).state is NodeState.GONE
    assert floor.rows("select end_reason from instances") == [{"end_reason": "its time was up"}]
    assert floor.machines() == []


def test_a_list_that_lacks_our_machines_is_not_believed(floor):
    buy(floor, nodes=2)
    kept = man(floor)
    floor.sandbox.fault("empty_list", path="/instances$")
    board(floor.desk)
    assert {node(floor, each).state for each in kept} == {NodeState.READY}


def test_a_renamed_field_is_an_error_and_nobody_is_ended_for_it(floor):
    buy(floor)
    (kept,) = man(floor)
    floor.sandbox.fault("renamed_field", path="/instances", field="status", to="state")
    assert "status" in board(floor.desk).problems[0]
    assert node(floor, kept).state is NodeState.READY


def test_what_is_sold_frees_its_machine_and_no_other(floor):
    order_id = buy(floor, nodes=2, minutes=240)
    busy, idle = man(floor)
    with floor.database.transaction() as tx:
        a_running_job(tx, floor, gpus=8)
        (row,) = tx.execute("select distinct node_id from gpu_assignments").fetchall()
    busy, idle = (busy, idle) if row["node_id"] == busy else (idle, busy)
    window = floor.order(order_id).request.window
    start = floor.now().replace(second=0) + timedelta(minutes=2)
    floor.sell(start=start, minutes=int((window.end - start).total_seconds() // 60), keep_free=[idle])
    assert node(floor, idle).state is NodeState.DRAINING
    trade(floor.desk)
    floor.sandbox.advance(60)
    trade(floor.desk)
    floor.sandbox.advance(120)
    board(floor.desk)
    assert node(floor, idle).state is NodeState.GONE
    assert node(floor, busy).state is NodeState.READY
    assert len(floor.machines()) == 1
    assert reconcile(floor.desk).findings == []


def test_a_sale_that_nobody_takes_gives_its_node_back(floor):
    buy(floor, minutes=240)
    (idle,) = man(floor)
    order = floor.sell(
        start=floor.now().replace(second=0) + timedelta(minutes=2), minutes=60, keep_free=[idle], price="39"
    )
    for _ in range(3):
        trade(floor.desk)
        floor.sandbox.advance(60)
    assert floor.order(order.id).state == "cancelled"
    assert node(floor, idle).state is NodeState.READY


def test_no_machine_is_doubled_or_forgotten_wherever_the_process_dies(floor):
    """A tick is killed at each of its steps in turn; the next ticks finish what it began."""
    deaths, die_at = [], 0
    while True:
        buy(floor, minutes=30)
        steps = Steps(die_at)
        try:
            with floor.dying(steps) as desk:
                board(desk)
        except Killed as death:
            deaths.append(str(death))
        else:
            break
        floor.sandbox.advance(ASK_LEASE.total_seconds() + 1)  # of the dead
        board(floor.desk)
        board(floor.desk)
        assert len(floor.machines()) == 1, deaths[-1]
        floor.sandbox.advance(180)
        board(floor.desk)
        assert len(floor.boot_agents()) == 1, deaths[-1]
        assert reconcile(floor.desk).findings == [], deaths[-1]
        floor.sandbox.advance(30 * 60)
        board(floor.desk)
        board(floor.desk)
        assert floor.machines() == [], deaths[-1]
        die_at += 1
    assert any("after POST" in death for death in deaths)


def test_a_machine_that_nobody_of_ours_started_is_named(floor):
    buy(floor, nodes=2)
    board(floor.desk)
    pool = floor.desk.pool()
    floor.client.create_instance(pool=pool, image=floor.settings.image, sku=floor.sku.id, name="stranger")
    (finding,) = reconcile(floor.desk).findings
    assert finding.kind == "unknown_machine"
    assert "terminate" in finding.do


def test_an_order_that_we_did_not_send_is_named_with_its_nodes_and_its_dollars_and_stops_buying(floor):
    mine = floor.order(buy(floor, start=floor.now().replace(second=0) + timedelta(hours=2))).request
    pool = floor.desk.pool()
    floor.client.create_order(
        pool=pool,
        side=Side.BUY,
        sku=floor.sku.id,
        rectangle=mine.window,
        limit_price=mine.limit_price,
        idempotency_key="x",
    )
    floor.sandbox.advance(60)
    kinds = {finding.kind for finding in reconcile(floor.desk).findings}
    assert {"unknown_order", "capacity_differs"} <= kinds
    with pytest.raises(Exception, match="stopped until our books"):
        floor.want()


def test_when_both_books_agree_there_is_nothing_to_say(floor):
    buy(floor, nodes=2, minutes=120)
    man(floor)
    verdict = reconcile(floor.desk)
    assert verdict.findings == []
    assert verdict.figures["nodes_owned_now"] == 2
    assert verdict.figures["machines_joined"] == 2


def test_a_charge_of_no_order_of_ours_stops_buying_until_somebody_answers_for_it(floor):
    buy(floor)
    assert reconcile(floor.desk).findings == []
    other = floor.sandbox.a_pool("somebody-elses")
    floor.client.create_order(
        pool=other,
        side=Side.BUY,
        sku=floor.sku.id,
        rectangle=floor.want(minutes=30).request.window,
        limit_price=Decimal(30),
        idempotency_key="x",
    )
    floor.sandbox.advance(60)
    (finding,) = reconcile(floor.desk).findings
    assert finding.kind == "unknown_charge"
    with floor.database.transaction() as tx:
        (line,) = statement.strange(tx)
        assert f"scalar market accept {line.number} WHY" in finding.do
        assert not statement.accept(tx, line.number + 1, by="operator:ann", why="no such line")
        assert statement.accept(tx, line.number, by="operator:ann", why="the research team's own")
    assert reconcile(floor.desk).findings == []


def test_when_a_block_ends_the_market_ends_its_machine_and_no_other(floor):
    """Left to itself, the market ends the newest of equal priority."""
    buy(floor, minutes=60)
    (first,) = man(floor)
    floor.sandbox.advance(20 * 60)
    buy(floor, minutes=240)
    (second,) = man(floor)
    for _ in range(45):
        floor.sandbox.advance(60)
        board(floor.desk)
    ended = floor.rows("select node_id, ended_at >= until as in_time from instances where ended_at is not null")
    assert ended == [{"node_id": first, "in_time": True}]
    assert node(floor, second).state is NodeState.READY


def test_a_machine_that_gets_more_time_yields_to_nobody_any_more(floor):
    first = buy(floor, minutes=60)
    (kept,) = man(floor)
    end = floor.order(first).request.window.end
    floor.sandbox.advance((end - floor.now()).total_seconds() - 120)
    board(floor.desk)
    assert floor.rows("select yields from instances") == [{"yields": True}]
    buy(floor, minutes=60, start=end)
    board(floor.desk)
    assert floor.rows("select yields from instances") == [{"yields": False}]
    assert [row["priority_level"] for row in floor.machines()] == ["normal"]
    assert node(floor, kept).available_until == end + timedelta(hours=1)
