"""The nudge is only the quick way: with it off, the `job_queue` sensor starts everything by itself."""

import os
import signal
from collections.abc import Iterator
from datetime import datetime

import pytest
from outside import World, counted, counting, eventually


@pytest.fixture
def without_nudge(world: World) -> Iterator[World]:
    """The same platform, with an API that doesn't know where Dagster is."""
    api = world.platform.processes["api"]
    assert isinstance(api.service.env, dict)

    def restart() -> None:
        before = api.pid
        os.kill(before, signal.SIGTERM)
        eventually(lambda: api.pid != before and api.service.ready(), what="the API is up again")

    dagster_url = api.service.env.pop("SCALAR_DAGSTER_URL")
    restart()
    yield world
    api.service.env["SCALAR_DAGSTER_URL"] = dagster_url
    restart()


def test_the_sensor_alone_starts_a_job_within_15_seconds(without_nudge):
    job_id = without_nudge.customer.submit(counting(5))
    job = without_nudge.ran_once(job_id, counted(5))
    run = job["runs"][0]
    tags = without_nudge.dagster.run(run["dagster_run_id"])["tags"]
    # Dagster gives a run that a tick has asked for the number of the tick; one that the nudge has asked for has none.
    assert tags["dagster/sensor_name"] == "job_queue"
    assert "dagster/tick" in tags
    waited = datetime.fromisoformat(run["started_at"]) - datetime.fromisoformat(job["submitted_at"])
    assert waited.total_seconds() < 15
