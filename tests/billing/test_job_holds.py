"""Hold, then settle: what a job may cost is nobody else's, and what it did not cost is free at once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from scalar.billing import exhaustion, hold_store, holds, wallet_store, wallets
from scalar.billing.credit import Terms
from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.model import per_gpu_hour
from scalar.billing.rates import set_rate_card
from scalar.capacity import fleet
from scalar.capacity.placing import run_pass
from scalar.database import Database, Transaction
from scalar.errors import Conflict, PaymentRequired
from scalar.jobs import life, store
from scalar.jobs.explanation import explain
from scalar.jobs.model import Job, JobRun, JobState, RetryOn, RetryPolicy, Tier
from scalar.metering.model import HOUR
from scalar.protocol import TaskEnding
from tests.billing.credit_made_up import DOLLAR, a_prepaid_customer, an_hour_of, rated, started, together, top_up
from tests.billing.rated_made_up import a_card
from tests.made_up import NOON, a_customer, a_job_of, a_node, a_spec, alive, ended, told

MINUTE = timedelta(minutes=1)


def available(tx: Transaction, customer: tuple[str, str], now: datetime = NOON) -> float | None:
    """Dollars."""
    found = wallets.available(tx, customer[0], now)
    return None if found is None else found / DOLLAR


def cost(tx: Transaction, job: Job) -> tuple[float, float]:
    """(Dollars so far, dollars held)."""
    found = holds.job_costs(tx, [job.id])[job.id]
    return float(found.so_far), found.held / DOLLAR


def the_job(tx: Transaction, job: Job) -> Job:
    found = store.job(tx, job.id)
    assert found is not None
    return found


def stopping(tx: Transaction, run: JobRun) -> str | None:
    found = store.run(tx, run.id)
    assert found is not None
    return found.stop_reason


def test_a_job_holds_its_worst_case_until_it_ends_and_then_what_it_cost(tx: Transaction) -> None:
    a_node(tx)
    customer = a_prepaid_customer(tx, 100)
    job = an_hour_of(tx, customer, gpus=4, max_runtime_seconds=7200)
    # 4 H100s x 2 h x $3.60.
    assert available(tx, customer) == 100 - 28.8
    assert cost(tx, job) == (0, 28.8)
    run = started(tx, job)
    end = NOON + 15 * MINUTE
    told(tx, run, ended(run, at=end))
    assert cost(tx, job) == (3.6, 0)
    assert available(tx, customer, end) == 100 - 3.6
    rated(tx, NOON)
    assert cost(tx, job) == (3.6, 0)
    assert available(tx, customer, end) == 100 - 3.6


def test_a_dearer_card_that_begins_meanwhile_is_held(tx: Transaction) -> None:
    customer = a_prepaid_customer(tx, 100)
    for hour, price in ((1, "7.20"), (2, "1.80")):
        card = a_card(customer[0], effective_from=NOON + hour * HOUR, fast=Flat(price=per_gpu_hour(price)))
        set_rate_card(tx, card, actor="ops", now=NOON)
    # To the hour it ends before the dearer one begins; a second more, and all of it is held at that.
    an_hour_of(tx, customer, max_runtime_seconds=3600)
    assert available(tx, customer) == 100 - 3.6
    an_hour_of(tx, customer, max_runtime_seconds=3601)
    assert available(tx, customer) == 89.198
    # A cheaper one takes nothing off the hours before it.
    an_hour_of(tx, customer, max_runtime_seconds=3 * 3600)
    assert available(tx, customer) == 67.598


def test_a_job_that_waits_gives_all_of_it_back_when_it_is_cancelled(tx: Transaction) -> None:
    customer = a_prepaid_customer(tx, 10)
    job = an_hour_of(tx, customer)
    life.cancel(tx, job.id, organisation_id=None, actor="test", now=NOON)
    assert available(tx, customer) == 10
    again = life.requeue(tx, job.id, organisation_id=None, actor="test", now=NOON)
    assert again.state is JobState.QUEUED
    assert available(tx, customer) == 10 - 3.6


def test_what_is_not_there_is_refused_with_how_much_is_missing(tx: Transaction) -> None:
    customer = a_prepaid_customer(tx, 10)
    an_hour_of(tx, customer, gpus=2)
    with pytest.raises(
        PaymentRequired, match=r"may cost \$3.60 at worst and \$2.80 is available: \$0.80 is miss"
    ) as no:
        an_hour_of(tx, customer)
    assert no.value.status == 402
    assert no.value.details == {"missing": "0.800000", "available": "2.800000", "worst_case": "3.600000"}
    assert "Top up" in no.value.message


def test_a_refused_job_leaves_no_trace_and_its_key_can_be_used_again(database: Database) -> None:
    with database.transaction() as tx:
        org, key = a_prepaid_customer(tx)

    def submit() -> life.Submission:
        with database.transaction() as tx:
            return life.submit(tx, a_spec(), organisation_id=org, key_id=key, idempotency_key="once", now=NOON)

    with pytest.raises(PaymentRequired):
        submit()
    with database.transaction() as tx:
        assert tx.execute("select from jobs").fetchall() == tx.execute("select from holds").fetchall() == []
        top_up(tx, org, 100)
    assert submit().created
    assert not submit().created


def test_a_customer_without_an_account_has_no_limit(tx: Transaction) -> None:
    a_node(tx)
    customer = a_customer(tx)
    job = an_hour_of(tx, customer, gpus=8, max_runtime_seconds=30 * 86_400)
    assert available(tx, customer) is None
    assert cost(tx, job) == (0, 8 * 3.6 * 720)
    run = started(tx, job)
    told(tx, run, alive(run, sequence=10), now=NOON + 10 * MINUTE)
    assert stopping(tx, run) is None


def test_what_is_invoiced_goes_as_far_as_its_credit_limit(tx: Transaction) -> None:
    customer = a_customer(tx)
    wallets.set_terms(tx, customer[0], Terms.INVOICED, limit=5 * DOLLAR, grace=MINUTE, now=NOON)
    an_hour_of(tx, customer)
    assert available(tx, customer) == pytest.approx(1.4)
    with pytest.raises(PaymentRequired, match="credit limit"):
        an_hour_of(tx, customer)


def test_a_job_of_any_gpu_type_holds_the_dearest_and_flex_its_cap(tx: Transaction) -> None:
    customer = a_customer(tx)
    assert cost(tx, a_job_of(tx, customer, max_runtime_seconds=3600)) == (0, 4.0)
    assert cost(tx, an_hour_of(tx, customer, tier=Tier.FLEX)) == (0, 3.0)


def test_a_max_cost_bounds_what_is_held(tx: Transaction) -> None:
    customer = a_prepaid_customer(tx, 3)
    job = an_hour_of(tx, customer, max_cost=Decimal("2.50"))
    assert cost(tx, job) == (0, 2.5)
    assert available(tx, customer) == 0.5


def test_what_the_platform_lost_costs_nothing_and_the_next_try_is_held(tx: Transaction) -> None:
    node = a_node(tx)
    customer = a_prepaid_customer(tx, 10)
    job = an_hour_of(tx, customer)
    run = started(tx, job)
    told(tx, run, alive(run, sequence=30), now=NOON + 30 * MINUTE)
    assert cost(tx, job)[0] == 1.8
    fleet.mark_gone(tx, node.id, "test", NOON + 30 * MINUTE)
    assert the_job(tx, job).state is JobState.QUEUED
    assert cost(tx, job) == (0, 3.6)
    assert available(tx, customer) == 6.4


def test_a_job_that_failed_by_itself_is_held_for_what_it_cost_and_another_try(tx: Transaction) -> None:
    a_node(tx)
    customer = a_prepaid_customer(tx, 20)
    job = an_hour_of(tx, customer, retries=RetryPolicy(max_attempts=2, on=frozenset(RetryOn)))
    run = started(tx, job)
    told(tx, run, ended(run, at=NOON + 30 * MINUTE, exit_code=1))
    assert the_job(tx, job).state is JobState.QUEUED
    assert available(tx, customer) == 20 - 1.8 - 3.6


def test_what_is_rated_leaves_the_hold_as_it_comes_to_the_ledger(tx: Transaction) -> None:
    a_node(tx)
    customer = a_prepaid_customer(tx, 20)
    job = an_hour_of(tx, customer, max_runtime_seconds=7200)
    run = started(tx, job)
    told(tx, run, alive(run, sequence=60), now=NOON + 60 * MINUTE)
    before = available(tx, customer)
    rated(tx, NOON)
    assert cost(tx, job) == (3.6, 3.6)
    assert available(tx, customer) == before == 20 - 7.2
    wallets.draw(tx, customer[0], NOON)
    assert available(tx, customer) == before


def test_a_settled_hold_is_released_once_its_last_hour_is_rated_even_if_that_came_to_less(tx: Transaction) -> None:
    a_node(tx)
    customer = a_prepaid_customer(tx, 20)
    run = started(tx, an_hour_of(tx, customer))
    told(tx, run, ended(run, at=NOON + 30 * MINUTE))
    tx.execute("update holds set amount = amount + 500000")
    rated(tx, NOON)
    assert available(tx, customer) == 20 - 1.8 - 0.5
    assert hold_store.release_rated(tx, NOON) == 1
    assert available(tx, customer) == 20 - 1.8


class TestWithoutMaxRuntime:
    def test_an_hour_is_held_and_then_always_a_quarter_of_one_ahead(self, tx: Transaction) -> None:
        a_node(tx)
        customer = a_prepaid_customer(tx, 20)
        job = an_hour_of(tx, customer, max_runtime_seconds=None)
        assert cost(tx, job) == (0, 3.6)
        run = started(tx, job)
        for minutes, held in ((30, 3.6), (45, 3.6), (50, 3.9), (60, 4.5), (120, 8.1)):
            told(tx, run, alive(run, sequence=minutes), now=NOON + minutes * MINUTE)
            assert cost(tx, job) == (pytest.approx(minutes * 0.06), held)
        told(tx, run, ended(run, at=NOON + 121 * MINUTE))
        assert available(tx, customer) == pytest.approx(20 - 121 * 0.06)

    def test_it_grows_past_what_there_is_and_new_jobs_are_refused_at_once(self, tx: Transaction) -> None:
        a_node(tx)
        customer = a_prepaid_customer(tx, 4)
        run = started(tx, an_hour_of(tx, customer, max_runtime_seconds=None))
        told(tx, run, alive(run, sequence=60), now=NOON + 60 * MINUTE)
        assert available(tx, customer) == -0.5
        with pytest.raises(PaymentRequired, match=r"\$0.56 is missing"):
            an_hour_of(tx, customer, max_runtime_seconds=60)


def an_empty_wallet(tx: Transaction, tier: Tier) -> tuple[tuple[str, str], Job, JobRun]:
    """At one o'clock its job has used $3.00 or $3.60 of $3.50, and holds more than there is."""
    a_node(tx)
    customer = a_prepaid_customer(tx, 3)
    top_up(tx, customer[0], 1)
    job = an_hour_of(tx, customer, max_runtime_seconds=None, tier=tier)
    run = started(tx, job)
    told(tx, run, alive(run, sequence=60), now=NOON + 60 * MINUTE)
    return customer, job, run


