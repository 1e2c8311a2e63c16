"""The reactive policy: what it does in one situation after another, and what it never does in any."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from situations import (
    ASKS,
    BIDS,
    H100,
    H200,
    a_fleet_node,
    a_kind,
    a_promise,
    a_rectangle,
    a_seat,
    a_situation,
    a_waiting_job,
    a_wish,
    at,
    bought,
    decided,
    ordered,
    quoted,
)

from scalar.jobs.model import Tier
from scalar.market.model import TICK, Rectangle, Seat, Side
from scalar.planning.model import ActionKind, Claim, Machine, OpenOrder, Policy, Work
from scalar.planning.reactive import plan, questions

BUFFER = Policy(fast_buffer_gpus={"H100": 8})


def shape(actions) -> list[tuple[str, str, int, int]]:
    """(kind, sku, nodes, minutes) of each."""
    return [
        (each.kind.value, each.sku, each.window.nodes, int((each.window.end - each.window.start).total_seconds() // 60))
        for each in actions
    ]


def test_an_idle_platform_buys_and_asks_nothing():
    assert decided(a_situation()).actions == ()
    assert questions(a_situation(), Policy()) == ()


class TestBuying:
    def test_a_queued_job_gets_a_node_of_the_cheapest_kind_that_will_do(self):
        (action,) = decided(a_situation(queue=[a_waiting_job(gpus=4)])).actions
        assert shape([action]) == [("buy", H100.id, 1, 60)]
        assert action.window.start == at(1)
        assert action.limit_price == Decimal("16.8") * Decimal("1.03") // TICK * TICK
        assert "1 queued job(s) want 4 GPU(s) (job_1)" in action.reason
        assert "$16.80 per node-hour" in action.reason

    def test_a_type_that_is_named_is_the_type_that_is_bought(self):
        assert shape(decided(a_situation(queue=[a_waiting_job(gpu_type="H200")])).actions) == [("buy", H200.id, 1, 60)]

    def test_jobs_share_nodes(self):
        queue = [a_waiting_job(f"job_{n}", gpus=2) for n in range(9)]
        assert shape(decided(a_situation(queue=queue)).actions) == [("buy", H100.id, 3, 60)]

    def test_a_gang_gets_all_its_nodes_or_none(self):
        (action,) = decided(a_situation(queue=[a_waiting_job(gpus=8, nodes=3)])).actions
        assert (action.window.nodes, action.whole) == (3, True)
        none = decided(a_situation(queue=[a_waiting_job(gpus=8, nodes=3)]), depth=2)
        assert none.actions == ()
        assert none.notes == ("job_1: the market has no such nodes for so long now.",)

    @pytest.mark.parametrize(("runtime", "bought_for"), [(1, 60), (45, 60), (46, 120), (24 * 60, 48 * 60)])
    def test_a_job_gets_its_longest_runtime_and_time_to_boot(self, runtime: int, bought_for: int):
        (action,) = decided(a_situation(queue=[a_waiting_job(minutes=runtime)])).actions
        assert shape([action])[0][3] == bought_for

    def test_a_job_beyond_the_horizon_is_not_bought_for(self):
        made = decided(a_situation(queue=[a_waiting_job(minutes=60 * 24 * 30)]))
        assert made.actions == ()
        assert made.notes == ("job_1: may run longer than the 168 h that nodes are bought for.",)

    def test_a_limit_below_the_quote_buys_nothing_and_says_so(self):
        made = decided(a_situation(queue=[a_waiting_job(gpu_type="H100", limit="2.09")]))
        assert made.actions == ()
        assert made.notes == ("job_1: sea-3-h100 costs $2.10 per GPU-hour, above its limit of $2.09.",)

    def test_the_order_never_goes_above_the_limit_even_to_be_sure_to_fill(self):
        (action,) = decided(a_situation(queue=[a_waiting_job(limit="2.12")])).actions
        assert action.limit_price == Decimal("16.96") // TICK * TICK

    def test_a_flex_job_waits_for_what_is_no_dearer_than_usual(self):
        dear, fair = (
            (a_kind(H100, usual_price=Decimal(usual)), a_kind(H200, usual_price=Decimal(20))) for usual in (16, 17)
        )
        queue = [a_waiting_job(tier=Tier.FLEX)]
        waits = decided(a_situation(queue=queue, kinds=dear))
        assert (waits.actions, waits.notes) == (
            (),
            ("job_1: sea-3-h100 costs $2.10 per GPU-hour, above the usual $2.00.",),
        )
        assert shape(decided(a_situation(queue=queue, kinds=fair)).actions) == [("buy", H100.id, 1, 60)]
        assert shape(decided(a_situation(queue=[a_waiting_job()], kinds=dear)).actions) == [("buy", H100.id, 1, 60)]

    def test_a_flex_job_whose_deadline_presses_waits_for_no_usual_price(self):
        dear = (a_kind(H100, usual_price=Decimal(16)),)
        job = a_waiting_job(tier=Tier.FLEX)
        pressing = replace(job, wish=replace(job.wish, pressing=True))
        assert shape(decided(a_situation(queue=[pressing], kinds=dear)).actions) == [("buy", H100.id, 1, 60)]
        limited = replace(job, wish=replace(pressing.wish, price_limit=Decimal(2)))
        assert decided(a_situation(queue=[limited], kinds=dear)).actions == ()

    def test_a_job_that_no_kind_could_run_is_not_bought_for(self):
        kinds = (a_kind(H100, cpus=128.0, memory_bytes=2**39),)
        made = decided(a_situation(queue=[a_waiting_job(gpus=1, cpus=512)], kinds=kinds))
        assert made.actions == ()
        assert made.notes == ("job_1: no kind of machine on the market could run it.",)

    def test_what_is_free_or_on_its_way_is_not_bought_again(self):
        queue = [a_waiting_job()]
        on_order = OpenOrder(id="order_1", side=Side.BUY, sku=H100.id, window=a_rectangle(1, 61))
        booting = Machine(id="gpu_1", sku=H100.id, until=at(50))
        unmanned = Seat(block_id="block_1", number=0, sku=H100.id, start=at(-1), end=at(59))
        for there in (
            a_situation(bought(), queue=queue),
            a_situation(queue=queue, nodes=(a_fleet_node(),)),
            a_situation(queue=queue, open_orders=(on_order,)),
            a_situation(queue=queue, machines=(booting,)),
            a_situation(queue=queue, seats=(unmanned,)),
        ):
            assert decided(there).actions == ()

    def test_what_ends_too_soon_for_a_job_does_not_count(self):
        queue = [a_waiting_job(minutes=50)]
        assert shape(decided(a_situation(bought(until=49), queue=queue)).actions) == [("buy", H100.id, 1, 120)]
        assert decided(a_situation(bought(until=51), queue=queue)).actions == ()

    def test_a_node_that_takes_no_work_does_not_count(self):
        node, machine = bought(takes_work=False)
        assert shape(decided(a_situation((node, machine), queue=[a_waiting_job()])).actions) == [
            ("buy", H100.id, 1, 60)
        ]

    def test_no_more_nodes_than_the_policy_allows(self):
        queue = [a_waiting_job(f"job_{n}") for n in range(5)]
        made = decided(a_situation(bought(free=0), queue=queue), Policy(max_nodes=3))
        assert shape(made.actions) == [("buy", H100.id, 2, 60)]
        assert made.notes == ("job_2, job_3, job_4: 3 nodes at one time are the most that the policy allows.",)

    def test_more_nodes_are_not_taken_where_they_would_cost_too_much(self):
        """The first two cost $2 per GPU-hour, the third would raise the price of all."""
        situation = a_situation(queue=[a_waiting_job(f"job_{n}", limit="2.1") for n in range(3)], kinds=(a_kind(),))
        asked = quoted(situation, Policy())
        dearer = tuple(
            replace(each, price=Decimal(20) if each.question.window.nodes > 2 else Decimal(16)) for each in asked.quotes
        )
        made = plan(replace(asked, quotes=dearer), Policy())
        assert shape(made.actions) == [("buy", H100.id, 2, 60)]
        assert made.notes == ("job_2: sea-3-h100 costs $2.50 per GPU-hour, above its limit of $2.10.",)

    def test_what_was_bought_for_a_job_is_not_taken_for_one_ahead_that_nobody_would_buy_for(self):
        mean, keen = a_waiting_job("job_mean", limit="0.5"), a_waiting_job("job_keen")
        situation = a_situation(queue=[mean, keen])
        first = decided(situation).actions
        assert [each.jobs for each in first] == [("job_keen",)]
        assert decided(ordered(situation, first)).actions == ()

    def test_jobs_for_whom_too_little_came_are_bought_for_again(self):
        queue = [a_waiting_job("job_1"), a_waiting_job("job_2")]
        claim = Claim(order_id="order_1", nodes=2, jobs=("job_1", "job_2"))
        one = Machine(id="gpu_1", sku=H100.id, until=at(60), order_id="order_1")
        (action,) = decided(a_situation(queue=queue, machines=(one,), claims=(claim,))).actions
        assert action.jobs == ("job_2",)


class TestTheBuffer:
    def test_it_is_filled_up(self):
        (action,) = decided(a_situation(bought(free=3, until=300)), BUFFER).actions
        assert shape([action]) == [("buy", H100.id, 1, 60)]
        assert "The buffer lacks 5 H100 GPU(s)" in action.reason

    def test_what_is_idle_or_bought_for_the_queue_counts(self):
        assert decided(a_situation(bought(until=300)), BUFFER).actions == ()
        small = [a_waiting_job(gpus=2)]
        six = Policy(fast_buffer_gpus={"H100": 6})
        assert shape(decided(a_situation(queue=small), six).actions) == [("buy", H100.id, 1, 60)]

    def test_idle_nodes_that_it_needs_go_on_before_others_are_bought(self):
        assert shape(decided(a_situation(bought(until=10)), BUFFER).actions) == [("extend", H100.id, 1, 60)]

    def test_a_type_that_nobody_sells_is_a_note(self):
        made = decided(a_situation(), Policy(fast_buffer_gpus={"B200": 8}))
        assert (made.actions, made.notes) == ((), ("8 GPU(s): the market has no B200 for the buffer.",))


class TestExtending:
    def test_a_busy_node_gets_the_block_that_follows(self):
        (action,) = decided(a_situation(bought(until=14, free=0))).actions
        assert shape([action]) == [("extend", H100.id, 1, 60)]
        assert (action.window.start, action.window.end) == (at(14), at(74))
        assert "node_1" in action.reason

    @pytest.mark.parametrize("until", [16, 60])
    def test_not_before_it_is_time(self, until: int):
        assert decided(a_situation(bought(until=until, free=0))).actions == ()

    def test_nodes_of_one_kind_and_end_are_one_order(self):
        nodes = [bought(f"node_{n}", until=10, free=0) for n in range(3)]
        assert shape(decided(a_situation(*nodes)).actions) == [("extend", H100.id, 3, 60)]

    def test_time_that_is_bought_or_ordered_already_is_not_bought_again(self):
        node = bought(until=10, free=0)
        on_order = OpenOrder(id="order_1", side=Side.BUY, sku=H100.id, window=a_rectangle(10, 70))
        seat = Seat(block_id="block_2", number=0, sku=H100.id, start=at(10), end=at(70))
        assert decided(a_situation(node, open_orders=(on_order,))).actions == ()
        assert decided(a_situation(node, seats=(seat,))).actions == ()

    def test_runs_that_are_over_in_time_need_no_more_of_it(self):
        work = (Work(job_id="job_1", wish=a_wish(), over_by=at(9)),)
        assert decided(a_situation(bought(until=10, free=0, work=work))).actions == ()
        longer = (*work, Work(job_id="job_2", wish=a_wish(), over_by=at(11)))
        assert len(decided(a_situation(bought(until=10, free=0, work=longer))).actions) == 1

    def test_only_while_somebody_on_it_will_pay_for_it(self):
        mean, keen = (
            bought(f"node_{n}", until=10, free=0, work=(Work(job_id=f"job_{n}", wish=a_wish(limit=limit)),))
            for n, limit in enumerate(("2", "2.11"))
        )
        made = decided(a_situation(mean, keen))
        (action,) = made.actions
        assert (action.window.nodes, action.limit_price) == (1, Decimal("16.88") // TICK * TICK)
        assert "node_1" in action.reason
        assert made.notes == ("1 node(s) end at 12:10 and cost more than their jobs will pay.",)
        assert decided(a_situation(mean)).notes == (
            "1 node(s) of sea-3-h100 end at 12:10: $16.80 is more than their jobs will pay.",
        )

    def test_a_machine_that_nobody_hears_gets_no_more_time(self):
        assert decided(a_situation(bought(until=10, free=0, heard=False, takes_work=False))).actions == ()


class TestSelling:
    def test_a_node_that_was_idle_for_long_is_offered(self):
        (action,) = decided(a_situation(bought(until=120, idle_for=31))).actions
        assert shape([action]) == [("sell", H100.id, 1, 119)]
        assert action.limit_price == Decimal(12) * Decimal("0.97") // TICK * TICK
        assert "idle for 31 minutes" in action.reason

    def test_where_nobody_bids_it_lapses(self):
        (action,) = decided(a_situation(bought(until=120, idle_for=31)), bids={}).actions
        assert (action.kind, action.limit_price) == (ActionKind.LAPSE, None)
        assert "nobody bids" in action.reason

    @pytest.mark.parametrize(
        "changes",
        [
            {"idle_for": 29},
            {"until": 29},
            {"free": 7},
            {"takes_work": False},
        ],
    )
    def test_not_one_that_is_idle_for_a_moment_nearly_over_busy_or_kept(self, changes):
        node, machine = bought(**{"until": 120, "idle_for": 31, **changes})
        assert decided(a_situation((node, machine))).actions == ()

    def test_not_what_the_buffer_the_queue_or_a_reservation_needs(self):
        node = bought(until=120, idle_for=31)
        assert decided(a_situation(node), BUFFER).actions == ()
        assert decided(a_situation(node, queue=[a_waiting_job(gpus=1)])).actions == ()
        assert decided(a_situation(node, promises=(a_promise(1, start=100, end=130),))).actions == ()
        assert len(decided(a_situation(node, promises=(a_promise(1, start=121, end=130),))).actions) == 1

    def test_what_lasts_is_kept_for_a_reservation(self):
        nodes = [bought(f"node_{n}", until=60 + 10 * n, idle_for=31) for n in range(3)]
        actions = decided(a_situation(*nodes, promises=(a_promise(10),))).actions
        assert [(each.kind.value, each.window.end) for each in actions] == [("sell", at(60))]

    def test_what_an_open_sale_may_take_is_not_sold_again(self):
        """A sale by hand of what stood empty keeps no node free."""
        owned = [bought(f"node_{n}", until=180, idle_for=60) for n in range(3)]
        by_hand = OpenOrder(
            id="order_1", side=Side.SELL, sku=H100.id, window=Rectangle(start=at(60), end=at(180), nodes=2)
        )
        (action,) = decided(a_situation(*owned, open_orders=(by_hand,))).actions
        assert (action.kind, action.window.nodes) == (ActionKind.SELL, 1)
        of_another_kind = replace(by_hand, sku=H200.id)
        (action,) = decided(a_situation(*owned, open_orders=(of_another_kind,))).actions
        assert action.window.nodes == 3

    def test_an_empty_seat_for_an_open_sale_leaves_the_machines_to_sell(self):
        owned = [bought(f"node_{n}", until=180, idle_for=60) for n in range(2)]
        by_hand = OpenOrder(
            id="order_1", side=Side.SELL, sku=H100.id, window=Rectangle(start=at(60), end=at(180), nodes=1)
        )
        situation = a_situation(*owned, open_orders=(by_hand,))
        with_a_seat = replace(situation, owned=(*situation.owned, a_seat(until=at(180))))
        assert [each.window.nodes for each in decided(situation).actions] == [1]
        assert [each.window.nodes for each in decided(with_a_seat).actions] == [2]

    def test_a_node_that_was_not_bought_is_not_sold(self):
        node = a_fleet_node(idle_since=at(-300))
        assert decided(a_situation(nodes=(node,))).actions == ()


jobs = st.builds(
    a_waiting_job,
    gpus=st.integers(1, 8),
    nodes=st.integers(1, 3),
    gpu_type=st.sampled_from([None, "H100", "H200"]),
    minutes=st.none() | st.integers(1, 300),
    tier=st.sampled_from(Tier),
    limit=st.none() | st.decimals("0.50", "5", places=2).map(str),
)
nodes = st.tuples(
    st.sampled_from([H100, H200]), st.integers(0, 8), st.integers(100, 400), st.integers(0, 90), st.booleans()
)


@st.composite
def situations(draw):
    """Machines whose time is not nearly up: what is bought for others can't be mistaken for theirs."""
    queue = [replace(job, id=f"job_{n}") for n, job in enumerate(draw(st.lists(jobs, max_size=8)))]
    owned = [
        bought(f"node_{n}", sku=sku, free=free, until=until * 2, idle_for=idle, takes_work=works)
        for n, (sku, free, until, idle, works) in enumerate(draw(st.lists(nodes, max_size=5)))
    ]
    kinds = (a_kind(H100, usual_price=draw(st.none() | st.just(Decimal(16)))), a_kind(H200))
    promises = tuple(draw(st.lists(st.builds(a_promise, st.integers(1, 20)), max_size=2)))
    return a_situation(*owned, queue=queue, kinds=kinds, promises=promises)


