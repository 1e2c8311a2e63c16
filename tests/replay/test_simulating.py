"""Simulated histories: what happens to jobs and machines, what it costs and brings, and that it all adds up."""

from dataclasses import replace
from decimal import Decimal

import pytest
from histories import SETUP, START, a_history, an_arrival, at, steady
from hypothesis import given, settings
from hypothesis import strategies as st

from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.model import per_gpu_hour
from scalar.billing.rate_cards import RateCard
from scalar.capacity.model import FreeNode
from scalar.capacity.scheduling import place
from scalar.jobs.model import Tier
from scalar.market.model import Sku
from scalar.replay.arrivals import job_of
from scalar.replay.history import offered
from scalar.replay.model import Part
from scalar.replay.policies import Optimal, Reactive
from scalar.replay.reporting import oracle, oracle_of, replay, replay_parts
from scalar.replay.simulating import Simulation
from scalar.replay.waiting import Queue

H200 = Sku(id="isku_h200", alias="h200", gpu_type="H200", gpus_per_node=8)


def test_a_job_waits_for_its_machine_runs_and_is_paid_for():
    """It comes at half past; the plan of that minute buys an hour; the machine boots for five minutes."""
    history = a_history(an_arrival("job_1", 0.5, runs=0.5), hours=3)
    found = replay(history, SETUP, Reactive())
    assert (found.jobs, found.finished, found.interruptions) == (1, 1, 0)
    assert found.wait_median == 6 * 60
    assert found.gpu_hours == pytest.approx(4.0)
    # Eight GPUs for half an hour at the built-in $3.60; a node for one hour at $16.80.
    assert found.revenue == Decimal("14.4")
    assert found.cost == Decimal("16.8")
    assert found.margin == Decimal("-2.4")
    assert found.utilisation == pytest.approx(0.5)


def test_machines_that_work_are_extended_and_nobody_is_interrupted():
    found = replay(a_history(an_arrival("job_1", 0, runs=5), hours=8), SETUP, Reactive())
    assert (found.finished, found.interruptions) == (1, 0)
    assert found.cost == 6 * Decimal("16.8")


def test_a_job_whose_machine_goes_away_starts_anew_and_pays_once():
    """Its limit is below what the time that follows costs."""
    prices = {START: Decimal("16.8"), at(1): Decimal(80), at(2): Decimal("16.8")}
    job = an_arrival("job_1", 0, runs=1.5, max_price_per_gpu_hour=Decimal("2.5"))
    found = replay(a_history(job, hours=12, prices=prices), SETUP, Reactive())
    assert (found.finished, found.interruptions) == (1, 1)
    assert found.gpu_hours == pytest.approx(12.0)
    assert found.revenue == 12 * Decimal("3.6")


def test_a_gang_gets_all_its_machines():
    found = replay(a_history(an_arrival("job_1", 0, runs=1, nodes=3), hours=4), SETUP, Reactive())
    assert (found.finished, found.gpu_hours) == (1, pytest.approx(24.0))


def test_a_deadline_is_missed_where_a_job_ends_after_it():
    on_time = an_arrival("job_1", 0, tier=Tier.FLEX, deadline=at(5))
    late = an_arrival("job_2", 0, tier=Tier.FLEX, deadline=at(1))
    found = replay(a_history(on_time, late, hours=8), SETUP, Reactive())
    assert (found.deadlines, found.missed_deadlines) == (2, 1)


def test_a_deadline_is_kept_though_an_hour_costs_more_than_usual_all_day():
    """It waits for a usual price for as long as it can, and is bought for in time; who has no deadline waits on."""
    prices = {at(hour): Decimal(10) if hour < 0 else Decimal(30) for hour in range(-168, 24)}
    due = an_arrival("job_1", 1.1, tier=Tier.FLEX, deadline=at(9))
    someday = an_arrival("job_2", 1, tier=Tier.FLEX)
    found = replay(a_history(due, someday, hours=12, prices=prices), SETUP, Reactive())
    assert (found.finished, found.deadlines, found.missed_deadlines) == (1, 1, 0)
    assert found.cost == 2 * Decimal(30)


