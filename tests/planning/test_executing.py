"""Plans made and carried out against a real database and a sandbox market in a process of its own."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr
from situations import H100, at, quoted

from scalar.capacity import store as capacity
from scalar.capacity.model import NodeState
from scalar.capacity.placing import run_pass
from scalar.database import Database, Transaction
from scalar.market import catalogue, instances, machines, orders
from scalar.market import store as market
from scalar.market.desk import Desk
from scalar.market.errors import MarketUnavailable
from scalar.market.model import OrderRequest, OrderState, Rectangle, Side
from scalar.market.orders import By
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute
from scalar.market.trading import trade
from scalar.planning import reactive, store
from scalar.planning.executing import GOOD_FOR, Executed, execute
from scalar.planning.model import ActionKind, PlanState, Policy
from scalar.planning.planning import decide_again, make_plan, situation, situation_within
from tests.made_up import NOON, a_customer, a_job_of, a_node, launch
from tests.sandbox_process import SandboxMarket

POLICY = Policy()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with SandboxMarket(Path(tmp_path_factory.mktemp("market")), start="2026-11-21T12:00Z") as running:
        yield running


@pytest.fixture
def desk_of(sandbox: SandboxMarket, database: Database) -> Iterator[Callable[..., Desk]]:
    """A desk whose clock is the sandbox's."""
    with SfCompute(sandbox.url, lambda: SecretStr(sandbox.token), attempts=1) as client:
        yield lambda **changes: Desk(
            market=client,
            settings=MarketSettings(**{"url": sandbox.url, "dry_run": False, "pool": f"p{id(database)}", **changes}),
            transact=database.transaction,
            clock=lambda: datetime.fromtimestamp(sandbox.now, UTC),
        )


@pytest.fixture
def desk(desk_of: Callable[..., Desk]) -> Desk:
    return desk_of()


def queue_a_job(desk: Desk, **spec) -> str:
    """A job that a pass has left in the queue."""
    with desk.transact() as tx:
        job = a_job_of(tx, a_customer(tx, f"org-{desk.clock().timestamp()}-{len(spec)}"), now=desk.clock(), **spec)
        run_pass(tx, desk.clock())
    return job.id


def carry_out(desk: Desk, policy: Policy = POLICY, *, later: timedelta = timedelta()) -> Executed | None:
    with desk.transact() as tx:
        return execute(tx, caps=desk.settings.caps, policy=policy, now=desk.clock() + later)


def stored(desk: Desk, plan_id: str) -> store.StoredPlan:
    with desk.transact() as tx:
        found = store.plan(tx, plan_id)
    assert found is not None
    return found


def test_a_queued_job_is_bought_for_once_from_the_queue_to_the_block(desk: Desk):
    job = queue_a_job(desk, gpus=8, gpu_type="H100")
    planned = make_plan(desk, POLICY)
    (action,) = planned.plan.actions
    assert (action.kind, action.jobs, action.window.nodes) == (ActionKind.BUY, (job,), 1)
    assert carry_out(desk) == Executed(plan_id=planned.id, state=PlanState.EXECUTED, ordered=1)
    assert make_plan(desk, POLICY).plan.actions == ()

    trade(desk)
    (bought,) = market_orders(desk)
    assert (bought.state, bought.plan_id, bought.requested_by) == (OrderState.FILLED, planned.id, "planner")
    assert bought.amount <= bought.request.worst_case
    assert make_plan(desk, POLICY).plan.actions == ()
    with desk.transact() as tx:
        machines.take_seats(tx, desk.clock())
    assert make_plan(desk, POLICY).plan.actions == ()
    (outcome,) = stored(desk, planned.id).actions
    assert (outcome.order_id, outcome.outcome) == (bought.id, "Ordered.")


def test_a_stored_plan_is_decided_again_from_what_it_was_decided_from(desk: Desk):
    queue_a_job(desk, gpus=4, max_price_per_gpu_hour=Decimal("0.01"))
    queue_a_job(desk, gpus=2, nodes=2, max_runtime_seconds=7200)
    with desk.transact() as tx:
        a_node(tx, "ours", gpus=1, now=desk.clock())
    planned = make_plan(desk, Policy(fast_buffer_gpus={"H200": 8}))
    assert planned.plan.notes
    assert planned.plan.actions
    kept = stored(desk, planned.id)
    assert decide_again(kept) == kept.plan == planned.plan
    assert kept.inputs.situation == planned.situation


