"""Jobs over HTTP."""

import time
from typing import Any

import httpx
import pytest

from tests.api.calls import NodeAgent, a_body, assert_problem, events
from tests.api.conftest import Api


def _submit(client: httpx.Client, key: str | None = None, **body: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    return dict(client.post("/v1/jobs", json=a_body(**body), headers=headers).raise_for_status().json())


def _wait_for(client: httpx.Client, job_id: str, state: str) -> dict[str, Any]:
    for _ in range(100):
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] == state:
            return dict(job)
        time.sleep(0.05)
    raise AssertionError(f"{job_id} is {job['state']}, not {state}")


def test_a_submitted_job_is_there_at_once_and_shows_what_was_asked(shared_api: Api) -> None:
    customer = shared_api.customer()
    answer = customer.post(
        "/v1/jobs",
        json=a_body(
            image="registry.example/team/train:3",
            command=["python", "train.py"],
            env={"TOKEN": "s3cret"},
            labels={"team": "vision"},
            gpus=2,
            memory_gib=1.5,
            priority=3,
        ),
    )
    assert answer.status_code == 201
    job = customer.get(answer.headers["location"]).json()
    assert job["id"] == answer.json()["id"]
    assert (job["name"], job["state"], job["tier"], job["priority"]) == ("train", "queued", "fast", 3)
    assert job["resources"] == {"gpus": 2, "gpu_type": None, "nodes": 1, "cpus": None, "memory_gib": 1.5}
    assert (job["command"], job["labels"], job["env_names"]) == (["python", "train.py"], {"team": "vision"}, ["TOKEN"])
    assert (job["runs"], job["gpu_seconds"]) == ([], 0)
    assert "s3cret" not in answer.text
    assert "s3cret" not in customer.get(f"/v1/jobs/{job['id']}").text


