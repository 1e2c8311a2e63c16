"""A job's life against a real Postgres."""

from datetime import timedelta
from uuid import uuid4

from pydantic import SecretStr

from scalar.database import Database
from scalar.jobs import store
from scalar.jobs.model import JobState, RunState
from scalar.jobs.reports import apply_report
from scalar.metering.store import spans_of_run
from scalar.metering.usage import gpu_seconds
from scalar.protocol import ReportOutcome, TaskEnded, TaskEnding, TaskRunning
from tests.made_up import NOON, a_key, a_launched_run, a_node, a_submitted_job, an_organisation


def test_a_job_that_ends_well_has_succeeded_and_is_metered_from_start_to_end(database: Database) -> None:
    with database.transaction() as tx:
        org = an_organisation(tx)
        _, key_id = a_key(tx, organisation_id=org.id)
        node = a_node(tx)
        job = a_submitted_job(tx, org.id, key_id, gpus=2)
        run = a_launched_run(tx, job.id, str(uuid4()))
        base = {"run_id": run.id, "rank": 0, "token": SecretStr(run.token.get_secret_value())}
        start, end = NOON + timedelta(seconds=1), NOON + timedelta(seconds=31.5)
        running = TaskRunning(**base, at=start, container_id="c")
        ended = TaskEnded(**base, at=end, started_at=start, ending=TaskEnding.EXITED, exit_code=0)
        assert apply_report(tx, node.id, running, start) is ReportOutcome.ACCEPTED
        assert apply_report(tx, node.id, running, start) is ReportOutcome.DUPLICATE
        assert store.job(tx, job.id).state is JobState.RUNNING
        assert apply_report(tx, node.id, ended, end) is ReportOutcome.ACCEPTED
        assert apply_report(tx, node.id, ended, end) is ReportOutcome.DUPLICATE
        assert store.run(tx, run.id).state is RunState.SUCCEEDED
        assert store.job(tx, job.id).state is JobState.SUCCEEDED
        assert gpu_seconds(spans_of_run(tx, run.id)) == 61
