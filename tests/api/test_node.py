"""What agents ask and tell."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from scalar.capacity import store
from tests.api.calls import NodeAgent, a_body, a_report, assert_problem
from tests.api.conftest import Api
from tests.made_up import facts


def test_a_node_is_told_what_to_run_and_reports_how_it_went(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    assert node.desired()["tasks"] == []
    job_id, run = api.launched(customer, gpus=2, env={"A": "s3cret"}, command=["ls"], max_runtime_seconds=60)
    (task,) = node.desired()["tasks"]
    assert (task["run_id"], task["job_id"], task["want"], task["gpus"]) == (run.id, job_id, "run", [0, 1])
    assert (task["env"], task["command"], task["max_runtime_seconds"]) == ({"A": "s3cret"}, ["ls"], 60)
    assert task["token"] == run.token.get_secret_value()
    node.runs(run)
    node.writes(run, ("stdout", 0, b"abc"), ("stderr", 0, b"x"))
    assert node.desired()["tasks"][0]["log_offsets"] == {"stdout": 3, "stderr": 1}
    assert node.report(run, "alive", sequence=1) == "accepted"
    assert node.ends(run) == "accepted"
    assert node.ends(run) == "duplicate"
    assert node.desired()["tasks"] == []


def test_a_cancelled_job_is_wanted_stopped(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job_id, run = api.launched(customer)
    before = node.desired()["version"]
    customer.post(f"/v1/jobs/{job_id}/cancel")
    desired = node.desired(before, wait=10)
    assert (desired["version"] > before, desired["tasks"][0]["want"]) == (True, "stop")
    node.ends(run, ending="stopped", exit_code=143)
    assert customer.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"


def test_reports_are_judged_one_by_one_and_in_order(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    _, run = api.launched(customer)
    reports = [
        a_report(run, "starting"),
        a_report(run, "running", token="old"),
        a_report(run, "running"),
        a_report(run, "running"),
        a_report(run, "alive", sequence=1, run_id="run_none"),
        a_report(run, "ended", started_at=datetime.now(UTC).isoformat(), exit_code=0),
        a_report(run, "running"),
    ]
    outcomes = node.client.post("/v1/node/reports", json={"reports": reports}).json()["outcomes"]
    assert outcomes == ["accepted", "stale", "accepted", "duplicate", "stale", "accepted", "stale"]


def test_another_node_can_neither_report_nor_write_nor_see_a_run(
    api: Api, node: NodeAgent, customer: httpx.Client
) -> None:
    job_id, run = api.launched(customer)
    stranger = api.node()
    assert stranger.desired()["tasks"] == []
    assert stranger.ends(run) == "stale"
    assert stranger.writes(run, ("stdout", 0, b"forged"))["stale"] is True
    assert customer.get(f"/v1/jobs/{job_id}/logs").text == ""
    assert customer.get(f"/v1/jobs/{job_id}").json()["state"] == "placed"
    assert node.desired()["tasks"] != []


def test_an_old_token_or_an_ended_task_can_not_write(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job_id, run = api.launched(customer)
    node.writes(run, ("stdout", 0, b"mine"))
    assert node.writes(run, ("stdout", 4, b"old"), token="old")["stale"] is True
    assert node.writes(run, ("stdout", 4, b"none"), run_id="run\x00")["stale"] is True
    node.ends(run)
    assert node.writes(run, ("stdout", 4, b"late"))["stale"] is True
    assert customer.get(f"/v1/jobs/{job_id}/logs").text == "mine"


def test_a_gap_in_the_log_is_asked_for_again(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    _, run = api.launched(customer)
    assert node.writes(run, ("stdout", 5, b"later"))["offsets"] == {"stdout": 0, "stderr": 0}


def test_a_message_with_a_nul_character_ends_the_run_all_the_same(
    api: Api, node: NodeAgent, customer: httpx.Client
) -> None:
    job_id, run = api.launched(customer)
    assert node.ends(run, exit_code=1, message="a\x00b") == "accepted"
    assert customer.get(f"/v1/jobs/{job_id}").json()["runs"][0]["message"] == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("reports", {"reports": [{"kind": "exploded"}]}),
        ("reports", {"reports": [{}] * 501}),
        ("reports", {}),
        ("logs", {"run_id": "r", "rank": 0, "token": "t", "frames": [{"stream": "stdin", "start": 0, "data": ""}]}),
        ("logs", {"run_id": "r", "rank": 0, "token": "t", "frames": [{"stream": "stdout", "start": -1, "data": ""}]}),
        ("logs", {"run_id": "r", "rank": 0, "token": "t", "frames": [{"stream": "stdout", "start": 0, "data": "abc"}]}),
    ],
)
def test_a_message_that_says_nonsense_is_refused(shared_api: Api, path: str, body: object) -> None:
    assert_problem(shared_api.node().client.post(f"/v1/node/{path}", json=body), 422, "invalid-request")


def test_facts_are_told_again_after_a_restart(api: Api, node: NodeAgent) -> None:
    body = facts("other", 8, agent_version="2.0", cpus=3.0).model_dump(mode="json")
    assert node.client.put("/v1/node/facts", json=body).status_code == 204
    (shown,) = api.operator().get("/v1/nodes").json()["data"]
    assert (shown["agent_version"], shown["cpus"], shown["gpus"]) == ("2.0", 3.0, 8)
    assert shown["name"] != "other"


def test_a_node_that_has_gone_is_told_so(api: Api, node: NodeAgent) -> None:
    api.operator().post(f"/v1/nodes/{node.id}/gone").raise_for_status()
    assert_problem(node.client.get("/v1/node/desired"), 401, "not-authenticated")


def test_a_call_is_a_sign_of_life(api: Api, node: NodeAgent) -> None:
    with api.database.transaction() as tx:
        store.seen(tx, node.id, datetime.now(UTC) - timedelta(hours=1))
    assert api.operator().get("/v1/nodes").json()["data"][0]["silent"] is True
    node.desired()
    assert api.operator().get("/v1/nodes").json()["data"][0]["silent"] is False


@pytest.mark.parametrize("wait", [-1, 61, "nan", "inf"])
def test_nobody_waits_longer_than_a_minute(shared_api: Api, wait: object) -> None:
    answer = shared_api.node().client.get("/v1/node/desired", params={"wait": wait})  # type: ignore[dict-item]
    assert_problem(answer, 422, "invalid-request")


def test_a_poll_with_another_version_is_answered_at_once(node: NodeAgent) -> None:
    began = time.monotonic()
    version = node.desired(-1, wait=20)["version"]
    node.desired(version + 7, wait=20)
    assert time.monotonic() - began < 5


def test_a_poll_without_a_change_is_answered_after_its_wait(node: NodeAgent) -> None:
    version, began = node.desired()["version"], time.monotonic()
    answer = node.desired(version, wait=1)
    assert 0.9 < time.monotonic() - began < 4
    assert answer["version"] == version
    said = datetime.fromisoformat(answer["server_time"])
    assert abs(datetime.now(UTC) - said) < timedelta(seconds=0.8)


def _answered_after_a_change(api: Api, node: NodeAgent) -> float:
    """Seconds from a change of the node's desired state to the answer of a poll that waited for it."""
    version = node.desired()["version"]
    with ThreadPoolExecutor(1) as thread:
        poll = thread.submit(node.desired, version, 20)
        time.sleep(0.5)
        with api.database.transaction() as tx:
            store.wake(tx, node.id)
        began = time.monotonic()
        assert poll.result(20)["version"] == version + 1
        return time.monotonic() - began