class TestAnEmptyWallet:
    def test_a_flex_job_is_stopped_after_its_grace_by_its_next_sign_of_life(self, tx: Transaction) -> None:
        customer, _, run = an_empty_wallet(tx, Tier.FLEX)
        told(tx, run, alive(run, sequence=70), now=NOON + 70 * MINUTE)
        since = wallets.account(tx, customer[0])
        assert since is not None
        assert since.empty_since == NOON + 70 * MINUTE
        told(tx, run, alive(run, sequence=74), now=NOON + 74 * MINUTE)
        assert stopping(tx, run) is None
        told(tx, run, alive(run, sequence=75), now=NOON + 75 * MINUTE)
        assert stopping(tx, run) == "out_of_credit"
        told(tx, run, ended(run, at=NOON + 75 * MINUTE, ending=TaskEnding.STOPPED))
        job = store.job(tx, run.job_id)
        assert job is not None
        assert (job.state, job.reason) == (JobState.CANCELLED, "out_of_credit")
        ended_run = store.run(tx, run.id)
        assert ended_run is not None
        said = explain(job, [ended_run], [], frozenset(), NOON).summary
        assert "credit was used up" in said

    def test_a_flex_job_is_stopped_by_the_sweep_where_its_node_is_silent(self, database: Database) -> None:
        with database.transaction() as tx:
            _, _, run = an_empty_wallet(tx, Tier.FLEX)
            told(tx, run, alive(run, sequence=70), now=NOON + 70 * MINUTE)
        assert exhaustion.sweep(database.transaction, NOON + 74 * MINUTE).stopped == 0
        assert exhaustion.sweep(database.transaction, NOON + 75 * MINUTE).stopped == 1
        assert exhaustion.sweep(database.transaction, NOON + 75 * MINUTE).stopped == 0
        with database.transaction() as tx:
            assert stopping(tx, run) == "out_of_credit"

    def test_a_fast_job_runs_on(self, database: Database) -> None:
        with database.transaction() as tx:
            customer, _, run = an_empty_wallet(tx, Tier.FAST)
            told(tx, run, alive(run, sequence=180), now=NOON + 180 * MINUTE)
        for minutes in (180, 300):
            done = exhaustion.sweep(database.transaction, NOON + minutes * MINUTE)
        assert (done.empty, done.stopped) == (1, 0)
        with database.transaction() as tx:
            assert stopping(tx, run) is None
            told(tx, run, ended(run, at=NOON + 180 * MINUTE))
            assert available(tx, customer) == pytest.approx(4 - 180 * 0.06)

    def test_credit_within_the_grace_lets_it_run_on(self, tx: Transaction) -> None:
        customer, _, run = an_empty_wallet(tx, Tier.FLEX)
        told(tx, run, alive(run, sequence=70), now=NOON + 70 * MINUTE)
        top_up(tx, customer[0], 10, now=NOON + 72 * MINUTE)
        told(tx, run, alive(run, sequence=80), now=NOON + 80 * MINUTE)
        assert stopping(tx, run) is None
        account = wallets.account(tx, customer[0])
        assert account is not None
        assert account.empty_since is None

    def test_flex_jobs_that_wait_stay_in_the_queue_until_there_is_credit_again(self, database: Database) -> None:
        later = NOON + 76 * MINUTE
        with database.transaction() as tx:
            a_node(tx, gpus=1)
            customer = a_prepaid_customer(tx, 7)
            over = started(tx, an_hour_of(tx, customer, max_runtime_seconds=None))
            waiting = an_hour_of(tx, customer, tier=Tier.FLEX)
            told(tx, over, alive(over, sequence=70), now=NOON + 70 * MINUTE)
        exhaustion.sweep(database.transaction, NOON + 70 * MINUTE)
        with database.transaction() as tx:
            told(tx, over, ended(over, at=later))
            # $7 less $4.56 for 76 minutes, and $3 held.
            assert available(tx, customer, later) == pytest.approx(-0.56)
        exhaustion.sweep(database.transaction, later)
        with database.transaction() as tx:
            tx.execute("update nodes set last_seen_at = %s", [later])
            assert run_pass(tx, later).queued == 0
            said = explain(the_job(tx, waiting), [], [], frozenset(), later)
            assert said.summary == "It waits: your organisation's credit is used up."
            top_up(tx, customer[0], 1, now=later)
            assert run_pass(tx, later).placed == 1


