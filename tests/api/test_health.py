"""Load balancers, Prometheus, and the description that clients are generated from."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.calls import NodeAgent, a_body, assert_problem
from tests.api.conftest import Api, serving


def test_a_server_with_everything_in_place_is_ready(shared_api: Api) -> None:
    for path in ("/healthz", "/readyz"):
        answer = shared_api.client().get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_server_whose_database_lacks_a_migration_is_up_but_not_ready(empty_database_url: str) -> None:
    with serving(empty_database_url) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        problem = assert_problem(httpx.get(f"{url}/readyz"), 503, "unavailable")
    assert "scalar admin migrate" in problem["detail"]


def test_a_server_without_a_database_is_up_but_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(f"postgresql://nobody@127.0.0.1:{port}/none") as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        problem = assert_problem(httpx.get(f"{url}/readyz", timeout=30), 503, "unavailable")
    assert str(port) not in str(problem)


def test_the_metrics_say_what_goes_on(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    api.launched(customer, gpus=3)
    customer.post("/v1/jobs", json=a_body(gpus=8, tier="flex"))
    customer.get("/v1/jobs/job_x")
    customer.get("/v1/nowhere/at-all")
    text = api.client().get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["scalar_gpus",] == 8
    assert samples["scalar_gpus_in_use",] == 3
    assert samples["scalar_nodes", "ready"] == 1
    assert samples["scalar_nodes_silent",] == 0
    assert samples["scalar_jobs", "fast", "placed"] == 1
    assert samples["scalar_jobs", "flex", "queued"] == 1
    assert 0 <= samples["scalar_oldest_queued_job_seconds",] < 60
    assert samples["scalar_http_requests_total", "/v1/jobs", "201", "POST"] == 2
    assert samples["scalar_http_requests_total", "/v1/jobs/{job_id}", "404", "GET"] == 1
    assert samples["scalar_http_requests_total", "404", "GET", "unmatched"] == 1
    assert families["scalar_http_request_seconds"].type == "histogram"
    assert node.id not in text
    assert "job_x" not in text


def test_every_operation_has_a_name_of_its_own(shared_api: Api) -> None:
    description = shared_api.client().get("/openapi.json").json()
    names = [operation["operationId"] for path in description["paths"].values() for operation in path.values()]
    assert len(names) > 15
    assert len(set(names)) == len(names)
    assert all(operation.get("summary") for path in description["paths"].values() for operation in path.values())


@pytest.mark.timeout(120)
def test_a_client_can_be_generated_from_the_description(shared_api: Api, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(shared_api.client().get("/openapi.json").text)
    tools = Path(sys.executable).parent
    command = [tools / "openapi-python-client", "generate", "--path", "openapi.json", "--fail-on-warning"]
    done = subprocess.run(
        [*command, "--meta", "none", "--output-path", "client"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = list((tmp_path / "client").rglob("*.py"))
    assert {"submit_job.py", "get_logs.py", "job_detail.py", "problem.py"} <= {file.name for file in files}
    for file in files:
        compile(file.read_text(), str(file), "exec")
