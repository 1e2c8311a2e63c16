"""What running jobs cost the control plane: memory and processes, at rest and with jobs running."""

import time
from pathlib import Path

from benchmarks.starts import customer, ended, submit
from scalar_api.up.platform import Platform

_CONTROL_PLANE = ("code-server", "api", "webserver", "daemon")


def of_running_jobs(platform: Platform, jobs: int) -> dict[str, float]:
    """Proportional set size of the control plane's processes and their children, in MB.

    A warm-up of the same jobs goes before, so that what a first job loads for good isn't counted as each job's.
    """
    client = customer(platform)
    for job_id in [submit(client)["id"] for _ in range(jobs)]:
        ended(client, job_id)
    before, processes_before = settled(platform)
    ids = [submit(client, command=("sleep", "60"))["id"] for _ in range(jobs)]
    while not all(client.get(f"/v1/jobs/{job_id}")["state"] == "running" for job_id in ids):
        time.sleep(0.2)
    during, processes_during = settled(platform)
    for job_id in ids:
        client.post(f"/v1/jobs/{job_id}/cancel")
    return {
        "control plane at rest, MB": before,
        f"added by {jobs} running jobs, MB (goal < 50)": during - before,
        "processes added (goal 0)": processes_during - processes_before,
    }


def settled(platform: Platform) -> tuple[float, int]:
    """(MB, processes): the least of five looks, two seconds apart: a tick or a request in between is no memory."""
    looks = []
    for _ in range(5):
        time.sleep(2)
        trees = [pid for name in _CONTROL_PLANE for pid in tree(platform.processes[name].pid)]
        looks.append((sum(pss(pid) for pid in trees), len(trees)))
    return min(looks)


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = children.read_text().split() if children.exists() else []
    return [pid, *(each for child in below for each in tree(int(child)))]


def pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