def test_a_job_is_stopped_when_it_has_cost_its_max_cost_and_does_not_start_again(database: Database) -> None:
    with database.transaction() as tx:
        a_node(tx)
        job = an_hour_of(tx, a_customer(tx), max_cost=Decimal("0.60"))
        run = started(tx, job)
        told(tx, run, alive(run, sequence=9), now=NOON + 9 * MINUTE)
    # Ten minutes: nothing is heard of the last, and it is counted all the same.
    assert exhaustion.sweep(database.transaction, NOON + 9 * MINUTE + timedelta(seconds=59)).stopped == 0
    assert exhaustion.sweep(database.transaction, NOON + 10 * MINUTE).stopped == 1
    with database.transaction() as tx:
        assert stopping(tx, run) == "max_cost_reached"
        told(tx, run, ended(run, at=NOON + 10 * MINUTE, ending=TaskEnding.STOPPED))
        assert the_job(tx, job).state is JobState.CANCELLED
    with pytest.raises(Conflict, match="has cost its max_cost"), database.transaction() as tx:
        life.requeue(tx, job.id, organisation_id=None, actor="test", now=NOON)


def test_a_silent_node_is_not_taken_to_run_for_ever(database: Database) -> None:
    with database.transaction() as tx:
        a_node(tx)
        run = started(tx, an_hour_of(tx, a_customer(tx), max_cost=Decimal("0.60")))
    assert exhaustion.sweep(database.transaction, NOON + 300 * MINUTE).stopped == 0
    with database.transaction() as tx:
        assert stopping(tx, run) is None


