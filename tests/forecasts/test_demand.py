"""What was wanted in an hour: the pure rule, and what the database knows of it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from scalar.capacity.placing import run_pass
from scalar.database import Database
from scalar.forecasts import demand_store, issuing
from scalar.forecasts.demand import Demand, Use, Wait, demand
from scalar.jobs import life
from scalar.market import price_store, store
from scalar.market.model import Sku
from scalar.market.prices import HourPrices, Traded
from scalar.metering.model import HOUR, Window
from tests.made_up import NOON, a_customer, a_job_of, a_node, ended, launch, running, told

OF_NOON = Window.hour(NOON)


def at(minutes: float):
    return NOON + timedelta(minutes=minutes)


def a_wait(**changes) -> Wait:
    return Wait(**{"gpu_type": "H100", "tier": "fast", "gpus": 8, "start": at(0), "end": at(30), **changes})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "queued"),
        ({"obstacle": "busy"}, "queued"),
        ({"obstacle": "quota"}, "refused_for_quota"),
        ({"obstacle": "credit"}, "refused_for_quota"),
        ({"price_limit": Decimal(1)}, "refused_for_price"),
        ({"price_limit": Decimal(2)}, "queued"),
        ({"price_limit": Decimal(1), "obstacle": "quota"}, "refused_for_quota"),
        ({"price_limit": Decimal(1), "gpu_type": "B200"}, "queued"),
        ({"price_limit": Decimal(1), "gpu_type": None}, "refused_for_price"),
    ],
)
def test_what_a_wait_counts_as(changes, kind):
    (found,) = demand([], [a_wait(**changes)], {"H100": Decimal(2), "H200": Decimal(3)})
    assert getattr(found, kind) == 4.0
    assert found.wanted == (4.0 if kind == "queued" else 0.0)


def test_types_and_tiers_are_apart():
    uses = [Use(gpu_type="H100", tier="fast", gpu_hours=3.0)]
    waits = [a_wait(), a_wait(tier="flex"), a_wait(gpu_type=None)]
    assert demand(uses, waits, {}) == [
        Demand(gpu_type="H100", tier="fast", running=3.0, queued=4.0),
        Demand(gpu_type="H100", tier="flex", queued=4.0),
        Demand(gpu_type="any", tier="fast", queued=4.0),
    ]


class TestHours:
    """Built of a real queue."""

    @pytest.fixture
    def built(self, tx):
        def build(window: Window = OF_NOON) -> dict[tuple[str, str], Demand]:
            found = issuing.build_hour(tx, window, window.end + HOUR)
            return {(each.gpu_type, each.tier): each for each in found}

        return build

    def test_nobody_wanted_anything(self, built):
        assert built() == {}

    def test_a_job_waits_and_then_runs(self, tx, built):
        job = a_job_of(tx, a_customer(tx), gpus=8, gpu_type="H100", now=at(-30))
        a_node(tx, now=at(15))
        run = launch(tx, job.id, now=at(15))
        told(tx, run, running(run, at=at(16)))
        told(tx, run, ended(run, started_at=at(16), at=at(45)))
        found = built()["H100", "fast"]
        assert found.queued == pytest.approx(8 * 15 / 60)
        assert found.running == pytest.approx(8 * 30 / 60)
        assert demand_store.unlike_the_queue(tx, OF_NOON) == pytest.approx(0)
        assert built(Window.hour(NOON - HOUR))["H100", "fast"].queued == pytest.approx(8 * 30 / 60)

    def test_a_job_that_still_waits_counts_to_the_end_of_the_hour(self, tx, built):
        a_job_of(tx, a_customer(tx), gpus=4, nodes=2, now=at(30))
        assert built()["any", "fast"].queued == pytest.approx(4.0)

    def test_one_that_was_cancelled_counts_until_then(self, tx, built):
        job = a_job_of(tx, a_customer(tx), gpus=4, now=at(0))
        life.cancel(tx, job.id, organisation_id=None, actor="test", now=at(15))
        assert built()["any", "fast"].queued == pytest.approx(1.0)

    def test_what_the_quota_refuses_is_apart(self, tx, built):
        a_node(tx, now=at(0))
        a_job_of(tx, a_customer(tx, max_gpus=2), gpus=4, now=at(0))
        run_pass(tx, at(1))
        found = built()["any", "fast"]
        assert (found.queued, found.refused_for_quota) == (0.0, 4.0)

    def test_what_is_too_dear_is_apart(self, tx, built):
        store.upsert_skus(tx, [Sku(id="isku_h100", alias="h100", gpu_type="H100", gpus_per_node=8)], NOON)
        traded = Traded(trades=1, node_hours=Decimal(1), low=Decimal(24), average=Decimal(24), high=Decimal(24))
        price_store.upsert(tx, [HourPrices(sku="isku_h100", hour=NOON, traded=traded)])
        a_job_of(tx, a_customer(tx), gpus=4, gpu_type="H100", now=at(0), max_price_per_gpu_hour=Decimal("2.5"))
        found = built()["H100", "fast"]
        assert (found.queued, found.refused_for_price) == (0.0, 4.0)

    def test_an_hour_that_is_built_again_is_the_same(self, tx, built):
        a_job_of(tx, a_customer(tx), gpus=4, now=at(0))
        assert built() == built()

    def test_hours_are_missed_from_the_first_job_on(self, tx, built):
        assert demand_store.missing_hours(tx, NOON - 5 * HOUR, NOON + 2 * HOUR) == []
        a_job_of(tx, a_customer(tx), gpus=4, now=at(0))
        assert demand_store.missing_hours(tx, NOON - 5 * HOUR, NOON + 2 * HOUR) == [NOON, NOON + HOUR]
        built()
        assert demand_store.missing_hours(tx, NOON - 5 * HOUR, NOON + 2 * HOUR) == [NOON + HOUR]


def test_a_job_that_was_requeued_waits_from_then(database: Database):
    with database.transaction() as tx:
        job = a_job_of(tx, a_customer(tx), gpus=8, now=at(-120))
        a_node(tx, now=at(-100))
        run = launch(tx, job.id, now=at(-100))
        told(tx, run, running(run, at=at(-99)))
        told(tx, run, ended(run, started_at=at(-99), at=at(-90), exit_code=1))
        life.requeue(tx, job.id, organisation_id=None, actor="test", now=at(30))
        (found,) = demand_store.waits_in(tx, OF_NOON)
    assert (found.start, found.end) == (at(30), at(60))
