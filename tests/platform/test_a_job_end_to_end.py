"""A customer's job, from POST to its last byte of output, as each of those who look at it sees it."""

from datetime import datetime

import pytest
from outside import World, counted, counting

SCRIPT = """
echo "$GREETING from $(hostname)"
echo "a warning" >&2
echo "GPU $SCALAR_GPU_INDICES of job $SCALAR_JOB_ID, run $SCALAR_RUN_ID"
sleep 2
"""


@pytest.fixture(scope="module")
def job(world: World):
    """One that has run."""
    job_id = world.customer.submit(SCRIPT, name="greeting", env={"GREETING": "hello"}, labels={"team": "a"})
    return world.customer.ended(job_id)


def test_the_customer_sees_its_state_its_times_and_its_exit_code(world, job):
    assert (job["name"], job["state"], job["reason"], job["exit_code"]) == ("greeting", "succeeded", "completed", 0)
    (run,) = job["runs"]
    assert (run["state"], run["node"]) == ("succeeded", world.platform.options.node_name)
    submitted, started, ended = (
        datetime.fromisoformat(each) for each in (job["submitted_at"], run["started_at"], run["ended_at"])
    )
    assert submitted < started < ended
    assert 2 <= (ended - started).total_seconds() < 5
    assert world.customer.explanation(job["id"])["summary"] == "It succeeded. It finished with exit code 0."


def test_the_environment_is_given_to_the_container_and_shown_to_nobody(world, job):
    assert job["env_names"] == ["GREETING"]
    assert "hello" not in world.customer.ask("GET", f"/v1/jobs/{job['id']}").text


def test_its_output_is_kept_whole(world, job):
    log = world.customer.log(job["id"])
    (run,) = job["runs"]
    assert "hello from " in log
    assert "a warning\n" in log
    assert f"of job {job['id']}, run {run['id']}\n" in log


def test_it_is_metered_by_its_containers_own_time(world, job):
    container = world.engine.the_one_of(job["id"])
    assert (container.exit_code, container.actions.count("create")) == (0, 1)
    assert job["gpu_seconds"] == pytest.approx(container.ran_seconds, abs=0.5)


def test_gpu_seconds_count_every_gpu(world):
    job_id = world.customer.submit("sleep 1", gpus=4)
    job = world.customer.ended(job_id)
    assert job["gpu_seconds"] == pytest.approx(4 * world.engine.the_one_of(job_id).ran_seconds, abs=1.0)
    assert job["runs"][0]["tasks"][0]["gpus"] == [0, 1, 2, 3]


def test_its_dagster_run_looks_as_any_other(world, job):
    (run,) = job["runs"]
    assert run["dagster_url"] == f"{world.platform.dagster_url}/runs/{run['dagster_run_id']}"
    seen = world.dagster.finished(run["dagster_run_id"])
    assert (seen["status"], seen["steps"]) == ("SUCCESS", {"container": "SUCCESS"})
    wanted = {
        "scalar/run_id": run["id"],
        "scalar/job_id": job["id"],
        "scalar/job_name": "greeting",
        "scalar/attempt": "1",
        "scalar/organisation": "demo",
        "scalar/organisation_id": job["organisation_id"],
        "scalar/node": world.platform.options.node_name,
        "scalar/tier": "fast",
    }
    assert wanted.items() <= seen["tags"].items()


def test_dagsters_events_tell_its_life_in_order_and_at_the_containers_own_times(world, job):
    (run,) = job["runs"]
    world.dagster.finished(run["dagster_run_id"])
    kinds = [
        kind
        for kind in world.dagster.event_types(run["dagster_run_id"])
        if kind in ("RUN_START", "LOGS_CAPTURED", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS", "RUN_FAILURE")
    ]
    assert kinds == ["RUN_START", "LOGS_CAPTURED", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS"]
    at = {event["eventType"]: int(event["timestamp"]) / 1000 for event in world.dagster.events(run["dagster_run_id"])}
    assert at["STEP_START"] == pytest.approx(datetime.fromisoformat(run["started_at"]).timestamp(), abs=0.01)
    assert at["STEP_SUCCESS"] == pytest.approx(datetime.fromisoformat(run["ended_at"]).timestamp(), abs=0.01)


def test_dagster_shows_stdout_and_stderr_apart(world, job):
    shown = world.dagster.output(job["runs"][0]["dagster_run_id"])
    assert "hello from " in shown["stdout"]
    assert "a warning" not in shown["stdout"]
    assert shown["stderr"] == "a warning\n"


def test_a_job_is_followed_live_and_to_its_end(world):
    job_id = world.customer.submit(counting(10, 0.2))
    text, came, end = "", [], {}
    for event, said, at in world.customer.events(job_id):
        if event == "log":
            text += said["text"]
            came.append(at)
        elif event == "end":
            end = said
    assert text == counted(10)
    assert (end["state"], end["exit_code"], end["reason"]) == ("succeeded", 0, "completed")
    # It was live: the first lines were here long before the last.
    assert len(came) >= 4
    assert came[-1] - came[0] > 1.0


def test_dagster_shows_the_output_of_a_job_that_still_runs(world):
    job_id = world.customer.submit("echo early; sleep 60")
    world.customer.has_printed(job_id, "early")
    run_id = world.dagster_run_of(job_id)
    assert world.dagster.output(run_id)["stdout"] == "early\n"
    assert world.dagster.run_in(run_id, "STARTED")["steps"] == {"container": "IN_PROGRESS"}
    world.customer.cancel(job_id)
    assert world.customer.ended(job_id)["state"] == "cancelled"
    assert world.dagster.finished(run_id)["status"] == "CANCELED"


def test_a_failing_jobs_dagster_run_fails_with_what_the_customer_is_told(world):
    job_id = world.customer.submit("echo oh no >&2; exit 3")
    job = world.customer.ended(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "error", 3)
    run = world.dagster.finished(job["runs"][0]["dagster_run_id"])
    assert (run["status"], run["steps"]) == ("FAILURE", {"container": "FAILURE"})
    assert "Your command ended with exit code 3." in world.dagster.messages(job["runs"][0]["dagster_run_id"])
