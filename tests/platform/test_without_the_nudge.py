"""The nudge is only the quick way: with it off, the `job_queue` sensor starts everything by itself."""

from datetime import datetime

from outside import counted, counting


def test_the_sensor_alone_starts_a_job_within_15_seconds(start_world):
    with start_world(nudge=False, gpus=2) as world:
        job_id = world.customer.submit(counting(5))
        job = world.ran_once(job_id, counted(5))
        run = job["runs"][0]
        assert world.dagster.run(run["dagster_run_id"])["tags"]["dagster/sensor_name"] == "job_queue"
        assert "dagster/tick" in world.dagster.run(run["dagster_run_id"])["tags"]
        waited = datetime.fromisoformat(run["started_at"]) - datetime.fromisoformat(job["submitted_at"])
        assert waited.total_seconds() < 15