def test_a_dry_run_is_shown_and_never_executed(desk_of: Callable[..., Desk]):
    desk = desk_of(dry_run=True)
    queue_a_job(desk, gpus=8)
    planned = make_plan(desk, POLICY)
    assert planned.plan.actions
    assert carry_out(desk) is None
    assert stored(desk, planned.id).state is PlanState.SHOWN
    assert market_orders(desk) == []


def test_a_plan_is_executed_once(desk: Desk):
    queue_a_job(desk, gpus=8)
    make_plan(desk, POLICY)
    assert carry_out(desk) is not None
    assert carry_out(desk) is None
    assert len(market_orders(desk)) == 1


def test_only_the_latest_of_two_plans_is_executed(desk: Desk):
    queue_a_job(desk, gpus=8)
    first, second = make_plan(desk, POLICY), make_plan(desk, POLICY)
    executed = carry_out(desk)
    assert executed is not None
    assert executed.plan_id == second.id
    assert stored(desk, first.id).state is PlanState.SUPERSEDED
    assert len(market_orders(desk)) == 1


def test_a_plan_that_looked_before_another_was_executed_is_not(desk: Desk):
    """The market takes its time to answer the second plan; the first is executed meanwhile."""
    queue_a_job(desk, gpus=8)
    asks = {sku.id: Decimal(20) for sku in catalogue.learn(desk)}
    with desk.transact() as tx:
        seen, follows = situation(tx, desk.clock()), store.last_executed(tx)
    make_plan(desk, POLICY)
    assert carry_out(desk) is not None
    late = quoted(seen, POLICY, asks=asks)
    with desk.transact() as tx:
        inputs = store.Inputs(situation=late, policy=POLICY)
        plan = reactive.plan(late, POLICY)
        assert plan.actions
        plan_id = store.insert_plan(tx, plan, inputs, policy="reactive", follows=follows, dry_run=False)
    assert carry_out(desk) == Executed(plan_id=plan_id, state=PlanState.SUPERSEDED)
    assert len(market_orders(desk)) == 1


def test_a_plan_that_nobody_executed_in_time_expires(desk: Desk):
    queue_a_job(desk, gpus=8)
    planned = make_plan(desk, POLICY)
    assert carry_out(desk, later=GOOD_FOR + timedelta(seconds=1)) is None
    assert stored(desk, planned.id).state is PlanState.EXPIRED


def test_what_the_guards_refuse_is_no_order_and_says_why(desk_of: Callable[..., Desk]):
    desk = desk_of(max_order=Decimal(1))
    queue_a_job(desk, gpus=8)
    planned = make_plan(desk, POLICY)
    assert carry_out(desk) == Executed(plan_id=planned.id, state=PlanState.EXECUTED, refused=1)
    (outcome,) = stored(desk, planned.id).actions
    assert outcome.order_id is None
    assert outcome.outcome is not None
    assert "the cap per order is $1.00" in outcome.outcome
    assert market_orders(desk) == []


def test_an_order_that_waits_for_approval_is_not_planned_again(desk_of: Callable[..., Desk]):
    desk = desk_of(approval_above=Decimal(1))
    queue_a_job(desk, gpus=8)
    planned = make_plan(desk, POLICY)
    carry_out(desk)
    (outcome,) = stored(desk, planned.id).actions
    assert str(outcome.outcome).startswith("Waits for an operator's approval.")
    assert make_plan(desk, POLICY).plan.actions == ()


def test_without_an_answer_from_the_market_there_is_no_plan(desk: Desk, sandbox: SandboxMarket):
    queue_a_job(desk, gpus=8)
    make_plan(desk, POLICY)
    before = plans(desk)
    sandbox.fault("server_error")
    try:
        with pytest.raises(MarketUnavailable):
            make_plan(desk, POLICY)
    finally:
        sandbox.no_faults()
    assert plans(desk) == before


