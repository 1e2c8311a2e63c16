"""What a job earned: while it runs, when it has just ended, and from the books; what months and blocks add up to."""

from decimal import Decimal

import pytest

from scalar.billing import cost_store, costing, margin_store, tie_store
from scalar.billing.margin import CustomerLine, JobMargin, Margin
from scalar.billing.margins import margin_of_job
from scalar.billing.rated_usage import rate_hour
from scalar.database import Transaction
from scalar.errors import NotFound
from scalar.metering.model import HOUR, Window
from tests.billing.bought import a_block, a_machine, a_run, at, metered, sold
from tests.made_up import NOON, a_customer, a_node

DOLLAR = 1_000_000
NOVEMBER = Window(start=NOON.replace(day=1, hour=0), end=NOON.replace(month=12, day=1, hour=0))


def close_hour(tx: Transaction, hour: int = 0, *, now: float = 24 * 60) -> None:
    """Metered, rated and costed."""
    metered(tx, hour * 60, now=now)
    rate_hour(tx, NOON + hour * HOUR, at(now))
    costing.post_market(tx, at(now))
    costing.cost_hour(tx, NOON + hour * HOUR, at(now))


def parts(found: JobMargin) -> tuple[int, int, int, bool]:
    return found.revenue, found.cost, found.idle_cost, found.exact


def test_a_job_that_has_just_ended_has_its_margin_before_its_hour_is_over(tx: Transaction):
    block = a_block(tx, 0, 120, price="24")
    a_machine(tx, (block, 0, 0, 120))
    run = a_run(tx, a_customer(tx), 10, 30, gpus=4)
    # 4 GPUs for 20 minutes at $3.60 an hour; half a node for 20 minutes at $24; $8 of the first half hour are idle.
    found = margin_of_job(tx, run.job_id, at(30))
    assert parts(found) == (4_800_000, 4_000_000, 8_000_000, False)
    assert (found.before_idle, found.margin) == (800_000, -7_200_000)
    assert found.percent == Decimal("-150.0")
    (node,) = found.nodes
    assert (node.block_id, node.price, node.gpu_seconds) == (block, Decimal("24.000000"), Decimal(4800))
    # A quarter of an hour later more of it stood idle; once the hour is over, it is what the books say.
    assert parts(margin_of_job(tx, run.job_id, at(45))) == (4_800_000, 4_000_000, 14_000_000, False)
    close_hour(tx)
    assert parts(margin_of_job(tx, run.job_id, at(61))) == (4_800_000, 4_000_000, 20_000_000, True)


def test_a_job_that_runs_over_hours_has_each_hours_cost_and_is_provisional_until_the_last_is_in_the_books(
    tx: Transaction,
):
    block = a_block(tx, 0, 240, price="24")
    a_machine(tx, (block, 0, 0, 240))
    run = a_run(tx, a_customer(tx), 30, 90)
    close_hour(tx)
    # Idle: the half hour before it, and the half hour after it until now.
    assert parts(margin_of_job(tx, run.job_id, at(120))) == (28_800_000, 24 * DOLLAR, 24 * DOLLAR, False)
    close_hour(tx, 1)
    assert parts(margin_of_job(tx, run.job_id, at(120))) == (28_800_000, 24 * DOLLAR, 24 * DOLLAR, True)


def test_a_job_that_runs_is_provisional_and_counts_to_its_last_sign_of_life(tx: Transaction):
    a_machine(tx, (a_block(tx, 0, 120), 0, 0, 120))
    run = a_run(tx, a_customer(tx), 10, None)
    assert parts(margin_of_job(tx, run.job_id, at(20))) == (0, 0, 0, False)


def test_a_node_that_was_not_bought_costs_nothing_and_is_said_to(tx: Transaction):
    a_node(tx, "own", now=at(60))
    run = a_run(tx, a_customer(tx), 0, 10)
    found = margin_of_job(tx, run.job_id, at(10))
    assert (found.cost, found.idle_cost, found.nodes) == (0, 0, ())
    assert found.not_bought == found.gpu_seconds == 4800


def test_an_unknown_job_has_none(tx: Transaction):
    with pytest.raises(NotFound):
        margin_of_job(tx, "job_nowhere", NOON)