def test_looking_ahead_costs_less_than_buying_by_the_hour_and_more_than_knowing_all():
    history = a_history(*steady(3, 96), hours=96, earlier=(24.0,) * 400)
    reactive, optimal = replay(history, SETUP, Reactive()), replay(history, SETUP, Optimal(scenarios=10, hours=48))
    best = oracle(history, SETUP)
    assert optimal.fell_back == 0
    assert optimal.cost < Decimal("0.8") * reactive.cost
    assert best.cost <= optimal.cost
    assert best.revenue >= optimal.revenue


def test_a_peak_of_every_day_is_bought_for_its_hours():
    """It is foreseen, as plans foresee: a long block for each day's peak would be sold again by night."""
    hours = 4 * 24
    base = an_arrival("base", 0, runs=hours)
    peaks = [an_arrival(f"peak_{day}_{n}", 24 * day + 9, runs=8) for day in range(4) for n in range(4)]
    earlier = tuple(40.0 if 9 <= hour % 24 < 17 else 8.0 for hour in range(28 * 24))
    history = a_history(base, *peaks, hours=hours, earlier=earlier)
    once, often = (replay(history, SETUP, Optimal(foresee_every=hours)) for hours in (24, 6))
    assert max(once.cost, often.cost) < Decimal("1.15") * oracle(history, SETUP).cost


def test_the_same_history_is_the_same_report():
    history = a_history(*steady(2, 12, each_runs=0.7), hours=16)
    assert replay(history, SETUP, Reactive()) == replay(history, SETUP, Reactive())


arrivals = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0.05, 6), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 1, 2])),
    max_size=12,
)


@settings(deadline=None, max_examples=25)
@given(arrivals)
def test_hours_used_are_hours_run_and_nothing_is_used_that_was_not_owned(rows):
    jobs = [an_arrival(f"job_{n}", *row[:1], runs=row[1], gpus=row[2], nodes=row[3]) for n, row in enumerate(rows)]
    history = a_history(*jobs, hours=60)
    simulation = Simulation(history, SETUP, Reactive())
    happened = simulation.run()
    assert happened.finished == len(jobs)
    used = sum(microseconds for (*_, lost), microseconds in happened.used.items() if not lost) / 3.6e9
    assert used == pytest.approx(sum(each.seconds * each.gpus * each.nodes for each in jobs) / 3600, rel=1e-6)
    assert used == pytest.approx(offered(jobs, START, at(60)).sum(), rel=1e-6)
    owned = sum(block.kept(START, at(100)) * block.gpus for block in happened.fleet.blocks()) / 3.6e9
    assert used <= owned + 1e-6
    assert len(happened.waits) == len(jobs)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 3, 8]), st.sampled_from([1, 2, 3]), st.sampled_from(list(Tier)), st.integers(0, 5)
        ),
        max_size=30,
    ),
    st.lists(st.integers(0, 8), max_size=6),
)
def test_looking_only_at_what_could_start_places_the_same_jobs(rows, frees):
    jobs = [
        job_of(an_arrival(f"job_{n:02}", hour, gpus=gpus, nodes=nodes, tier=tier))
        for n, (gpus, nodes, tier, hour) in enumerate(rows)
    ]
    nodes = [_node(f"node_{n}", free) for n, free in enumerate(frees)]
    queue = Queue()
    for job in jobs:
        queue.add(job)
    everything = sorted(jobs, key=lambda job: (job.spec.tier is Tier.FLEX, job.submitted_at, job.id))
    whole = place(everything, nodes, {}, at(6))
    some = place(queue.that_might_start(sum(frees)), [each for each in nodes if each.free_gpus], {}, at(6))
    assert some.placements == whole.placements
    queue.remove({each.job_id for each in some.placements})
    assert len(queue) == len(jobs) - len(some.placements)


def _node(name: str, free: int) -> FreeNode:
    return FreeNode(
        id=name,
        gpu_type="H100",
        gpus_total=8,
        free_gpus=tuple(range(free)),
        cpus_total=128,
        free_cpus=free * 16.0,
        memory_total=2**40,
        free_memory=free * 2**37,
        available_until=None,
    )