policies = st.builds(
    Policy,
    fast_buffer_gpus=st.dictionaries(st.sampled_from(["H100", "H200"]), st.integers(0, 20)),
    max_nodes=st.integers(0, 12),
    block_minutes=st.sampled_from([60, 120]),
)
prices = st.fixed_dictionaries({H100.id: st.decimals("6", "40", places=2), H200.id: st.decimals("6", "40", places=2)})
markets = st.fixed_dictionaries({"asks": prices, "bids": prices, "depth": st.integers(0, 8)})


class TestInAnySituation:
    @given(situations(), policies, markets)
    def test_the_same_situation_is_the_same_plan(self, situation, policy, market):
        asked = quoted(situation, policy, **market)
        assert plan(asked, policy) == plan(asked, policy)

    @given(situations(), policies, markets)
    @settings(max_examples=300)
    def test_nothing_is_bought_for_a_job_again_once_it_is_ordered(self, situation, policy, market):
        """A market that has enough: else the next plan tries again for those who got nothing, as it should."""
        enough = {**market, "depth": 64}
        first = decided(situation, policy, **enough).actions
        for later in (0, 1):
            then = replace(ordered(situation, first), now=at(later))
            again = decided(then, policy, **enough).actions
            assert [each for each in again if each.jobs or each.kind is ActionKind.EXTEND] == []

    @given(situations(), policies, markets)
    def test_nothing_is_bought_for_the_buffer_again_once_it_is_ordered(self, situation, policy, market):
        """But for jobs that nobody buys for: they will take of it what they find."""
        there = replace(situation, queue=())
        first = decided(there, policy, **market).actions
        for later in (0, 1):
            again = decided(replace(ordered(there, first), now=at(later)), policy, **market).actions
            assert [each for each in again if each.kind.side is Side.BUY] == []

    @given(situations(), policies, markets)
    def test_no_purchase_goes_above_what_each_job_that_it_is_for_will_pay(self, situation, policy, market):
        limits = {job.id: job.wish.price_limit for job in situation.queue}
        for action in decided(situation, policy, **market).actions:
            if action.kind is ActionKind.BUY:
                assert action.limit_price <= market["asks"][action.sku] * policy.bid_up
                paying = [limit for name in action.jobs if (limit := limits[name]) is not None]
                assert all(action.limit_price <= limit * 8 for limit in paying)

    @given(situations(), policies, markets)
    def test_nothing_is_sold_that_works_is_kept_or_promised(self, situation, policy, market):
        sold = [each for each in decided(situation, policy, **market).actions if each.kind is ActionKind.SELL]
        idle = [node for node in situation.nodes if node.free_gpus == 8 and node.takes_work]
        for action in sold:
            named = [node for node in situation.nodes if node.id in action.reason]
            assert len(named) == action.window.nodes
            assert all(node in idle for node in named)
        for gpu_type, sku in (("H100", H100.id), ("H200", H200.id)):
            free = sum(node.free_gpus for node in situation.nodes if node.takes_work and node.gpu_type == gpu_type)
            gone = 8 * sum(each.window.nodes for each in sold if each.sku == sku)
            promised = sum(each.gpus for each in situation.promises if each.gpu_type == gpu_type)
            kept = policy.fast_buffer_gpus.get(gpu_type, 0) + promised
            assert gone == 0 or free - gone >= kept

    @given(situations(), markets)
    def test_without_a_queue_and_a_buffer_nothing_is_bought(self, situation, market):
        made = decided(replace(situation, queue=()), Policy(), **market)
        assert [each for each in made.actions if each.kind.side is Side.BUY] == []

    @given(situations(), policies, markets)
    def test_never_more_nodes_than_the_policy_allows(self, situation, policy, market):
        bought_now = sum(
            each.window.nodes for each in decided(situation, policy, **market).actions if each.kind is ActionKind.BUY
        )
        assert bought_now == 0 or len(situation.machines) + bought_now <= policy.max_nodes

    @given(situations(), policies, markets)
    def test_every_window_is_one_that_the_market_trades(self, situation, policy, market):
        for action in decided(situation, policy, **market).actions:
            window: Rectangle = action.window
            assert window.node_minutes > 0
            assert window.start.timestamp() % 60 == window.end.timestamp() % 60 == 0
            assert window.start >= situation.now
            assert action.limit_price is None or (action.limit_price > 0 and action.limit_price % TICK == 0)


def test_the_price_lists_of_these_tests_are_on_the_markets_tick():
    assert all(price % TICK == 0 for price in (*ASKS.values(), *BIDS.values()))