def test_no_revenue_has_no_percentage():
    assert Margin(cost=1).percent is None


def test_a_months_lines_are_the_jobs_the_customers_and_the_ledgers(tx: Transaction):
    acme, beta = a_customer(tx), a_customer(tx, "beta")
    blocks = [a_block(tx, 0, 60, price="24"), a_block(tx, 60, 180, price="12")]
    a_machine(tx, (blocks[0], 0, 0, 60), (blocks[1], 0, 60, 180))
    first = a_run(tx, acme, 0, 30)
    second = a_run(tx, beta, 30, 90, gpus=4)
    sold(tx, 120, 180, price="6", at_minute=120)
    for hour in range(3):
        close_hour(tx, hour)
    # 12:00 $24: acme 12, beta 6, idle 6 shared 2:1. 13:00 $12: beta 3 and all of the idle 9. 14:00 is sold for $5.88.
    assert [(each.name, each.revenue, each.cost, each.idle_cost) for each in margin_store.customers(tx, NOVEMBER)] == [
        ("acme", 14_400_000, 12 * DOLLAR, 4 * DOLLAR),
        ("beta", 14_400_000, 9 * DOLLAR, 11 * DOLLAR),
    ]
    assert [(each.job_id, each.margin) for each in margin_store.jobs(tx, NOVEMBER, limit=9)] == [
        (second.job_id, -5_600_000),
        (first.job_id, -1_600_000),
    ]
    (month,) = margin_store.months(tx, NOVEMBER)
    assert (month.revenue, month.direct, month.idle_shared) == (28_800_000, 21 * DOLLAR, 15 * DOLLAR)
    assert (month.idle_unshared, month.resale_result) == (0, 6_120_000)
    assert month.margin == 28_800_000 - 42_120_000
    assert [tie.off for tie in tie_store.month_ties(tx, NOVEMBER)] == [0, 0, 0, 0]
    assert tie_store.revenue_in_ledger(tx, NOVEMBER) == []


def test_a_block_shows_where_its_price_went_and_what_its_runs_brought(tx: Transaction):
    acme = a_customer(tx)
    blocks = [a_block(tx, 0, 30, price="24"), a_block(tx, 30, 120, price="12")]
    a_machine(tx, (blocks[0], 0, 0, 30), (blocks[1], 0, 30, 120))
    a_run(tx, acme, 15, 60)
    close_hour(tx)
    first, second = margin_store.pnl(tx, cost_store.bought(tx, blocks), NOVEMBER.end)
    # The run's $21.60 by GPU-seconds: 15 minutes on the first block, 30 on the second.
    assert (first.paid, first.direct, first.ahead, first.revenue) == (12 * DOLLAR, 6 * DOLLAR, 0, 7_200_000)
    assert (second.paid, second.direct, second.ahead, second.revenue) == (
        18 * DOLLAR,
        6 * DOLLAR,
        12 * DOLLAR,
        14_400_000,
    )
    assert (first.margin, second.margin) == (7_200_000 - 12 * DOLLAR, 14_400_000 - 6 * DOLLAR)


def test_what_is_rated_and_not_in_the_ledger_does_not_tie(tx: Transaction):
    a_machine(tx, (a_block(tx, 0, 60), 0, 0, 60))
    run = a_run(tx, a_customer(tx), 0, 30)
    close_hour(tx)
    tx.execute(
        """insert into rated_lines (hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind, gpu_seconds,
               exact, amount, rate_card_id, ledger_source, rated_at)
           select hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind, 0, 0.000001, 1, rate_card_id,
               ledger_source, rated_at from rated_lines where run_id = %s""",
        [run.id],
    )
    (tie,) = tie_store.revenue_in_ledger(tx, NOVEMBER)
    assert (tie.ours, tie.theirs) == (14_400_001, 14_400_000)


def test_usage_on_unbought_nodes_is_a_customers_too(tx: Transaction):
    a_node(tx, "own", now=at(24 * 60))
    a_run(tx, a_customer(tx), 0, 30)
    close_hour(tx)
    (line,) = margin_store.customers(tx, NOVEMBER)
    assert isinstance(line, CustomerLine)
    assert (line.name, line.revenue, line.cost, line.gpu_seconds) == ("acme", 14_400_000, 0, 14_400)
