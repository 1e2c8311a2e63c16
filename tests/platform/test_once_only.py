"""Whoever asks how often: a job is one job, a run one container, and one Dagster run runs it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from outside import World, counted, counting, eventually

from scalar.capacity.store import lease_unlaunched
from scalar.database import Database
from scalar.jobs.dagster import RUN_TAG
from scalar_orchestration.clock import utc_now
from scalar_orchestration.defs.capacity import job_queue
from scalar_orchestration.resources import PostgresResource


def tags_of(world: World, job_id: str) -> dict[str, str]:
    """What the nudge or the sensor asked Dagster with."""
    return world.dagster.run(world.dagster_run_of(job_id))["tags"]


def test_one_idempotency_key_from_ten_clients_is_one_job_in_one_container(world):
    with ThreadPoolExecutor(10) as clients:
        asked = partial(world.customer.try_submit, counting(5), key="the same one", name="once")
        answers = [each.result() for each in [clients.submit(asked) for _ in range(10)]]
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    (job_id,) = {answer.json()["id"] for answer in answers}
    world.ran_once(job_id, counted(5))
    assert world.customer.try_submit(counting(5), key="the same one", name="once").json()["id"] == job_id
    other = world.customer.try_submit("true", key="the same one")
    assert (other.status_code, other.json()["type"].rsplit("/", 1)[-1]) == (409, "idempotency-conflict")


def test_a_second_dagster_run_for_a_run_that_runs_ends_as_a_skip_and_starts_nothing(world):
    job_id = world.customer.submit(counting(20))
    world.customer.running(job_id)
    tags = {name: value for name, value in tags_of(world, job_id).items() if name.startswith("scalar/")}
    second = world.dagster.launch(tags=tags)
    assert world.dagster.finished(second)["status"] == "CANCELED"
    first = world.dagster_run_of(job_id)
    run_id = tags[RUN_TAG]
    skip = f"Nothing to do: {run_id} was not waiting any more (Dagster run {first} runs it)."
    assert skip in world.dagster.messages(second)
    world.ran_once(job_id, counted(20))


def test_a_dagster_run_for_a_run_that_has_ended_ends_as_a_skip(world):
    job_id = world.customer.submit(counting(1))
    world.ran_once(job_id, counted(1))
    tags = {name: value for name, value in tags_of(world, job_id).items() if name.startswith("scalar/")}
    late = world.dagster.launch(tags=tags)
    assert world.dagster.finished(late)["status"] == "CANCELED"
    world.ran_once(job_id, counted(1))


def test_a_crowd_of_jobs_with_nudge_and_sensors_racing_runs_each_once(world):
    """The nudge, the daemon's sensor and four more ticks of it at once, whose requests reach Dagster as well."""
    with ThreadPoolExecutor(8) as clients, Database(world.platform.database_url) as database:
        submitted = [clients.submit(world.customer.submit, counting(3)) for _ in range(10)]
        ticks = [clients.submit(tick_until_all_are_launched, world, database, submitted) for _ in range(4)]
        jobs = [each.result() for each in submitted]
        for tick in ticks:
            tick.result()
    for job_id in jobs:
        world.ran_once(job_id, counted(3))
        asked = world.dagster.runs_tagged("scalar/job_id", job_id)
        (ran,) = [run for run in asked if run["status"] == "SUCCESS"]
        assert ran["runId"] == world.dagster_run_of(job_id)
        assert {run["status"] for run in asked} <= {"SUCCESS", "CANCELED"}


def tick_until_all_are_launched(world: World, database: Database, submitted: list) -> None:
    def look() -> bool:
        result = job_queue(database=PostgresResource(url=world.platform.database_url))
        for request in result.run_requests or ():
            world.dagster.launch(tags=dict(request.tags))
        jobs = [each.result() for each in submitted]
        return all(world.customer.job(job_id)["state"] not in ("queued", "placed") for job_id in jobs)

    eventually(look, within_seconds=60)
    with database.transaction() as tx:
        assert lease_unlaunched(tx, utc_now(), limit=1) == []
