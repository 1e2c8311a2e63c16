"""What can be wrong with a job, from end to end: how it ends, and what its customer is told."""

import pytest
from outside import World, counted, counting, eventually

MORE_MEMORY = "x=a; while true; do x=$x$x; done"

ENDINGS = {
    "an image that is no name": (
        {"image": "Not/An@Image"},
        ("failed", "image_not_found", None),
        "There is no such image, or it is private: check its name and tag.",
    ),
    "a registry that isn't there": (
        {"image": "127.0.0.1:9/none:1"},
        ("failed", "image_unavailable", None),
        "its registry could not be reached after several tries",
    ),
    "a command that the image hasn't": (
        {"command": ["nosuchcommand"]},
        ("failed", "command_not_found", 127),
        "The image has no such program: check `command`, its path, and that it is executable.",
    ),
    "an error of its own": (
        {"command": "exit 7"},
        ("failed", "error", 7),
        "Your command ended with exit code 7.",
    ),
    "a kill of its own": (
        {"command": "kill -9 $$"},
        ("failed", "killed", 137),
        "Your command was killed by a signal (exit code 137), and not by Scalar.",
    ),
    "too little memory": (
        {"command": MORE_MEMORY, "memory_gib": 0.03},
        ("failed", "out_of_memory", 137),
        "It used more memory than it had asked for and was killed. Ask for more with resources.memory_gib.",
    ),
    "too little time": (
        {"command": "exec sleep 60", "max_runtime_seconds": 1},
        ("failed", "timed_out", 143),
        "It ran for its max_runtime_seconds and was stopped.",
    ),
}


@pytest.fixture(scope="module")
def submitted(world: World) -> dict[str, str]:
    """All at once, so that they fail side by side."""
    return {name: world.customer.submit(**asked) for name, (asked, *_) in ENDINGS.items()}


@pytest.mark.parametrize("wrong", ENDINGS)
def test_each_end_says_what_happened_and_what_to_do(world, submitted, wrong):
    _, ending, told = ENDINGS[wrong]
    job = world.customer.ended(submitted[wrong], within_seconds=60)
    assert (job["state"], job["reason"], job["exit_code"]) == ending
    assert told in world.customer.explanation(job["id"])["summary"]
    run_id = job["runs"][0]["dagster_run_id"]
    assert world.dagster.finished(run_id)["status"] == "FAILURE"
    assert told in world.dagster.messages(run_id)
    # What never started is never billed (and what ended at once has run for less than the engine's clock shows).
    assert job["runs"][0]["started_at"] is not None or job["gpu_seconds"] == 0


def test_more_gpus_than_any_node_has_are_refused_with_what_there_is(world):
    answer = world.customer.try_submit(gpus=9)
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[-1]) == (422, "unsatisfiable")
    assert answer.json()["detail"] == (
        "No node has 9 GPUs: the largest has 8. Ask for 8 or fewer a node, and for several nodes with resources.nodes."
    )


def test_a_gpu_type_that_nobody_has_is_refused_with_those_there_are(world):
    answer = world.customer.try_submit(gpu_type="B300")
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "No node has GPUs of type 'B300'. There are: declared.",
    )


def test_a_misspelled_field_is_refused_by_its_name(world):
    answer = world.customer.try_submit(max_runtime=60)
    assert answer.status_code == 422
    assert "max_runtime" in answer.text


def test_out_of_tries_it_is_parked_and_a_requeue_gives_it_all_of_them_again(world):
    script = 'echo "try of $SCALAR_RUN_ID"; exit 1'
    job_id = world.customer.submit(script, retries={"max_attempts": 2})
    job = world.customer.ended(job_id)
    assert (job["state"], [run["attempt"] for run in job["runs"]]) == ("dead_letter", [1, 2])
    said = world.customer.explanation(job_id)
    assert (
        said["advice"]
        == f"It is out of tries. POST /v1/jobs/{job_id}/requeue starts it again once the cause is mended."
    )
    for run in job["runs"]:
        assert world.dagster.finished(run["dagster_run_id"])["status"] == "FAILURE"
        assert world.customer.log(job_id, run=run["id"]) == f"try of {run['id']}\n"
    world.customer.post(f"/v1/jobs/{job_id}/requeue")
    again = eventually(lambda: (seen := world.customer.ended(job_id)) and len(seen["runs"]) == 4 and seen)
    assert (again["state"], [run["attempt"] for run in again["runs"]]) == ("dead_letter", [1, 2, 3, 4])
    assert len(world.engine.of_job(job_id)) == 4


def test_a_job_is_cancelled_while_it_runs(world):
    job_id = world.customer.submit("trap 'echo saved; exit 0' TERM; echo up; while true; do sleep 0.1; done")
    world.customer.has_printed(job_id, "up")
    world.customer.cancel(job_id)
    job = world.customer.ended(job_id)
    assert (job["state"], job["reason"]) == ("cancelled", "cancelled")
    assert world.customer.log(job_id) == "up\nsaved\n"
    assert world.dagster.finished(job["runs"][0]["dagster_run_id"])["status"] == "CANCELED"
    container = world.engine.the_one_of(job_id)
    assert abs(job["gpu_seconds"] - container.ran_seconds) < 1.0
    assert world.customer.cancel(job_id)["state"] == "cancelled"


def test_a_job_is_cancelled_while_it_waits(world):
    in_the_way = world.customer.submit("exec sleep 60", gpus=8)
    world.customer.running(in_the_way)
    waits = world.customer.submit(gpus=8)
    summary = "It waits for a node with 8 GPU(s): those that would do are taken."
    eventually(lambda: world.customer.explanation(waits)["summary"] == summary)
    assert world.customer.cancel(waits)["state"] == "cancelled"
    world.customer.cancel(in_the_way)
    world.customer.ended(in_the_way)
    assert world.customer.job(waits)["runs"] == []
    assert world.customer.explanation(waits)["summary"] == "It was cancelled before it started."


def test_a_drained_node_finishes_what_it_runs_and_takes_nothing_until_it_is_resumed(world):
    node = f"/v1/nodes/{world.node['id']}"
    runs = world.customer.submit(counting(20))
    world.customer.has_printed(runs, "line 1\n")
    assert world.operator.post(f"{node}/drain")["state"] == "draining"
    try:
        waits = world.customer.submit(counting(1))
        summary = "It waits: no node takes work at the moment."
        eventually(lambda: world.customer.explanation(waits)["summary"] == summary)
        world.ran_once(runs, counted(20))
        assert world.customer.job(waits)["state"] == "queued"
    finally:
        world.operator.post(f"{node}/resume")
    world.ran_once(waits, counted(1))


def test_a_customer_can_not_drain_a_node(world):
    assert world.customer.ask("POST", f"/v1/nodes/{world.node['id']}/drain").status_code == 403
