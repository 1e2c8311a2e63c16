"""Every error has one shape, and repeats nothing that may be a secret."""

import json
import math
from typing import Any

import httpx
import pytest

from tests.api.calls import a_body, assert_problem
from tests.api.conftest import Api

_NUL, _LONE = "a\x00b", "a\ud800b"


@pytest.fixture(scope="module")
def someone(shared_api: Api) -> httpx.Client:
    return shared_api.customer()


def _post(client: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    """As `json=`, but for what a sane client would not send."""
    content = json.dumps(body)
    return client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": ""}, "image"),
        ({"image": "bad image"}, "image"),
        ({"image": "a" * 256}, "image"),
        ({"image": _NUL}, "image"),
        ({"image": _LONE}, "image"),
        ({"name": ""}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": _NUL}, "name"),
        ({"name": _LONE}, "name"),
        ({"tier": "slow"}, "tier"),
        ({"tier": None}, "tier"),
        ({"command": []}, "command"),
        ({"command": "ls"}, "command"),
        ({"command": [_NUL]}, "command.0"),
        ({"command": [_LONE]}, "command.0"),
        ({"command": ["x" * 32_769]}, "command.0"),
        ({"command": ["x"] * 513}, "command"),
        ({"args": ["ok", 3]}, "args.1"),
        ({"args": [_NUL]}, "args.0"),
        ({"env": {"A": _NUL}}, "env.A"),
        ({"env": {"A": _LONE}}, "env.A"),
        ({"env": {"A-B": "x"}}, "env.A-B.[key]"),
        ({"env": {"1A": "x"}}, "env.1A.[key]"),
        ({"env": {f"A{i}": "x" for i in range(257)}}, "env"),
        ({"env": {"A": 1}}, "env.A"),
        ({"command": ["x" * 30_000] * 9}, "body"),
        ({"labels": {"-a": "x"}}, "labels.-a.[key]"),
        ({"labels": {"a": "x" * 256}}, "labels.a"),
        ({"labels": {"a": _NUL}}, "labels.a"),
        ({"labels": {f"a{i}": "" for i in range(33)}}, "labels"),
        ({"priority": 101}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"max_runtime_seconds": 0}, "max_runtime_seconds"),
        ({"max_runtime_seconds": 10**30}, "max_runtime_seconds"),
        ({"retries": {"max_attempts": 0}}, "retries.max_attempts"),
        ({"retries": {"max_attempts": 11}}, "retries.max_attempts"),
        ({"retries": {"max_attempts": 2, "on": ["bad luck"]}}, "retries.on.0"),
        ({"gpus": 0}, "resources.gpus"),
        ({"gpus": 65}, "resources.gpus"),
        ({"gpus": "many"}, "resources.gpus"),
        ({"nodes": 0}, "resources.nodes"),
        ({"cpus": 0}, "resources.cpus"),
        ({"cpus": math.nan}, "resources.cpus"),
        ({"cpus": math.inf}, "resources.cpus"),
        ({"memory_gib": math.nan}, "resources.memory_gib"),
        ({"memory_gib": 0.005}, "resources.memory_gib"),
        ({"memory_gib": 65_537}, "resources.memory_gib"),
        ({"gpu_type": ""}, "resources.gpu_type"),
        ({"gpu_type": _NUL}, "resources.gpu_type"),
        ({"imagee": "x"}, "imagee"),
        ({"resources": {"gpus": 1, "gpu": 1}}, "resources.gpu"),
        ({"retries": {"max_attempts": 2, "backoff": 1}}, "retries.backoff"),
    ],
)
def test_a_field_that_is_wrong_is_named(someone: httpx.Client, change: dict[str, Any], field: str) -> None:
    body = {
        **a_body(**{k: v for k, v in change.items() if k != "resources"}),
        **{k: v for k, v in change.items() if k == "resources"},
    }
    problem = assert_problem(_post(someone, body), 422, "invalid-request")
    assert field in {fault["field"] for fault in problem["errors"]}
    assert field in problem["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {_LONE: 1},
        {"env": {_LONE: "x"}},
        {"labels": {_NUL: "x"}},
        {"labels": {_LONE: "x"}},
    ],
)
def test_a_name_that_can_not_be_written_is_refused_all_the_same(someone: httpx.Client, change: dict[str, Any]) -> None:
    assert_problem(_post(someone, a_body(**change)), 422, "invalid-request")


