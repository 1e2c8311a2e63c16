"""Output over HTTP: by offset, and as a stream that can be resumed anywhere."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from scalar.jobs.model import JobRun
from tests.api.calls import Event, NodeAgent, assert_problem, events, text_of
from tests.api.conftest import Api

_TEXT = "héllo 🚀 wörld\r\n" * 3


@pytest.fixture
def api(shared_api: Api) -> Api:
    """Each test has a customer and a job of its own; the server and its one large node are shared."""
    return shared_api


@pytest.fixture(scope="module")
def node(shared_api: Api) -> NodeAgent:
    return shared_api.node(gpus=64)


@pytest.fixture
def job(api: Api, node: NodeAgent, customer: httpx.Client) -> tuple[str, JobRun]:
    """A job that runs."""
    job_id, run = api.launched(customer)
    node.runs(run)
    return job_id, run


def _follow(client: httpx.Client, job_id: str, last: str | None = None, query: str = "") -> list[Event]:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"/v1/jobs/{job_id}/logs?follow=true{query}", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(events(answer.iter_lines()))


def test_output_is_read_by_offset_until_it_is_complete(
    node: NodeAgent, customer: httpx.Client, job: tuple[str, JobRun]
) -> None:
    job_id, run = job
    assert node.writes(run, ("stdout", 0, b"0123456789"))["offsets"] == {"stdout": 10, "stderr": 0}
    first = customer.get(f"/v1/jobs/{job_id}/logs", params={"limit": 4})
    assert (first.text, first.headers["x-log-next-offset"], first.headers["x-log-complete"]) == ("0123", "4", "false")
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    rest = customer.get(f"/v1/jobs/{job_id}/logs", params={"offset": 4})
    assert (rest.text, rest.headers["x-log-next-offset"], rest.headers["x-log-complete"]) == ("456789", "10", "false")
    node.ends(run)
    end = customer.get(f"/v1/jobs/{job_id}/logs", params={"offset": 10})
    assert (end.text, end.headers["x-log-next-offset"], end.headers["x-log-complete"]) == ("", "10", "true")
    assert customer.get(f"/v1/jobs/{job_id}/logs").headers["x-log-complete"] == "true"
    assert customer.get(f"/v1/jobs/{job_id}/logs", params={"offset": 2**62}).text == ""


def test_a_stream_resumed_at_any_event_gives_exactly_the_whole_text(
    node: NodeAgent, customer: httpx.Client, job: tuple[str, JobRun]
) -> None:
    job_id, run = job
    sent = _TEXT.encode()
    for at in range(0, len(sent), 5):
        node.writes(run, ("stdout", at, sent[at : at + 5]))
    node.writes(run, ("stderr", 0, b"oops"))
    node.writes(run, ("stdout", len(sent), b"more"))
    node.ends(run, exit_code=3)
    whole = _follow(customer, job_id)
    expected = _TEXT + "oops" + "more"
    assert text_of(whole) == expected
    assert [event.data["stream"] for event in whole[:-1]] == ["stdout", "stderr", "stdout"]
    assert whole[-1] == Event("end", None, {"state": "failed", "reason": "error", "exit_code": 3, "message": None})
    for index, event in enumerate(whole[:-1]):
        rest = _follow(customer, job_id, event.id)
        assert text_of(whole[: index + 1]) + text_of(rest) == expected
        assert rest[-1].kind == "end"


def test_a_stream_that_breaks_anywhere_misses_nothing_while_output_arrives(
    node: NodeAgent, customer: httpx.Client, job: tuple[str, JobRun]
) -> None:
    """Characters are cut in the middle, and the client comes back after every event."""
    job_id, run = job
    sent = _TEXT.encode()

    def write() -> None:
        for at in range(0, len(sent), 3):
            node.writes(run, ("stdout", at, sent[at : at + 3]))
        node.ends(run)

    seen: list[Event] = []
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        while not seen or seen[-1].kind != "end":
            headers = {"Last-Event-ID": str(seen[-1].id)} if seen else {}
            with customer.stream("GET", f"/v1/jobs/{job_id}/logs?follow=true", headers=headers) as answer:
                seen.append(next(events(answer.iter_lines())))
        writing.result()
    assert text_of(seen) == _TEXT
    assert "\N{REPLACEMENT CHARACTER}" not in text_of(seen)


def test_output_larger_than_an_event_comes_whole(
    node: NodeAgent, customer: httpx.Client, job: tuple[str, JobRun]
) -> None:
    job_id, run = job
    text = "é🚀x" * 30_000
    sent = text.encode()
    for at in range(0, len(sent), 200_001):
        node.writes(run, ("stdout", at, sent[at : at + 200_001]))
    node.ends(run)
    seen = _follow(customer, job_id)
    assert len(seen) > 3
    assert text_of(seen) == text


def test_bytes_that_are_no_text_are_shown_as_such(
    node: NodeAgent, customer: httpx.Client, job: tuple[str, JobRun]
) -> None:
    job_id, run = job
    node.writes(run, ("stdout", 0, b"a\xff\xfeb\xf0\x9f"))
    node.ends(run)
    seen = _follow(customer, job_id)
    assert text_of(seen) == b"a\xff\xfeb\xf0\x9f".decode(errors="replace")
    assert customer.get(f"/v1/jobs/{job_id}/logs").content == b"a\xff\xfeb\xf0\x9f"


def test_a_follower_is_told_at_once(node: NodeAgent, customer: httpx.Client, job: tuple[str, JobRun]) -> None:
    job_id, run = job
    arrived = threading.Event()
    seen: list[Event] = []

    def follow() -> None:
        with customer.stream("GET", f"/v1/jobs/{job_id}/logs?follow=true") as answer:
            for event in events(answer.iter_lines()):
                seen.append(event)
                arrived.set()

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(follow)
        node.writes(run, ("stdout", 0, b"hello"))
        assert arrived.wait(5)
        node.ends(run)
        following.result(5)
    assert text_of(seen) == "hello"
    assert seen[-1].data["state"] == "succeeded"


def test_a_stream_goes_on_with_the_next_try(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    job_id, run = api.launched(customer, retries={"max_attempts": 2})
    node.writes(run, ("stdout", 0, b"one"))
    seen: list[Event] = []
    first = threading.Event()

    def follow() -> None:
        with customer.stream("GET", f"/v1/jobs/{job_id}/logs?follow=true") as answer:
            for event in events(answer.iter_lines()):
                seen.append(event)
                first.set()

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(follow)
        assert first.wait(5)
        node.ends(run, exit_code=1)
        with api.database.transaction() as tx:
            tx.execute("update jobs set not_before = null")
        again = api.launch(job_id)
        node.writes(again, ("stdout", 0, b"two"))
        node.ends(again)
        following.result(10)
    assert [event.kind for event in seen] == ["log", "run", "log", "end"]
    assert seen[1].data == {"run": again.id, "attempt": 2}
    assert text_of(seen) == "onetwo"
    assert text_of(_follow(customer, job_id)) == "two"
    assert text_of(_follow(customer, job_id, seen[0].id)) == "two"
    assert text_of(_follow(customer, job_id, f"{run.id}:0")) == "onetwo"
    assert text_of(_follow(customer, job_id, query=f"&run={run.id}")) == "one"


def test_a_gang_has_a_log_for_each_rank(api: Api, customer: httpx.Client) -> None:
    agents = {agent.id: agent for agent in (api.node(gpus=1), api.node(gpus=1))}
    job_id, run = api.launched(customer, nodes=2)
    job = customer.get(f"/v1/jobs/{job_id}").json()
    for rank, task in enumerate(job["runs"][0]["tasks"]):
        agents[task["node_id"]].writes(run, ("stdout", 0, f"rank {rank}".encode()), rank=rank)
    assert customer.get(f"/v1/jobs/{job_id}/logs?rank=1").text == "rank 1"
    assert customer.get(f"/v1/jobs/{job_id}/logs").text == "rank 0"
    assert customer.get(f"/v1/jobs/{job_id}/logs?rank=2").text == ""


@pytest.mark.parametrize("last", ["nonsense", "run_x:0", "{run}:", "{run}:-1", "{run}:²", "{run}:" + "9" * 19, ":5"])
def test_an_event_id_that_is_none_of_the_stream_is_refused(
    customer: httpx.Client, job: tuple[str, JobRun], last: str
) -> None:
    job_id, run = job
    headers = {"Last-Event-ID": last.format(run=run.id).encode("latin-1")}
    answer = customer.get(f"/v1/jobs/{job_id}/logs?follow=true", headers=headers)  # type: ignore[arg-type]
    assert_problem(answer, 422, "invalid-request")


def test_another_job_run_is_refused(api: Api, customer: httpx.Client, job: tuple[str, JobRun]) -> None:
    other, _ = api.launched(customer)
    assert_problem(customer.get(f"/v1/jobs/{other}/logs?run={job[1].id}"), 422, "invalid-request")
    headers = {"Last-Event-ID": f"{job[1].id}:0"}
    assert_problem(customer.get(f"/v1/jobs/{other}/logs?follow=true", headers=headers), 422, "invalid-request")
