"""`gpu_run`, the Dagster job that every run of a customer's job is a run of; and the sensor that closes its books."""

import dagster as dg

from scalar.jobs.dagster import JOB_NAME, STEP_KEY
from scalar_orchestration.resources import PostgresResource
from scalar_orchestration.run_mirror import mirror_all


@dg.op(name=STEP_KEY, description="The customer's container. It runs on a GPU node, never in Dagster's own process.")
def container() -> None:
    """Never called where the run launcher is Scalar's."""
    raise dg.Failure(
        "A gpu_run was executed by Dagster itself: the instance does not use scalar_orchestration.run_launcher."
    )


@dg.job(
    name=JOB_NAME,
    executor_def=dg.in_process_executor,
    description="One try of a customer's job. Start one with POST /v1/jobs; re-execute one here to run its job again.",
)
def gpu_run() -> None:
    container()


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Brings what became of GPU runs to Dagster, where the quick way failed.",
)
def run_ends(context: dg.SensorEvaluationContext, database: PostgresResource) -> dg.SkipReason:
    told = mirror_all(context.instance, database.transaction)
    return dg.SkipReason(f"{told} run(s) brought up to date." if told else "Every run is up to date.")
