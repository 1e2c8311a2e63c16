"""The `rated_usage` asset, its checks and its sensor, against a real database."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from scalar.billing import ledger_store
from scalar.database import Database
from scalar.metering.doubts import accept
from scalar.metering.model import HOUR, Window, hour_of
from scalar.metering.store import replace_hour, spans_in
from scalar.metering.usage import usage_in
from scalar.protocol import TaskEnding
from scalar_orchestration.defs.billing import (
    every_metered_second_is_rated_once,
    hours_to_rate,
    rated_lines_add_up_to_the_ledger,
    rated_usage,
)
from tests.made_up import a_customer, a_job_of, a_node, alive, ended, launch, running, told

HOUR_AGO = hour_of(datetime.now(UTC)) - HOUR
CHECKS = [every_metered_second_is_rated_once, rated_lines_add_up_to_the_ledger]


@pytest.fixture
def rate(resource):
    """Materializes an hour; its result."""

    def run(hour: datetime = HOUR_AGO) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [rated_usage, *CHECKS],
            partition_key=hour.strftime("%Y-%m-%d-%H:%M"),
            resources={"database": resource},
            raise_on_error=False,
        )

    return run


@pytest.fixture
def organisation(database: Database) -> str:
    """One whose job had four GPUs for a quarter of the hour."""
    with database.transaction() as tx:
        a_node(tx, now=HOUR_AGO)
        customer = a_customer(tx)
        a_run_that_ends(tx, customer)
        build(tx)
    return customer[0]


def a_run_that_ends(tx, customer, minutes: int = 15, **how):
    run = launch(tx, a_job_of(tx, customer, gpus=4).id, now=HOUR_AGO)
    told(tx, run, running(run, at=HOUR_AGO))
    told(tx, run, ended(run, started_at=HOUR_AGO, at=HOUR_AGO + timedelta(minutes=minutes), **how))
    return run


def build(tx) -> None:
    """The hour's usage, as `hourly_usage` builds it."""
    window = Window(start=HOUR_AGO, end=HOUR_AGO + HOUR)
    records = usage_in(spans_in(tx, window), window)
    replace_hour(tx, HOUR_AGO, records, last_event_id=1, now=datetime.now(UTC))


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


def wants(resource) -> list[str]:
    """The partitions that the sensor asks for."""
    context = dg.build_sensor_context(resources={"database": resource})
    return [request.partition_key for request in hours_to_rate(context).run_requests]


def test_an_hour_is_rated_with_its_figures_and_passes_its_checks(rate, database: Database, organisation: str):
    result = rate()
    assert result.success
    assert outcomes(result) == dict.fromkeys((check.check_key.name for check in CHECKS), True)
    (made,) = result.asset_materializations_for_node("rated_usage")
    assert {name: made.metadata[name].value for name in ("lines", "organisations", "dollars", "credited_dollars")} == {
        "lines": 1, "organisations": 1, "dollars": 3.6, "credited_dollars": 0.0,
    }  # fmt: skip
    with database.transaction() as tx:
        assert ledger_store.balances(tx) == {"revenue": -3_600_000, f"unbilled:{organisation}": 3_600_000}
    again = rate()
    assert again.asset_materializations_for_node("rated_usage")[0].metadata["lines"].value == 0


def test_the_sensor_asks_for_what_was_built_since(rate, resource, database: Database, organisation: str):
    assert organisation
    assert wants(resource) == [HOUR_AGO.strftime("%Y-%m-%d-%H:%M")]
    assert rate().success
    assert wants(resource) == []
    with database.transaction() as tx:
        a_run_that_ends(tx, a_customer(tx, "late"))
        build(tx)
    assert wants(resource) == [HOUR_AGO.strftime("%Y-%m-%d-%H:%M")]
    assert rate().success
    assert wants(resource) == []


def test_the_sensor_asks_for_the_hours_of_a_run_that_was_lost_since(rate, resource, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=HOUR_AGO)
        customer = a_customer(tx)
        run = launch(tx, a_job_of(tx, customer, gpus=4).id, now=HOUR_AGO)
        told(tx, run, running(run, at=HOUR_AGO))
        told(tx, run, alive(run, started_at=HOUR_AGO, sequence=15))
        build(tx)
    assert rate().success
    assert wants(resource) == []
    with database.transaction() as tx:
        lost = {"ending": TaskEnding.CONTAINER_LOST, "exit_code": None}
        told(tx, run, ended(run, started_at=HOUR_AGO, at=HOUR_AGO + timedelta(minutes=15), **lost))
    assert wants(resource) == [HOUR_AGO.strftime("%Y-%m-%d-%H:%M")]
    assert rate().success
    assert wants(resource) == []
    with database.transaction() as tx:
        assert ledger_store.balances(tx) == {"credits": 3_600_000, "revenue": -3_600_000}


def test_an_hour_whose_usage_is_in_doubt_is_not_rated(rate, database: Database, organisation: str):
    with database.transaction() as tx:
        tx.execute("update run_tasks set ended_at = ended_at + interval '1 second'")
    assert not rate().success
    with database.transaction() as tx:
        assert ledger_store.balances(tx) == {}
    # Somebody has looked: it is rated as it is metered.
    accepting = {"reason": "The clock of the node was set", "actor": "op", "now": datetime.now(UTC)}
    with database.transaction() as tx:
        (doubt,) = accept(tx, Window.hour(HOUR_AGO), **accepting)
    assert (doubt.says.partition(" ")[2], doubt.accepted) == (
        "ran 3604.000000 GPU-seconds, and 3600.000000 are metered",
        True,
    )
    assert rate().success
    with database.transaction() as tx:
        assert ledger_store.balances(tx) == {"revenue": -3_600_000, f"unbilled:{organisation}": 3_600_000}
        (row,) = tx.execute("select subject, details from audit_log where action = 'usage.accept'").fetchall()
        assert (row["subject"], row["details"]["doubts"]) == (f"{HOUR_AGO:%Y-%m-%dT%H}", [doubt.says])
        # More of it, and the hour waits again.
        tx.execute("update run_tasks set ended_at = ended_at + interval '1 second'")
    assert not rate().success


def test_a_second_that_is_not_rated_and_a_line_that_is_not_posted_fail_the_hour(
    rate, resource, database: Database, organisation: str
):
    assert rate().success
    with database.transaction() as tx:
        tx.execute(
            """insert into rated_lines (hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind,
                   gpu_seconds, exact, amount, rate_card_id, ledger_source, rated_at)
               select hour, run_id, job_id, organisation_id, key_id, tier, gpu_type, kind, 1, 1, 1000000, rate_card_id,
                   ledger_source, rated_at from rated_lines"""
        )
    result = rate_nothing(resource)
    assert outcomes(result) == dict.fromkeys((check.check_key.name for check in CHECKS), False)
    assert organisation


def rate_nothing(resource) -> dg.ExecuteInProcessResult:
    """Only the checks, of an hour that stands."""

    @dg.asset(name="rated_usage", partitions_def=rated_usage.partitions_def, deps=["hourly_usage"])
    def as_it_stands() -> None: ...

    return dg.materialize(
        [as_it_stands, *CHECKS],
        partition_key=HOUR_AGO.strftime("%Y-%m-%d-%H:%M"),
        resources={"database": resource},
        raise_on_error=False,
    )