@pytest.mark.parametrize(
    "change",
    [
        {"memory_gib": 0.005000000001},
        {"memory_gib": 65_536, "cpus": 1024},
        {"name": "é" * 100, "labels": {"a/b.c-d": "ünïcödé 🚀"}},
        {"env": {"_A1": "line\nline\r\n\t\x01"}},
        {"command": ["x" * 32_768] * 7},
        {"priority": -100, "max_runtime_seconds": 30 * 86_400, "retries": {"max_attempts": 10, "on": []}},
        {"image": "registry.example:5000/team/train@sha256:" + "0" * 64},
    ],
)
def test_what_is_just_allowed_is_accepted_and_shown_again(someone: httpx.Client, change: dict[str, Any]) -> None:
    answer = _post(someone, a_body(**change))
    assert answer.status_code == 201, answer.text
    shown = someone.get(f"/v1/jobs/{answer.json()['id']}")
    assert shown.status_code == 200, shown.text
    assert shown.json()["resources"]["memory_gib"] == pytest.approx(change.get("memory_gib"))
    for field in ("name", "image", "labels", "priority", "command"):
        assert field not in change or shown.json()[field] == change[field]


def test_no_value_of_a_request_comes_back_in_an_error(someone: httpx.Client) -> None:
    secret = "hunter2-hunter2"
    for body in (
        a_body(env={"A": secret, "B": 7}, tier=secret),
        a_body(env={"A": secret + "\x00"}, command=[secret, 1], gpus=secret),
        {"env": secret, "resources": secret, "image": secret + " "},
        secret,
        [secret],
    ):
        answer = _post(someone, body)
        assert_problem(answer, 422, "invalid-request")
        assert secret not in answer.text
    answer = someone.post(
        "/v1/jobs", content='{"image": "hunter2-hunter2" oops', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert secret not in answer.text


def test_no_key_comes_back_in_an_error(shared_api: Api) -> None:
    secret = "sk_customer_abcdefgh_" + "z" * 32
    answer = shared_api.client(secret).get("/v1/jobs")
    assert answer.status_code == 401
    assert "zzzz" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "type_"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("DELETE", "/v1/jobs", 405, "method-not-allowed"),
        ("GET", "/v1/jobs/none", 404, "not-found"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid-request"),
        ("GET", "/v1/jobs?limit=201", 422, "invalid-request"),
        ("GET", "/v1/jobs?limit=many", 422, "invalid-request"),
        ("GET", "/v1/jobs?state=asleep", 422, "invalid-request"),
        ("GET", "/v1/jobs?tier=slow", 422, "invalid-request"),
        ("GET", "/v1/jobs?label=nonsense", 422, "invalid-request"),
        ("GET", "/v1/jobs?label==x", 422, "invalid-request"),
        ("GET", "/v1/jobs?label=a%3D%00", 422, "invalid-request"),
        ("GET", "/v1/jobs?cursor=%00", 422, "invalid-request"),
        ("GET", "/v1/jobs?cursor=" + "x" * 41, 422, "invalid-request"),
        ("GET", "/v1/jobs/a%00b", 422, "invalid-request"),
        ("POST", "/v1/jobs/a%00b/cancel", 422, "invalid-request"),
        ("GET", "/v1/jobs/none/logs?offset=-1", 422, "invalid-request"),
        ("GET", "/v1/jobs/none/logs?limit=0", 422, "invalid-request"),
    ],
)
def test_each_error_has_its_status_and_type(
    someone: httpx.Client, method: str, path: str, status: int, type_: str
) -> None:
    assert_problem(someone.request(method, path), status, type_)


@pytest.mark.parametrize("path", ["/v1/jobs/%ff", "/v1/jobs?label=%ed%a0%80=1", "/v1/jobs?cursor=%F0%9F", "/v1/jobs/'"])
def test_bytes_that_are_no_text_are_an_error_of_the_caller(someone: httpx.Client, path: str) -> None:
    assert someone.get(path).status_code in {200, 404, 422}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000, b'{"a": ' * 1_000, b"1" * 5_000, b"NaN"]
)
def test_a_body_that_is_no_json_object_is_an_error_of_the_caller(someone: httpx.Client, content: bytes) -> None:
    answer = someone.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("with_key", [False, True])
def test_a_body_of_ten_megabytes_is_refused_whether_or_not_it_says_how_long_it_is(
    shared_api: Api, someone: httpx.Client, *, chunked: bool, with_key: bool
) -> None:
    megabyte = b"x" * 1024 * 1024
    content = iter([megabyte] * 10) if chunked else megabyte * 10
    client = someone if with_key else shared_api.client()
    answer = client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "too-large")


def test_a_body_below_the_limits_is_accepted(someone: httpx.Client) -> None:
    padding = {"env": {f"A{i}": "x" * 3_000 for i in range(80)}}
    assert _post(someone, a_body(**padding)).status_code == 201


def test_an_idempotency_key_has_a_length(someone: httpx.Client) -> None:
    assert_problem(_post(someone, a_body(), **{"Idempotency-Key": "k" * 256}), 422, "invalid-request")
    assert_problem(_post(someone, a_body(), **{"Idempotency-Key": ""}), 422, "invalid-request")
    assert _post(someone, a_body(), **{"Idempotency-Key": "k" * 255}).status_code == 201
