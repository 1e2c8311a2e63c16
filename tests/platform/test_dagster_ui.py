"""What an operator does in Dagster's UI to a customer's run: terminate, re-execute, launch."""

from outside import counted, counting, eventually

STEPS = ("RUN_START", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS")


def test_terminate_stops_the_container_and_the_job_says_who_stopped_it(world):
    job_id = world.customer.submit("trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done")
    world.customer.has_printed(job_id, "up")
    run_id = world.dagster_run_of(job_id)
    assert world.dagster.run(run_id)["canTerminate"]
    assert world.dagster.terminate(run_id) == "TerminateRunSuccess"
    job = world.customer.ended(job_id)
    assert (job["state"], job["reason"]) == ("cancelled", "terminated")
    assert world.customer.log(job_id) == "up\nbye\n"
    assert world.customer.explanation(job_id)["summary"] == (
        "It was cancelled. It was stopped by an operator of Scalar."
    )
    assert world.dagster.finished(run_id)["status"] == "CANCELED"
    container = world.engine.the_one_of(job_id)
    assert abs(job["gpu_seconds"] - container.ran_seconds) < 1.0


def test_terminating_what_has_ended_changes_nothing(world):
    job_id = world.customer.submit(counting(1))
    run_id = world.ran_once(job_id, counted(1))["runs"][0]["dagster_run_id"]
    assert world.dagster.terminate(run_id) != "TerminateRunSuccess"
    assert world.dagster.run(run_id)["status"] == "SUCCESS"
    assert world.customer.job(job_id)["state"] == "succeeded"


def test_re_execution_of_an_ended_run_runs_its_job_again(world):
    job_id = world.customer.submit(counting(2), name="twice")
    first = world.ran_once(job_id, counted(2))["runs"][0]["dagster_run_id"]
    again = world.dagster.re_execute(first)
    seen = world.dagster.finished(again)
    assert (seen["status"], seen["steps"]) == ("SUCCESS", {"container": "SUCCESS"})
    assert [kind for kind in world.dagster.event_types(again) if kind in STEPS] == list(STEPS)
    job = world.customer.ended(job_id)
    assert [(run["state"], run["dagster_run_id"]) for run in job["runs"]] == [
        ("succeeded", first),
        ("succeeded", again),
    ]
    assert world.dagster.output(again)["stdout"] == counted(2)
    assert len(world.engine.of_job(job_id)) == 2
    assert sum(each.ran_seconds for each in world.engine.of_job(job_id)) - job["gpu_seconds"] < 1.0
    # The first run's page stays as it was.
    assert world.dagster.run(first)["status"] == "SUCCESS"
    assert world.dagster.output(first)["stdout"] == counted(2)


def test_a_failed_run_can_be_re_executed_too(world):
    job_id = world.customer.submit("exit 1")
    job = world.customer.ended(job_id)
    again = world.dagster.re_execute(job["runs"][0]["dagster_run_id"])
    assert world.dagster.finished(again)["status"] == "FAILURE"
    job = eventually(lambda: (job := world.customer.ended(job_id)) and len(job["runs"]) == 2 and job)
    assert [run["exit_code"] for run in job["runs"]] == [1, 1]


def test_re_execution_of_a_job_that_still_runs_fails_and_leaves_it_alone(world):
    job_id = world.customer.submit(counting(30))
    world.customer.has_printed(job_id, "line 1\n")
    first = world.dagster_run_of(job_id)
    again = world.dagster.re_execute(first)
    assert world.dagster.finished(again)["status"] == "FAILURE"
    said = world.dagster.messages(again)
    assert f"{job_id} has not ended: only a job that has ended can start again." in said
    assert world.dagster.event_types(again).count("RUN_FAILURE") == 1
    world.ran_once(job_id, counted(30))


def test_a_re_execution_that_waits_for_gpus_can_be_terminated(world):
    job_id = world.customer.submit(counting(1), gpus=8)
    first = world.ran_once(job_id, counted(1))["runs"][0]["dagster_run_id"]
    in_the_way = world.customer.submit("sleep 60", gpus=8)
    world.customer.running(in_the_way)
    again = world.dagster.re_execute(first)
    assert world.customer.when(job_id, "queued")
    assert world.dagster.run_in(again, "STARTED")
    assert world.dagster.terminate(again) == "TerminateRunSuccess"
    assert world.dagster.finished(again)["status"] == "CANCELED"
    job = world.customer.ended(job_id)
    world.customer.cancel(in_the_way)
    world.customer.ended(in_the_way)
    assert job["state"] == "cancelled"
    assert len(world.engine.of_job(job_id)) == 1


def test_a_launchpad_run_without_tags_fails_and_says_what_to_do(world):
    run_id = world.dagster.launch()
    assert world.dagster.finished(run_id)["status"] == "FAILURE"
    assert "A gpu_run belongs to a customer's job: submit one with POST /v1/jobs." in world.dagster.messages(run_id)
    assert world.dagster.event_types(run_id).count("RUN_FAILURE") == 1


def test_a_launchpad_run_for_a_job_that_is_not_there_ends_as_a_skip(world):
    run_id = world.dagster.launch(tags={"scalar/run_id": "run_00000000000000000000000000"})
    assert world.dagster.finished(run_id)["status"] == "CANCELED"
