"""The queue: the sensor that guarantees that what can run does run, whatever else is down."""

import dagster as dg

from scalar.capacity.placing import run_pass
from scalar.capacity.store import unlaunched_runs
from scalar.jobs.dagster import SENSOR_NAME, run_tags
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.jobs import gpu_run
from scalar_orchestration.resources import PostgresResource


@dg.sensor(
    name=SENSOR_NAME,
    job=gpu_run,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Places queued jobs and starts a Dagster run for each placed one.",
)
def job_queue(database: PostgresResource) -> dg.SensorResult:
    """A run whose row says that it was launched is not asked for again; one that was asked for twice starts once."""
    with database.transaction() as tx:
        run_pass(tx, utc_now())
    with database.transaction() as tx:
        runs = unlaunched_runs(tx)
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run["run_id"], tags=run_tags(run)) for run in runs])
