"""The queue: the sensor that guarantees that what can run does run, whatever else is down."""

import dagster as dg

from scalar.capacity.placing import run_pass
from scalar.capacity.store import lease_unlaunched
from scalar.jobs.dagster import SENSOR_NAME, run_key, run_tags
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.jobs import gpu_run
from scalar_orchestration.resources import PostgresResource

_LAUNCHES_A_TICK = 100
"""What Dagster launches within the lease, with time to spare."""


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
        runs = lease_unlaunched(tx, utc_now(), limit=_LAUNCHES_A_TICK)
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key(run), tags=run_tags(run)) for run in runs])
