"""How soon a job's container runs: against a bare `docker create` and `docker start` of the same image, in pairs."""

import statistics
import subprocess
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from scalar_api.cli.client import Client
from scalar_api.up.platform import Platform

IMAGE = "busybox:local"


def with_nudge(platform: Platform, tries: int) -> dict[str, float]:
    """Each try: one bare start, one job; the order alternates. The first of each only warms up."""
    client = customer(platform)
    bare: list[float] = []
    jobs: list[float] = []
    for number in range(tries + 1):
        steps = [lambda: bare.append(bare_start()), lambda: jobs.append(job_start(client))]
        for step in steps if number % 2 else reversed(steps):
            step()
    bare, jobs = bare[1:], jobs[1:]
    base = statistics.median(bare)
    p95 = statistics.quantiles(jobs, n=100, method="inclusive")[94]
    return {
        "bare create + start, median s": base,
        "submission to running, median s": statistics.median(jobs),
        "median over bare median (goal ≤ 3)": statistics.median(jobs) / base,
        "p95 over bare median (goal ≤ 6)": p95 / base,
        "tries": tries,
    }


def with_sensor(platform: Platform, tries: int) -> dict[str, float]:
    """With nothing but the sensor."""
    client = customer(platform)
    job_start(client)
    waits = [job_start(client) for _ in range(tries)]
    return {
        "submission to running, median s": statistics.median(waits),
        "p95 s (goal ≤ 10)": statistics.quantiles(waits, n=100, method="inclusive")[94],
        "tries": tries,
    }


def turnaround(platform: Platform, tries: int) -> dict[str, float]:
    """Jobs that need the whole node, queued one behind the other: from the end of one to the start of the next."""
    client = customer(platform)
    ids = [submit(client, gpus=platform.options.gpus)["id"] for _ in range(tries + 2)]
    runs = sorted((ended(client, job_id)["runs"][-1] for job_id in ids), key=lambda run: run["started_at"])
    gaps = [seconds(before["ended_at"], after["started_at"]) for before, after in pairwise(runs)]
    return {
        "end to next start, median s (goal ≤ 1)": statistics.median(gaps),
        "p95 s": statistics.quantiles(gaps, n=100, method="inclusive")[94],
        "tries": len(gaps),
    }


def bare_start() -> float:
    """Seconds of a create and a start over the engine's own command line."""
    began = time.perf_counter()
    container = docker("create", IMAGE, "true")
    docker("start", container)
    took = time.perf_counter() - began
    docker("rm", "-f", container)
    return took


def job_start(client: Client) -> float:
    """Seconds from before the request to the container's own start."""
    submitted = datetime.now(UTC).isoformat()
    job = ended(client, submit(client)["id"])
    return seconds(submitted, job["runs"][-1]["started_at"])


def customer(platform: Platform) -> Client:
    return Client(platform.api_url, platform.credentials.customer_key)


def submit(client: Client, *, gpus: int = 1, command: tuple[str, ...] = ("true",)) -> Any:
    body = {"image": IMAGE, "command": list(command), "resources": {"gpus": gpus}, "tier": "fast"}
    return client.post("/v1/jobs", body)


def ended(client: Client, job_id: str) -> Any:
    """The job, once it has succeeded."""
    for event, data in client.events(f"/v1/jobs/{job_id}/logs?follow=true"):
        if event == "end" and data["state"] != "succeeded":
            raise RuntimeError(f"{job_id}: {data}")
    return client.get(f"/v1/jobs/{job_id}")


def seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