class TestSales:
    """Against the books alone: what is sold is decided under the lock of the scheduling pass."""

    def test_an_idle_node_is_kept_free_and_offered(self, tx: Transaction):
        node_id = a_bought_node(tx)
        plan_id = a_plan_to_sell(tx, node_id)
        done = sell(tx)
        assert (done.plan_id, done.ordered) == (plan_id, 1)
        (order,) = market.open_orders(tx)
        assert (order.request.side, order.request.window.nodes) == (Side.SELL, 1)
        assert market.kept_free(tx, order.id) == [node_id]
        node = capacity.node(tx, node_id)
        assert node is not None
        assert node.state is NodeState.DRAINING

    def test_a_node_that_has_work_again_is_not(self, tx: Transaction):
        plan_id = a_plan_to_sell(tx, a_bought_node(tx))
        launch(tx, a_job_of(tx, a_customer(tx), gpus=1).id, now=NOON)
        assert sell(tx).refused == 1
        found = store.plan(tx, plan_id)
        assert found is not None
        assert found.actions[0].outcome == "None of them is spare any more."
        assert market.open_orders(tx) == []

    def test_a_node_that_was_reserved_since_is_not(self, tx: Transaction):
        a_plan_to_sell(tx, a_bought_node(tx))
        org, key = a_customer(tx)
        tx.execute(
            """insert into reservations (id, organisation_id, gpu_type, gpus, starts_at, ends_at, created_by,
                   created_at)
               values ('res_1', %s, 'H100', 1, %s, %s, %s, %s)""",
            [org, at(30), at(60), key, NOON],
        )
        assert sell(tx).refused == 1

    def test_a_node_that_somebody_has_sold_since_is_not(self, tx: Transaction):
        a_plan_to_sell(tx, a_bought_node(tx))
        request = OrderRequest(
            side=Side.SELL,
            sku=H100.id,
            window=Rectangle(start=at(10), end=at(60), nodes=1),
            limit_price=Decimal(39),
            allow_standing=True,
            purpose="by hand",
        )
        by_hand = orders.place(tx, request, by=By(actor="operator"), caps=MarketSettings().caps, now=NOON)
        assert sell(tx).refused == 1
        assert [each.id for each in market.open_orders(tx)] == [by_hand.id]


def a_bought_node(tx: Transaction) -> str:
    """A node on a machine that has an hour left, and idle for an hour."""
    market.upsert_skus(tx, [H100], NOON)
    window = Rectangle(start=at(-120), end=at(60), nodes=1)
    tx.execute(
        """insert into orders (id, side, sku, nodes, starts_at, ends_at, limit_price, allow_standing, allow_partial,
               purpose, requested_by, created_at, state, market_id, filled_at, ended_at)
           values ('order_0', 'buy', %s, 1, %s, %s, 12, false, false, 'test', 'test', %s, 'filled', 'm', %s, %s)""",
        [H100.id, window.start, window.end, window.start, window.start, window.start],
    )
    tx.execute("insert into fills values ('order_0', 0, null, %s, 12, '[]', 36)", [window.start])
    block = market.insert_block(tx, "order_0", 0, 0, H100.id, window, Decimal(12))
    node = a_node(tx, now=NOON)
    instance_id = instances.want_instance(tx, H100.id, window.end, window.start)
    tx.execute(
        """update instances set state = 'joined', node_id = %s, asked_at = wanted_at,
               created_at = wanted_at, joined_at = %s, ready_at = %s, market_id = 'inst' where id = %s""",
        [node.id, at(-60), at(-60), instance_id],
    )
    tx.execute(
        "insert into seatings values (%s, %s, 0, tstzrange(%s, %s))", [instance_id, block, window.start, window.end]
    )
    tx.execute("update nodes set available_until = %s where id = %s", [window.end, node.id])
    return node.id


def a_plan_to_sell(tx: Transaction, node_id: str) -> str:
    seen = quoted(situation_within(tx, NOON), POLICY)
    plan = reactive.plan(seen, POLICY)
    assert [each.kind for each in plan.actions] == [ActionKind.SELL]
    assert node_id in plan.actions[0].reason
    inputs = store.Inputs(situation=seen, policy=POLICY)
    return store.insert_plan(tx, plan, inputs, policy="reactive", follows=None, dry_run=False)


def sell(tx: Transaction) -> Executed:
    done = execute(tx, caps=MarketSettings().caps, policy=POLICY, now=NOON + timedelta(seconds=5))
    assert done is not None
    return done


def market_orders(desk: Desk):
    with desk.transact() as tx:
        return market.orders(tx, market.OrderFilter())


def plans(desk: Desk) -> list[store.StoredPlan]:
    with desk.transact() as tx:
        return store.plans(tx)
