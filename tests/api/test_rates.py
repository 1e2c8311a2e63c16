"""Rate cards over HTTP, and `scalar rates`."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.calls import assert_problem
from tests.api.conftest import Api


def _hour(ahead: int) -> str:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return (hour + timedelta(hours=ahead)).isoformat()


def _price(tier: str = "fast", gpu_type: str = "H100", **model: Any) -> dict[str, Any]:
    return {"gpu_type": gpu_type, "tier": tier, "price": model or {"model": "flat", "per_gpu_hour": "3.60"}}


_EVERY = [_price(gpu_type="*"), _price("flex", "*")]


def _card(**changes: Any) -> dict[str, Any]:
    return {"name": "2026", "prices": [_price()], "effective_from": _hour(1), **changes}


@pytest.fixture
def operator(api: Api) -> httpx.Client:
    api.customer("acme")
    return api.operator()


def test_a_card_is_shown_as_it_was_set_before_the_built_in_one(operator: httpx.Client) -> None:
    prices = [
        _price(),
        _price("flex", model="market", margin_percent="12.5", cap={"per_gpu_hour": "3"}),
        _price(
            gpu_type="A100",
            model="graduated",
            brackets=[{"up_to": "3600000", "per_gpu_second": "0.001"}, {"up_to": None, "per_gpu_second": "0.0009"}],
        ),
        _price(gpu_type="*", model="package", gpu_seconds="3600", price="3.5"),
    ]
    body = _card(
        organisation="acme", prices=prices, minimum_commitment="500", discount_percent="2.5", free_gpu_seconds="100"
    )
    made = operator.post("/v1/rate-cards", json=body)
    assert made.status_code == 201, made.text
    card, built_in = operator.get("/v1/rate-cards").json()["data"]
    assert card == made.json()
    shown = {(each["gpu_type"], each["tier"]): each["price"] for each in card["prices"]}
    assert shown["H100", "fast"] == {"model": "flat", "per_gpu_second": "0.001"}
    assert shown["H100", "flex"]["cap_per_gpu_second"] == "0.000833333333"
    assert shown["A100", "fast"]["brackets"][1] == {"up_to": None, "per_gpu_second": "0.0009"}
    assert shown["*", "fast"] == {"model": "package", "gpu_seconds": "3600", "price": "3.5"}
    assert (card["minimum_commitment"], card["discount_percent"], card["free_gpu_seconds"]) == (
        "500.000000",
        "2.5",
        "100",
    )
    assert (built_in["id"], built_in["organisation_id"]) == ("built-in", None)


def test_a_new_card_ends_the_one_before_it(operator: httpx.Client) -> None:
    for ahead in (1, 5):
        assert operator.post("/v1/rate-cards", json=_card(organisation="acme", effective_from=_hour(ahead))).is_success
    new, old, _ = operator.get("/v1/rate-cards").json()["data"]
    assert datetime.fromisoformat(old["effective_until"]) == datetime.fromisoformat(new["effective_from"])
    again = _card(organisation="acme", effective_from=_hour(3))
    assert_problem(operator.post("/v1/rate-cards", json=again), 409, "conflict")


def test_a_card_that_is_yet_to_begin_is_withdrawn(operator: httpx.Client) -> None:
    wrong = operator.post("/v1/rate-cards", json=_card(organisation="acme")).json()
    for _ in range(2):
        withdrawn = operator.post(f"/v1/rate-cards/{wrong['id']}/withdraw")
        assert withdrawn.status_code == 200, withdrawn.text
        assert withdrawn.json()["withdrawn_at"] is not None
    assert operator.post("/v1/rate-cards", json=_card(organisation="acme")).status_code == 201
    begun = operator.post("/v1/rate-cards", json=_card(effective_from=None, prices=_EVERY)).json()
    assert_problem(operator.post(f"/v1/rate-cards/{begun['id']}/withdraw"), 409, "conflict")
    assert_problem(operator.post("/v1/rate-cards/built-in/withdraw"), 404, "not-found")


_IMPOSSIBLE = [
    {"effective_from": _hour(-2)},
    {"effective_from": "2099-01-01T00:30:00Z"},
    {"effective_until": _hour(1)},
    {"organisation": None},  # the default has a price for everything
    {"organisation": None, "prices": _EVERY, "minimum_commitment": "5"},
    {"prices": [_price(), _price()]},
    {"prices": [_price(model="flat")]},
    {"prices": [_price(model="flat", per_gpu_hour="-1")]},
    {"prices": [_price(model="flat", per_gpu_second="2")]},
    {"prices": [_price(model="volume", brackets=[{"up_to": "5", "per_gpu_hour": "1"}])]},
    {"prices": [_price(model="package", gpu_seconds="0", price="1")]},
    {"prices": [_price(model="guess")]},
    {"discount_percent": "101"},
]


def test_a_card_that_cannot_be_is_refused(operator: httpx.Client) -> None:
    for changes in _IMPOSSIBLE:
        answer = operator.post("/v1/rate-cards", json=_card(**{"organisation": "acme", **changes}))
        assert answer.status_code == 422, changes
        assert_problem(answer, 422, "invalid-request")


def test_rates_are_for_operators(api: Api) -> None:
    customer = api.customer()
    for answer in (
        customer.get("/v1/rate-cards"),
        customer.post("/v1/rate-cards", json=_card()),
    ):
        assert_problem(answer, 403, "forbidden")


def test_the_command_sets_and_lists_prices(api: Api, operator: httpx.Client) -> None:
    key = operator.headers["Authorization"].removeprefix("Bearer ")

    def scalar(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key}
        command = [sys.executable, "-m", "scalar_api.cli", "rates", *arguments]
        how = {"env": environment, "capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(command, check=False, **how)

    done = scalar("set", "--name", "flat", "--fast", "3.50", "--flex", "2.50", "--discount", "5", "--from", _hour(1))
    assert done.returncode == 0, done.stderr
    assert "holds from" in done.stdout
    done = scalar("set", "-", "--json", input=json.dumps(_card(organisation="acme")))
    assert json.loads(done.stdout)["name"] == "2026", done.stderr
    card = json.loads(done.stdout)["id"]
    assert "is withdrawn" in scalar("withdraw", card).stdout
    listed = scalar("list").stdout
    assert "withdrawn" in listed
    assert "$3.5000 per GPU-hour" in listed
    assert "market + 20%, at most $3.0000 per GPU-hour" in listed
    assert "5% off" in listed
    assert scalar("set", "/nowhere.json").returncode == 2