def test_a_job_is_placed_within_a_second_of_its_submission(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job = _wait_for(customer, _submit(customer)["id"], "placed")
    assert [task["node_id"] for run in job["runs"] for task in run["tasks"]] == [node.id]
    assert api.operator().get("/v1/nodes").json()["data"][0]["gpus_in_use"] == 1


def test_a_job_is_followed_from_its_submission_to_its_end(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job_id, run = api.launched(customer, gpus=2)
    assert node.report(run, "starting") == "accepted"
    node.runs(run)
    assert customer.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
    assert "It runs on" in customer.get(f"/v1/jobs/{job_id}/explanation").json()["summary"]
    assert node.ends(run, exit_code=3, message="oops") == "accepted"
    job = customer.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "error", 3)
    (shown,) = job["runs"]
    assert (shown["id"], shown["state"], shown["message"]) == (run.id, "failed", "oops")
    assert shown["tasks"][0]["gpus"] == [0, 1]
    assert run.token.get_secret_value() not in str(job)
    explanation = customer.get(f"/v1/jobs/{job_id}/explanation").json()
    assert explanation["summary"] == "It failed. Your command ended with exit code 3. (oops)"
    assert "logs" in explanation["advice"]


def test_a_job_that_asks_for_more_than_any_node_has_is_refused_with_what_would_do(
    node: NodeAgent, customer: httpx.Client
) -> None:
    assert node.id
    problem = assert_problem(customer.post("/v1/jobs", json=a_body(gpus=16)), 422, "unsatisfiable")
    assert "the largest has 8" in problem["detail"]
    problem = assert_problem(customer.post("/v1/jobs", json=a_body(gpu_type="B200")), 422, "unsatisfiable")
    assert "There are: H100" in problem["detail"]
    assert customer.get("/v1/jobs").json()["data"] == []


def test_a_job_is_cancelled_and_started_again(shared_api: Api) -> None:
    customer = shared_api.customer()
    job_id = _submit(customer)["id"]
    for _ in range(2):
        cancelled = customer.post(f"/v1/jobs/{job_id}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    requeued = customer.post(f"/v1/jobs/{job_id}/requeue")
    assert (requeued.status_code, requeued.json()["state"]) == (200, "queued")
    assert_problem(customer.post(f"/v1/jobs/{job_id}/requeue"), 409, "illegal-move")


def test_a_job_that_has_ended_can_not_be_cancelled(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job_id, run = api.launched(customer)
    node.ends(run)
    assert_problem(customer.post(f"/v1/jobs/{job_id}/cancel"), 409, "conflict")


def test_a_request_that_is_sent_twice_is_one_job(shared_api: Api) -> None:
    customer, headers = shared_api.customer(), {"Idempotency-Key": "k-1"}
    first = customer.post("/v1/jobs", json=a_body(labels={"a": "1", "b": "2"}), headers=headers)
    second = customer.post("/v1/jobs", json=a_body(labels={"b": "2", "a": "1"}), headers=headers)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert second.headers["location"] == first.headers["location"]
    problem = assert_problem(
        customer.post("/v1/jobs", json=a_body(gpus=2), headers=headers), 409, "idempotency-conflict"
    )
    assert problem["job_id"] == first.json()["id"]
    assert len(customer.get("/v1/jobs").json()["data"]) == 1


def test_an_idempotency_key_is_its_organisation_own(shared_api: Api) -> None:
    ids = {_submit(shared_api.customer(), "same")["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
def test_pages_show_every_job_once_newest_first(shared_api: Api, limit: int) -> None:
    customer = shared_api.customer()
    ids = [_submit(customer)["id"] for _ in range(7)]
    seen, cursor = [], None
    while True:
        page = customer.get("/v1/jobs", params={"limit": limit, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["data"]) <= limit
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(ids, reverse=True)


def test_lists_are_filtered_by_state_tier_and_label(shared_api: Api) -> None:
    customer = shared_api.customer()
    plain = _submit(customer)["id"]
    flex = _submit(customer, tier="flex", labels={"team": "a", "env": "prod"})["id"]
    gone = _submit(customer, labels={"team": "a=b"})["id"]
    customer.post(f"/v1/jobs/{gone}/cancel")

    def ids(query: str) -> set[str]:
        return {job["id"] for job in customer.get(f"/v1/jobs?{query}").raise_for_status().json()["data"]}

    assert ids("") == {plain, flex, gone}
    assert ids("state=queued") == {plain, flex}
    assert ids("state=queued&state=cancelled") == {plain, flex, gone}
    assert ids("state=running") == set()
    assert ids("tier=flex") == {flex}
    assert ids("label=team%3Da") == {flex}
    assert ids("label=team%3Da&label=env%3Dprod") == {flex}
    assert ids("label=team%3Da&label=env%3Dtest") == set()
    assert ids("label=team%3Da%3Db") == {gone}
    assert ids("state=queued&tier=fast") == {plain}


def test_a_waiting_job_explains_itself(api: Api, customer: httpx.Client) -> None:
    assert api.url
    job_id = _submit(customer)["id"]
    for _ in range(100):
        explanation = customer.get(f"/v1/jobs/{job_id}/explanation").json()
        if "no node takes work" in explanation["summary"]:
            break
        time.sleep(0.05)
    assert explanation["state"] == "queued"
    assert "no node takes work" in explanation["summary"]


def test_a_job_that_never_ran_has_no_output_and_none_to_come(api: Api, customer: httpx.Client) -> None:
    assert api.url
    job_id = customer.post("/v1/jobs", json=a_body()).json()["id"]
    assert customer.get(f"/v1/jobs/{job_id}/logs").headers["x-log-complete"] == "false"
    customer.post(f"/v1/jobs/{job_id}/cancel")
    assert customer.get(f"/v1/jobs/{job_id}/logs").headers["x-log-complete"] == "true"
    lines = customer.get(f"/v1/jobs/{job_id}/logs?follow=true").text.splitlines()
    (end,) = events(lines)
    assert (end.kind, end.data["state"]) == ("end", "cancelled")