def test_a_hold_that_was_left_behind_is_settled_by_the_sweep(database: Database) -> None:
    with database.transaction() as tx:
        customer = a_prepaid_customer(tx, 10)
        job = an_hour_of(tx, customer)
        tx.execute("update jobs set state = 'cancelled', ended_at = %s where id = %s", [NOON, job.id])
    exhaustion.sweep(database.transaction, NOON)
    with database.transaction() as tx:
        assert available(tx, customer) == 10


def test_many_submissions_at_once_never_hold_more_than_there_is(database_url: str) -> None:
    with Database(database_url, max_connections=16) as database:
        with database.transaction() as tx:
            customer = a_prepaid_customer(tx, 20)

        def submit() -> None:
            with database.transaction() as tx:
                an_hour_of(tx, customer)

        refused = together([submit] * 16)
        with database.transaction() as tx:
            # Five of them: 5 x $3.60 = $18.
            assert len(store.jobs(tx, store.JobFilter(organisation_id=customer[0]))) == 5
            assert available(tx, customer) == 2
    assert [type(error) for error in refused] == [PaymentRequired] * 11


def test_everything_at_once_ends_without_a_deadlock_and_with_books_that_hold(database_url: str) -> None:
    with Database(database_url, max_connections=16) as database:
        with database.transaction() as tx:
            a_node(tx)
            customer = a_prepaid_customer(tx, 200, grace=timedelta(0))
            jobs = [an_hour_of(tx, customer, max_runtime_seconds=None, tier=Tier.FLEX) for _ in range(6)]
            runs = [started(tx, job) for job in jobs]
            for run in runs:
                told(tx, run, alive(run, sequence=59), now=NOON + 59 * MINUTE)
            rated(tx, NOON)
        later = NOON + 60 * MINUTE

        def one(deed: Callable[[Transaction], object]) -> Callable[[], None]:
            def act() -> None:
                with database.transaction() as tx:
                    deed(tx)

            return act

        deeds = [
            *[one(lambda tx, run=run: told(tx, run, alive(run, sequence=60), now=later)) for run in runs[:3]],
            *[one(lambda tx, run=run: told(tx, run, ended(run, at=later))) for run in runs[3:]],
            *[one(lambda tx: an_hour_of(tx, customer)) for _ in range(3)],
            *[one(lambda tx: wallets.draw(tx, customer[0], NOON)) for _ in range(2)],
            one(lambda tx: top_up(tx, customer[0], 1)),
            one(lambda tx: wallets.grant_credit(tx, customer[0], DOLLAR, "test/g", NOON, expires_at=later)),
            one(lambda tx: wallets.expire(tx, later + timedelta(days=1))),
            lambda: exhaustion.sweep(database.transaction, later) and None,
        ]
        assert together(deeds) == []
        with database.transaction() as tx:
            assert wallet_store.lots_against_ledger(tx) == []
            left = available(tx, customer, later)
            # $202 came in; three jobs ran for an hour, and those that run or wait hold what they may still cost.
            assert left is not None
            assert left < 202 - 3 * 3.0
