"""Capacity and reservations over HTTP, and the commands for them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.calls import NodeAgent, a_body, assert_problem
from tests.api.conftest import Api


def _times(start: float = 1, end: float = 2) -> dict[str, str]:
    """Hours from now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {"start": (now + timedelta(hours=start)).isoformat(), "end": (now + timedelta(hours=end)).isoformat()}


def _asked(gpus: int = 2, **changes: Any) -> dict[str, Any]:
    return {"gpu_type": "H100", "gpus": gpus, **_times(), **changes}


def _reserved(client: httpx.Client, gpus: int = 2, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/reservations", json=_asked(gpus, **changes))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_capacity_is_told_for_now_and_by_utc_hour(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    api.launched(customer, gpus=3)
    _reserved(customer, 5)
    shown = customer.get("/v1/capacity", params={"hours": 4}).json()
    (now,) = shown["now"]
    assert {name: now[name] for name in ("owned", "used", "reserved", "unavailable", "free", "nodes")} == {
        "owned": 8, "used": 3, "reserved": 0, "unavailable": 0, "free": 5, "nodes": 1,
    }  # fmt: skip
    assert now["machines"] == [{"sku": None, "nodes": 1, "owned": 8, "used": 3, "unavailable": 0}]
    starts = [datetime.fromisoformat(hour["start"]) for hour in shown["hours"]]
    first = datetime.fromisoformat(shown["at"]).replace(minute=0, second=0, microsecond=0)
    assert starts == [first + timedelta(hours=number) for number in range(4)]
    # Three of the five are in use by the organisation itself already.
    assert [hour["gpu_types"][0]["free"] for hour in shown["hours"]][1] == 3
    assert api.operator().post(f"/v1/nodes/{node.id}/drain").is_success
    (drained,) = customer.get("/v1/capacity").json()["now"]
    assert (drained["unavailable"], drained["free"]) == (5, 0)


def test_a_type_can_be_asked_for_alone(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    assert node
    api.node(gpu_type="A100")
    shown = customer.get("/v1/capacity", params={"gpu_type": "A100", "hours": 1}).json()
    assert [level["gpu_type"] for level in shown["now"]] == ["A100"]
    assert [level["gpu_type"] for level in shown["hours"][0]["gpu_types"]] == ["A100"]


@pytest.mark.parametrize("query", ["hours=0", "hours=337", "hours=x", "gpu_type=", f"gpu_type={'x' * 65}"])
def test_a_calendar_has_its_limits(shared_api: Api, query: str) -> None:
    assert_problem(shared_api.customer().get(f"/v1/capacity?{query}"), 422, "invalid-request")


def test_a_customer_sees_its_own_reservations_and_an_operator_all(
    api: Api, node: NodeAgent, customer: httpx.Client
) -> None:
    assert node
    mine, stranger = _reserved(customer), api.customer()
    assert [each["id"] for each in customer.get("/v1/capacity").json()["reservations"]] == [mine["id"]]
    seen = stranger.get("/v1/capacity", params={"hours": 3})
    assert seen.json()["reservations"] == []
    assert seen.json()["hours"][1]["gpu_types"][0]["reserved"] == 2
    assert mine["id"] not in seen.text
    assert mine["organisation_id"] not in seen.text
    assert stranger.get("/v1/reservations").json() == {"data": [], "next_cursor": None}
    assert [each["id"] for each in api.operator().get("/v1/reservations").json()["data"]] == [mine["id"]]


def test_another_tenant_reservation_looks_like_one_that_is_not_there(
    api: Api, node: NodeAgent, customer: httpx.Client
) -> None:
    assert node
    mine, stranger = _reserved(customer), api.customer()
    theirs = stranger.delete(f"/v1/reservations/{mine['id']}")
    assert_problem(theirs, 404, "not-found")
    assert theirs.json() == stranger.delete("/v1/reservations/res_none").json()
    assert customer.get("/v1/reservations").json()["data"][0]["released_at"] is None


def test_a_reservation_is_released_once_and_stays_in_the_list(
    api: Api, node: NodeAgent, customer: httpx.Client
) -> None:
    assert node
    mine = _reserved(customer, 8)
    first = customer.delete(f"/v1/reservations/{mine['id']}")
    assert (first.status_code, customer.delete(f"/v1/reservations/{mine['id']}").json()) == (200, first.json())
    assert first.json()["released_at"]
    assert [each["id"] for each in customer.get("/v1/reservations").json()["data"]] == [mine["id"]]
    assert customer.get("/v1/capacity").json()["reservations"] == []
    _reserved(api.customer(), 8)


def test_pages_of_reservations_follow_each_other(node: NodeAgent, customer: httpx.Client) -> None:
    assert node
    made = [_reserved(customer, 1)["id"] for _ in range(3)]
    first = customer.get("/v1/reservations", params={"limit": 2}).json()
    rest = customer.get("/v1/reservations", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert sorted(each["id"] for each in first["data"] + rest["data"]) == sorted(made)
    assert (len(first["data"]), rest["next_cursor"]) == (2, None)


def test_a_request_that_is_sent_twice_is_one_reservation(node: NodeAgent, customer: httpx.Client) -> None:
    assert node
    body, headers = _asked(5), {"Idempotency-Key": "once"}
    first, second = (customer.post("/v1/reservations", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    other = customer.post("/v1/reservations", json={**body, "gpus": 4}, headers=headers)
    assert assert_problem(other, 409, "idempotency-conflict")["reservation_id"] == first.json()["id"]


def test_what_is_not_free_is_a_409_with_the_times_that_lack(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    assert node
    _reserved(customer, 5)
    problem = assert_problem(api.customer().post("/v1/reservations", json=_asked(4)), 409, "conflict")
    assert [each["free"] for each in problem["hours"]] == [3]
    assert "H100 GPUs are not free in all of that time" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "type_"),
    [
        ({"gpus": 0}, "invalid-request"),
        ({"gpu_type": ""}, "invalid-request"),
        ({"gpu_type": "H\x00"}, "invalid-request"),
        ({"start": "2026-01-01T00:00:00"}, "invalid-request"),
        ({"start": "soon"}, "invalid-request"),
        (_times(2, 1), "invalid-request"),
        (_times(-2, 1), "invalid-request"),
        ({"length": 3}, "invalid-request"),
        ({"gpu_type": "B200"}, "unsatisfiable"),
    ],
)
def test_what_can_not_be_is_a_422(shared_api: Api, changes: dict[str, Any], type_: str) -> None:
    assert_problem(shared_api.customer().post("/v1/reservations", json=_asked(**changes)), 422, type_)


def test_customers_reserve_for_themselves_and_operators_say_for_whom(api: Api, node: NodeAgent) -> None:
    assert node
    acme, operator = api.customer("acme"), api.operator()
    own = _reserved(acme, organisation="acme")
    assert_problem(api.customer().post("/v1/reservations", json=_asked(organisation="acme")), 403, "forbidden")
    assert _reserved(operator, organisation="acme")["organisation_id"] == own["organisation_id"]
    assert_problem(operator.post("/v1/reservations", json=_asked()), 422, "invalid-request")
    assert_problem(operator.post("/v1/reservations", json=_asked(organisation="none")), 404, "not-found")


def test_a_job_that_waits_for_a_reservation_says_so(api: Api, node: NodeAgent, customer: httpx.Client) -> None:
    assert node
    _reserved(customer, 8)
    other = api.customer()
    waiting = other.post("/v1/jobs", json=a_body(gpus=1)).json()["id"]
    api.launched(other, gpus=1, max_runtime_seconds=600)
    said = other.get(f"/v1/jobs/{waiting}/explanation").json()
    assert "reserved for others" in said["summary"]
    assert "max_runtime_seconds" in said["advice"]


@pytest.fixture
def scalar(api: Api, customer: httpx.Client, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        secret = key or customer.headers["authorization"].removeprefix("Bearer ")
        return subprocess.run(
            [Path(sys.executable).parent / "scalar", *arguments],
            env={**os.environ, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": secret, "SCALAR_DATA": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_gpus_are_reserved_shown_and_released_from_the_command_line(api: Api, node: NodeAgent, scalar: Any) -> None:
    assert node
    assert scalar("capacity").stdout.count("H100") == 13
    made = json.loads(scalar("reserve", "6", "H100", "--hours", "1.5", "--json").stdout)
    assert datetime.fromisoformat(made["end"]) - datetime.fromisoformat(made["start"]) == timedelta(minutes=90)
    table = scalar("capacity", "--hours", "2").stdout
    assert made["id"] in table
    assert json.loads(scalar("capacity", "--json").stdout)["now"][0]["free"] == 2
    refused = scalar("reserve", "3", "H100", "--hours", "1")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "Free are only (UTC): 2 from" in refused.stderr
    assert f"{made['id']} is released" in scalar("release", made["id"]).stdout
    assert "8 H100 GPUs are kept from" in scalar("reserve", "8", "H100", "--hours", "1").stdout
    operator = api.operator().headers["authorization"].removeprefix("Bearer ")
    assert "say whose" in scalar("reserve", "1", "H100", "--hours", "1", key=operator).stderr
    assert scalar("reserve", "1", "H100", "--hours", "1", "--start", "soon").returncode == 2
    later = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert f"from {later.replace('T', ' ')} to" in scalar(
        "reserve", "8", "H100", "--hours", "2", "--start", later
    ).stdout  # fmt: skip
