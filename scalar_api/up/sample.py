"""The sample job: submitted over REST with a customer's key, followed, and looked at, as a customer would."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from scalar_api.cli.client import Client
from scalar_api.cli.show import dollars
from scalar_api.up.errors import UpError
from scalar_api.up.platform import Platform
from scalar_api.up.purchase import block_of

_SCRIPT = """echo "Hello from $(hostname), run $SCALAR_RUN_ID on GPU $SCALAR_GPU_INDICES"
for i in 1 2 3; do echo "step $i of 3"; sleep 1; done
echo "done" """
_SMALL = ("busybox", "alpine", "debian", "ubuntu", "python")
_IMAGE_TO_PULL = "busybox:1.37"
_PULL_SECONDS = 45


@dataclass(frozen=True, kw_only=True)
class SampleResult:
    job_id: str
    waited_seconds: float
    ran_seconds: float
    gpu_seconds: float
    dagster_url: str | None
    price_paid: str | None
    """Of the block that its node was bought with."""
    cost: str
    """What its customer pays."""
    margin: str
    """What is left of that, in words."""


def run_sample(platform: Platform, *, docker: bool, write: Callable[[str], None]) -> SampleResult:
    """Raises: `UpError` with the reason where the job did not succeed or was not metered."""
    client = Client(platform.api_url, platform.credentials.customer_key)
    body = {
        "name": "sample",
        "image": sample_image() if docker else _IMAGE_TO_PULL,
        "command": ["sh", "-c", _SCRIPT],
        "resources": {"gpus": 1},
        "tier": "fast",
        "max_runtime_seconds": 600,
        "labels": {"made-by": "scalar-up"},
    }
    job = client.post("/v1/jobs", body, {"Idempotency-Key": f"scalar-up-{uuid4()}"})
    for event, data in client.events(f"/v1/jobs/{job['id']}/logs?follow=true"):
        if event == "log":
            for line in str(data["text"]).splitlines():
                write(line)
    return _result(client, job["id"], platform)


def runtime_of(platform: Platform) -> dict[str, Any]:
    """The node of this machine, as operators see it."""
    nodes = Client(platform.api_url, platform.credentials.operator_key).get("/v1/nodes")["data"]
    return next(dict(node) for node in nodes if node["name"] == platform.options.node_name)


def sample_image() -> str:
    """An image that is there, or that can be had: with a registry and without one."""
    try:
        local = _local_images()
    except httpx.HTTPError:
        return _IMAGE_TO_PULL
    small = [name for wanted in _SMALL for name in local if name.rsplit("/", 1)[-1].startswith(wanted + ":")]
    if small:
        return small[0]
    if not local or _can_pull(_IMAGE_TO_PULL):
        return _IMAGE_TO_PULL
    return local[0]


def _local_images() -> list[str]:
    """Names of the engine's images, smallest first."""
    answer = _engine().get("/images/json")
    answer.raise_for_status()
    images = sorted(answer.json(), key=lambda image: image["Size"])
    return [tag for image in images for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]


def _can_pull(image: str) -> bool:
    """Whether a registry answers; the image is there afterwards."""
    try:
        name, _, tag = image.partition(":")
        answer = _engine().post("/images/create", params={"fromImage": name, "tag": tag}, timeout=_PULL_SECONDS)
    except httpx.HTTPError:
        return False
    return answer.is_success and '"error"' not in answer.text


def _engine() -> httpx.Client:
    """The Docker engine, where DOCKER_HOST or custom has it: the agent is what really works with it."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if host.startswith("unix://"):
        transport = httpx.HTTPTransport(uds=host.removeprefix("unix://"))
        return httpx.Client(transport=transport, base_url="http://docker", timeout=10)
    return httpx.Client(base_url=host.replace("tcp://", "http://"), timeout=10)


def _result(client: Client, job_id: str, platform: Platform) -> SampleResult:
    job = client.get(f"/v1/jobs/{job_id}")
    if job["state"] != "succeeded":
        said = client.get(f"/v1/jobs/{job_id}/explanation")
        raise UpError(f"The sample job {job_id} {job['state']}: {said['summary']}")
    run = job["runs"][-1]
    started, ended = (datetime.fromisoformat(run[each]) for each in ("started_at", "ended_at"))
    if not job["gpu_seconds"]:
        raise UpError(f"The sample job {job_id} succeeded, and no GPU second of it was metered.")
    earned = Client(platform.api_url, platform.credentials.operator_key).get(f"/v1/jobs/{job_id}/margin")
    return SampleResult(
        job_id=job_id,
        waited_seconds=(started - datetime.fromisoformat(job["submitted_at"])).total_seconds(),
        ran_seconds=(ended - started).total_seconds(),
        gpu_seconds=job["gpu_seconds"],
        dagster_url=run["dagster_url"],
        price_paid=_price_paid(platform, run) if platform.options.market else None,
        cost=f"{dollars(earned['revenue'])}   to the customer",
        margin=_margin(earned),
    )


def _price_paid(platform: Platform, run: dict[str, Any]) -> str:
    block = block_of(platform, run["node"])
    if block is None:
        raise UpError("The sample job ran on a node that was not bought.")
    return f"${float(block['price']):.2f} per node-hour with {block['order_id']}"


def _margin(earned: dict[str, Any]) -> str:
    if not earned["nodes"]:
        return f"{dollars(earned['margin'])}   its node was not bought, and costs nothing here"
    return (
        f"{dollars(earned['margin_before_idle'])}   after {dollars(earned['cost'])} for its part of the node;"
        f" {dollars(earned['margin'])} with {dollars(earned['idle_cost'])} of the hour's idle time"
        + ("" if earned["exact"] else " so far")
    )
