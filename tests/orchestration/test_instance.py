"""`dagster.yaml`: what it loads, and what our parts of it do."""

from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus

from scalar.capacity.placing import run_pass
from scalar.database import Database
from scalar.jobs import store
from scalar.jobs.model import RunState
from scalar_orchestration.clock import utc_now
from scalar_orchestration.compute_logs import ScalarComputeLogManager
from scalar_orchestration.defs.jobs import gpu_run
from scalar_orchestration.run_coordinator import ScalarRunCoordinator
from scalar_orchestration.run_launcher import ScalarRunLauncher
from tests.made_up import a_customer, a_job_of, a_node


def a_dagster_run(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(gpu_run, tags={name.replace("__", "/"): value for name, value in tags.items()})


def launched(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """What has become of it."""
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return instance.get_run_by_id(run.run_id)


def messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    return "\n".join(
        entry.dagster_event.message or "" for entry in instance.all_logs(run.run_id) if entry.dagster_event
    )


def test_every_part_of_it_is_ours(instance):
    assert isinstance(instance.run_launcher, ScalarRunLauncher)
    assert isinstance(instance.run_coordinator, ScalarRunCoordinator)
    assert isinstance(instance.compute_log_manager, ScalarComputeLogManager)
    assert type(instance.run_storage).__module__ == "scalar_orchestration.storage"
    assert instance.run_monitoring_enabled
    assert not instance.telemetry_enabled


def test_its_storage_keeps_runs_in_postgres(instance, instance_of):
    run = a_dagster_run(instance)
    assert instance_of().get_run_by_id(run.run_id).job_name == "gpu_run"


def test_asset_runs_can_go_to_containers(instance_of):
    instance = instance_of(run_launcher={"asset_runs": "docker", "image": "scalar:1", "network": "scalar"})
    assert instance.run_launcher.image == "scalar:1"
    assert instance.run_launcher.networks == ["scalar"]


def test_asset_runs_that_would_go_nowhere_are_refused(instance_of):
    with pytest.raises(ValueError, match="asset_runs: 'dokcer' is neither `process` nor `docker`"):
        assert instance_of(run_launcher={"asset_runs": "dokcer"}).run_launcher


def test_a_launched_run_is_claimed_and_a_second_one_for_it_is_skipped(instance, database: Database):
    with database.transaction() as tx:
        a_node(tx, now=utc_now())
        job = a_job_of(tx, a_customer(tx), now=utc_now())
        run_pass(tx, utc_now())
        (placed,) = store.runs_of_job(tx, job.id)
    first = launched(instance, a_dagster_run(instance, scalar__run_id=placed.id, scalar__node="alpha"))
    second = launched(instance, a_dagster_run(instance, scalar__run_id=placed.id, scalar__node="alpha"))
    assert (first.status, second.status) == (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED)
    assert f"{placed.id} is on its way to alpha." in messages(instance, first)
    assert f"Dagster run {first.run_id} runs it" in messages(instance, second)
    with database.transaction() as tx:
        run = store.run(tx, placed.id)
    assert (run.state, run.dagster_run_id) == (RunState.LAUNCHED, first.run_id)
    assert instance.run_launcher.check_run_worker_health(first).status is WorkerStatus.RUNNING


def test_a_run_that_belongs_to_no_job_fails_with_what_to_do(instance):
    run = launched(instance, a_dagster_run(instance))
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert "A gpu_run belongs to a customer's job: submit one with POST /v1/jobs." in messages(instance, run)


def test_a_run_that_scalar_does_not_know_is_lost(instance):
    run = a_dagster_run(instance, scalar__run_id="run_nosuch")
    assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND
    assert not instance.run_launcher.terminate(str(uuid4()))


def test_a_container_without_output_has_an_empty_log(instance):
    manager = instance.compute_log_manager
    shown = manager.get_log_data([str(uuid4()), "compute_logs", "container"])
    assert (shown.stdout, shown.stderr) == (b"", b"")
    metadata = manager.get_log_metadata([str(uuid4()), "compute_logs", "container"])
    assert (metadata.stdout_location, metadata.stderr_location) == (None, None)


def test_executed_by_dagster_itself_it_fails_and_says_what_is_wrong_with_the_instance():
    result = gpu_run.execute_in_process(raise_on_error=False)
    assert not result.success
    assert "does not use scalar_orchestration.run_launcher" in str(result.all_events)