def test_a_poll_is_answered_as_soon_as_something_changes(api: Api, node: NodeAgent) -> None:
    assert _answered_after_a_change(api, node) < 0.9


def test_polls_are_answered_while_nobody_listens_and_after_the_connection_is_back(api: Api, node: NodeAgent) -> None:
    stop = threading.Event()
    kill = """select pg_terminate_backend(pid) from pg_stat_activity
              where application_name = 'scalar-api-listener' and datname = current_database()"""

    def keep_killing() -> None:
        with psycopg.connect(api.database_url, autocommit=True) as connection:
            while not stop.wait(0.05):
                connection.execute(kill)

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(keep_killing)
        time.sleep(0.3)
        assert _answered_after_a_change(api, node) < 5
        stop.set()
        killing.result()
    for _ in range(100):
        if "scalar_listening 1.0" in api.client().get("/metrics").text:
            break
        time.sleep(0.1)
    assert _answered_after_a_change(api, node) < 0.9


def test_two_hundred_waiting_nodes_hold_nobody_up(api: Api) -> None:
    agent = api.node()
    version = agent.desired()["version"]
    before = threading.active_count()

    async def poll_all() -> tuple[int, float]:
        limits = httpx.Limits(max_connections=None)
        headers = dict(agent.client.headers)
        async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=60, limits=limits) as client:
            query = {"version": version, "wait": 30}
            polls = [asyncio.create_task(client.get("/v1/node/desired", params=query)) for _ in range(200)]
            await asyncio.sleep(3)
            assert not any(poll.done() for poll in polls)
            threads = threading.active_count() - before
            began = time.monotonic()
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/v1/node/desired", params={"wait": 0})).status_code == 200
            quick = time.monotonic() - began
            await asyncio.to_thread(_wake, api, agent)
            answers = await asyncio.gather(*polls)
        assert {answer.json()["version"] for answer in answers} == {version + 1}
        return threads, quick

    threads, quick = asyncio.run(poll_all())
    assert threads <= 60, "waiting polls hold threads"
    assert quick < 2


def _wake(api: Api, agent: NodeAgent) -> None:
    with api.database.transaction() as tx:
        store.wake(tx, agent.id)


def test_a_submission_wakes_nobody_before_its_launch(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    version = node.desired()["version"]
    customer.post("/v1/jobs", json=a_body()).raise_for_status()
    assert node.desired(version, wait=1)["tasks"] == []
    assert api.url
