"""The fleet over HTTP."""

import httpx
import pytest

from tests.api.calls import NodeAgent, assert_problem
from tests.api.conftest import Api
from tests.made_up import facts


def _join(api: Api, token: str, name: str) -> httpx.Response:
    body = {"facts": facts(name).model_dump(mode="json")}
    return api.client(token).post("/v1/nodes/join", json=body)


def test_a_token_admits_one_machine_and_a_taken_name_does_not_use_it_up(api: Api) -> None:
    operator = api.operator()
    first, second = (operator.post("/v1/join-tokens", json={}).json()["token"] for _ in range(2))
    joined = _join(api, first, "alpha")
    assert joined.status_code == 201
    assert joined.json()["credential"].startswith("sk_node_")
    assert_problem(_join(api, first, "beta"), 401, "not-authenticated")
    assert_problem(_join(api, second, "alpha"), 409, "conflict")
    assert _join(api, second, "beta").status_code == 201
    assert [node["name"] for node in operator.get("/v1/nodes").json()["data"]] == ["alpha", "beta"]


def test_a_customer_key_admits_nobody(api: Api) -> None:
    key = api.customer().headers["authorization"].removeprefix("Bearer ")
    assert_problem(_join(api, key, "alpha"), 401, "not-authenticated")


def test_a_node_drains_resumes_and_goes(api: Api, node: NodeAgent) -> None:
    operator = api.operator()
    assert operator.post(f"/v1/nodes/{node.id}/drain").json()["state"] == "draining"
    assert operator.post(f"/v1/nodes/{node.id}/resume").json()["state"] == "ready"
    assert operator.post(f"/v1/nodes/{node.id}/gone").json()["state"] == "gone"
    assert operator.post(f"/v1/nodes/{node.id}/gone").json()["state"] == "gone"
    assert_problem(operator.post(f"/v1/nodes/{node.id}/resume"), 409, "conflict")
    assert operator.get("/v1/nodes").json()["data"] == []


@pytest.mark.parametrize("deed", ["drain", "resume", "gone"])
def test_a_node_that_is_not_there_is_not_found(shared_api: Api, deed: str) -> None:
    assert_problem(shared_api.operator().post(f"/v1/nodes/node_none/{deed}"), 404, "not-found")


def test_the_job_of_a_node_that_has_gone_goes_elsewhere(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job_id, run = api.launched(customer)
    node.runs(run)
    api.operator().post(f"/v1/nodes/{node.id}/gone").raise_for_status()
    job = customer.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["runs"][0]["reason"]) == ("queued", "node_lost")
    other = api.node()
    again = api.launch(job_id)
    assert [task["run_id"] for task in other.desired()["tasks"]] == [again.id]


@pytest.mark.parametrize("body", [{"uses": 0}, {"uses": 1001}, {"lifetime_seconds": 59}, {"lifetime_seconds": 10**9}])
def test_a_token_has_its_limits(shared_api: Api, body: dict[str, int]) -> None:
    assert_problem(shared_api.operator().post("/v1/join-tokens", json=body), 422, "invalid-request")


def test_a_fleet_shows_a_customer_no_tenant_and_no_address(api: Api, node: NodeAgent) -> None:
    job_customer = api.customer("secretive")
    api.launched(job_customer)
    text = api.customer().get("/v1/nodes").text
    assert node.id in text
    assert "secretive" not in text
    assert "job_" not in text


def test_a_runtime_that_isolates_nothing_says_so(api: Api) -> None:
    api.node(runtime="process")
    assert "development only" in api.operator().get("/v1/nodes").json()["data"][0]["runtime_notice"]
