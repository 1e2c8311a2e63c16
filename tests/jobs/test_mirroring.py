"""Telling Dagster: each run's news once, by one at a time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from scalar.database import Database, Transaction
from scalar.jobs.mirroring import Mirrored, lease_untold, told
from scalar.jobs.model import JobRun
from scalar.jobs.store import MIRROR_LEASE
from tests.made_up import NOON, a_customer, a_job_of, a_node, ended, launch, running
from tests.made_up import told as reported

_OVER = NOON + MIRROR_LEASE


def _a_run(tx: Transaction) -> JobRun:
    a_node(tx)
    return launch(tx, a_job_of(tx, a_customer(tx)).id)


def _ids(tx: Transaction, now: object) -> list[str]:
    return [each.run_id for each in lease_untold(tx, now)]  # type: ignore[arg-type]


def test_whoever_claims_a_run_has_its_beginning_leased(tx: Transaction) -> None:
    run = _a_run(tx)
    assert _ids(tx, NOON) == []
    assert _ids(tx, _OVER - timedelta(seconds=1)) == []
    assert _ids(tx, _OVER) == [run.id]


def test_a_lease_that_runs_out_is_taken_over_once(tx: Transaction) -> None:
    run = _a_run(tx)
    assert _ids(tx, _OVER) == [run.id]
    assert _ids(tx, _OVER) == []
    assert _ids(tx, _OVER + MIRROR_LEASE) == [run.id]


def test_a_run_is_told_of_once_a_change_and_then_left_alone(tx: Transaction) -> None:
    run = _a_run(tx)
    seen = []
    for report in (None, running(run), ended(run, at=NOON + timedelta(seconds=5), exit_code=3)):
        if report:
            reported(tx, run, report)
        for untold in lease_untold(tx, _OVER):
            seen.append((untold.mirrored, untold.state, untold.text))
            told(tx, run.id, [Mirrored.STARTED, Mirrored.RUNNING, Mirrored.ENDED][len(seen) - 1])
        assert _ids(tx, _OVER) == []
    assert seen == [
        ("nothing", "launched", ""),
        ("started", "running", ""),
        ("running", "failed", "Your command ended with exit code 3."),
    ]


def test_what_dagster_was_told_last_is_not_told_back(tx: Transaction) -> None:
    run = _a_run(tx)
    reported(tx, run, ended(run))
    told(tx, run.id, Mirrored.ENDED)
    told(tx, run.id, Mirrored.STARTED)
    assert _ids(tx, _OVER) == []


def test_a_run_that_dagster_does_not_know_is_nothing_to_tell(tx: Transaction) -> None:
    a_node(tx)
    customer = a_customer(tx)
    launch(tx, a_job_of(tx, customer).id)
    a_job_of(tx, customer)
    assert len(_ids(tx, _OVER)) == 1


def test_two_who_lease_at_once_never_have_the_same_run(database: Database) -> None:
    with database.transaction() as tx:
        customer = a_customer(tx)
        for name in ("alpha", "beta"):
            a_node(tx, name, gpus=8)
        runs = {launch(tx, a_job_of(tx, customer).id).id for _ in range(16)}

    def lease(_: int) -> list[str]:
        leased = []
        with database.transaction() as tx:
            while some := lease_untold(tx, _OVER, limit=3):
                leased += [each.run_id for each in some]
        return leased

    with ThreadPoolExecutor(4) as threads:
        leased = [run_id for some in threads.map(lease, range(4)) for run_id in some]
    assert sorted(leased) == sorted(runs)


def test_a_lease_names_the_nodes_and_counts_the_ranks(tx: Transaction) -> None:
    for name in ("alpha", "beta"):
        a_node(tx, name)
    launch(tx, a_job_of(tx, a_customer(tx), nodes=2, gpus=8).id)
    (untold,) = lease_untold(tx, _OVER)
    assert (untold.nodes, untold.ranks) == ("alpha, beta", 2)