def test_whose_deadline_presses_goes_first_and_only_if_it_still_waits():
    queue = Queue()
    first, due, gone = (
        job_of(an_arrival(name, hour, tier=tier, deadline=at(20)))
        for name, hour, tier in (("first", 0, Tier.FAST), ("due", 2, Tier.FLEX), ("gone", 3, Tier.FLEX))
    )
    for job in (due, first, job_of(an_arrival("later", 4))):
        queue.add(job)
    assert [job.id for job in queue.first(9)] == ["first", "later", "due"]
    queue.press(due)
    queue.press(gone)
    assert [job.id for job in queue.first(9)] == ["first", "due", "later"]
    assert (len(queue), queue.gpus(Tier.FLEX)) == (3, 8)
    queue.remove({"due"})
    queue.press(due)
    assert (len(queue), queue.gpus(Tier.FLEX)) == (2, 0)


def test_the_market_sells_no_more_than_it_has():
    found = replay(a_history(an_arrival("job_1", 0, nodes=3), hours=4), replace(SETUP, depth=2), Reactive())
    assert (found.finished, found.cost) == (0, 0)


class TestOfSeveralGpuTypes:
    """Two H100 jobs of an hour at $16.80 a node, and one of two hours on H200s at $25."""

    @staticmethod
    def parts() -> list[Part]:
        few = a_history(an_arrival("job_1", 0), an_arrival("job_2", 5, organisation_id="other"), hours=12)
        many = a_history(an_arrival("job_3", 0, runs=0.5), hours=12, price="25")
        return [Part(history=few), Part(history=many, setup=replace(SETUP, sku=H200))]

    def test_each_type_has_its_price_and_the_report_is_of_all(self):
        found = replay_parts(self.parts(), Reactive)
        assert (found.jobs, found.finished, found.gpu_hours) == (3, 3, pytest.approx(20.0))
        # A machine needs minutes to boot, so that an hour's work takes two hours' blocks.
        assert float(found.cost) == pytest.approx(4 * 16.8 + 25, abs=1e-3)
        assert found.revenue == 16 * Decimal("3.6") + 4 * Decimal(4)
        best = oracle_of(self.parts())
        assert float(best.cost) == pytest.approx(2 * 16.8 + 12.5)
        assert best.revenue == found.revenue

    def test_the_rate_cards_in_force_are_what_it_is_rated_by(self):
        def card(name: str, whose: str | None, price: str, **until) -> RateCard:
            prices = {("*", Tier.FAST): Flat(price=per_gpu_hour(price))}
            return RateCard(id=name, name=name, organisation_id=whose, effective_from=at(-24), prices=prices, **until)

        cards = [card("own", "other", "1"), card("old", None, "9", effective_until=at(-1))]
        expected = 8 * Decimal("3.6") + 8 * Decimal(1) + 4 * Decimal(4)
        assert replay_parts(self.parts(), Reactive, cards).revenue == expected
        assert oracle_of(self.parts(), cards).revenue == expected

    def test_progress_is_of_all_parts(self):
        told: list[float] = []
        replay_parts(self.parts(), Reactive, progress=told.append)
        assert told == sorted(told)
        assert told[0] == 0
        assert 0.9 < told[-1] <= 1


def test_flex_jobs_wait_for_a_cheaper_hour_and_none_is_late():
    """At night an hour costs half: who may wait for ten hours does."""
    prices = {at(hour): Decimal(20) if hour % 24 < 16 else Decimal(10) for hour in range(-168, 72)}
    pays = {"tier": Tier.FLEX, "max_price_per_gpu_hour": Decimal(9)}
    jobs = [an_arrival(f"job_{day}", 24 * day + 10, deadline=at(24 * day + 21), **pays) for day in range(2)]
    history = a_history(*jobs, hours=72, prices=prices)
    # Prices are known from the first hour on: by the second day it has seen a night.
    looking, now = replay(history, SETUP, Optimal(scenarios=10, hours=24)), replay(history, SETUP, Reactive())
    assert (looking.finished, looking.missed_deadlines, now.missed_deadlines) == (2, 0, 0)
    assert looking.cost < now.cost
    assert looking.wait_p95 > now.wait_p95
    assert looking.fast_wait_p95 == 0
