"""Each service is killed in the middle of jobs: every job still runs once, is metered right and loses no line.

One job runs when the service dies, and one has just been accepted.
"""

import os
import signal

import pytest
from outside import World, counted, counting, eventually

_LINES = 60  # at 0.1 s each, plus what a process costs: 6 to 8 s


def kill(world: World, name: str) -> None:
    """SIGKILL, and wait until its keeper has started another."""
    process = world.platform.processes[name]
    before = process.pid
    os.kill(before, signal.SIGKILL)
    eventually(lambda: process.pid != before, what=f"{name} is started again")
    assert world.restarts[-1] == name


@pytest.mark.parametrize("service", ["api", "daemon", "webserver", "code-server", "node-agent"])
def test_a_killed_service_costs_a_job_nothing(world, service):
    running = world.customer.submit(counting(_LINES), name=f"runs while {service} dies")
    world.customer.has_printed(running, "line 5\n")
    accepted = world.customer.submit(counting(20), name=f"accepted when {service} dies", gpus=2)
    kill(world, service)
    world.ran_once(running, counted(_LINES))
    world.ran_once(accepted, counted(20))
    eventually(world.platform.processes[service].service.ready, what=f"{service} is ready again")


def test_all_services_killed_at_once_cost_a_job_nothing(world):
    running = world.customer.submit(counting(_LINES), name="runs while all die")
    world.customer.has_printed(running, "line 5\n")
    accepted = world.customer.submit(counting(20), name="accepted when all die")
    processes = world.platform.processes
    before = {name: process.pid for name, process in processes.items()}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(processes[name].pid != pid for name, pid in before.items()), what="all are started again")
    world.ran_once(running, counted(_LINES))
    world.ran_once(accepted, counted(20))


def test_a_job_that_ends_while_the_api_is_down_is_told_afterwards(world):
    """The whole end, log and usage, waits on the node."""
    job_id = world.customer.submit(counting(20))
    world.customer.has_printed(job_id, "line 2\n")
    api = world.platform.processes["api"]
    died = eventually(lambda: stop_until(api, lambda: world.engine.of_job(job_id)[0].died_at))
    assert world.ran_once(job_id, counted(20))["ended_at"] is not None
    assert died


def test_postgres_killed_in_the_middle_costs_a_job_nothing(world):
    """As by a crash: no connection is ended in order, and what was committed is recovered."""
    running = world.customer.submit(counting(_LINES), name="runs while Postgres is away")
    world.customer.has_printed(running, "line 5\n")
    accepted = world.customer.submit(counting(20), name="accepted when Postgres goes")
    told = len(world.restarts)
    os.kill(postmaster(world), signal.SIGKILL)
    eventually(lambda: "postgres" in world.restarts[told:], what="Postgres is started again")
    world.ran_once(running, counted(_LINES))
    world.ran_once(accepted, counted(20))


def postmaster(world: World) -> int:
    return int((world.platform.folder.postgres / "postmaster.pid").read_text().split()[0])


def stop_until(process, happened):
    """Hold a service still (it neither answers nor dies) until something has happened; what that was."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        return eventually(happened)
    finally:
        os.kill(process.pid, signal.SIGCONT)
