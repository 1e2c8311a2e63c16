"""Coupons over HTTP, and `scalar coupons`."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.api.calls import assert_problem
from tests.api.conftest import Api


@pytest.fixture
def operator(api: Api) -> httpx.Client:
    return api.operator()


def make(operator: httpx.Client, code: str = "HELLO", **body: Any) -> dict[str, Any]:
    return operator.post("/v1/coupons", json={"code": code, "amount_off": "25", **body}).raise_for_status().json()


def redeem(customer: httpx.Client, code: str = "HELLO") -> httpx.Response:
    return customer.post("/v1/coupons/redeem", json={"code": code})


def test_coupons_are_made_once_a_code(api: Api, operator: httpx.Client) -> None:
    api.customer("acme")
    made = make(operator, organisation="acme")
    assert (Decimal(made["amount_off"]), made["once"], made["everybody"]) == (25, True, False)
    assert_problem(operator.post("/v1/coupons", json={"code": "HELLO", "percent_off": "5"}), 409, "conflict")
    stranger = {"code": "X", "percent_off": "5", "organisation": "nobody"}
    assert_problem(operator.post("/v1/coupons", json=stranger), 404, "not-found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"percent_off": "5", "amount_off": "5"},
        {"percent_off": "5", "ends_at": "2020-01-01T00:00:00Z"},
        {"percent_off": "5", "everybody": True, "organisation": "acme"},
    ],
)
def test_a_coupon_that_cannot_be_is_refused(operator: httpx.Client, body: dict[str, Any]) -> None:
    assert_problem(operator.post("/v1/coupons", json={"code": "X", **body}), 422, "invalid-request")


def test_a_customer_redeems_a_coupon_once(api: Api, operator: httpx.Client) -> None:
    acme = api.customer("acme")
    make(operator)
    make(operator, "THEIRS", organisation="acme")
    first, again = redeem(acme), redeem(api.customer("acme"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert datetime.fromisoformat(first.json()["redeemed_at"]) <= datetime.now(UTC)
    theirs = redeem(acme, "THEIRS")
    assert (theirs.status_code, theirs.json()["redeemed_at"]) == (200, None)
    for nothing in (redeem(acme, "NONE"), redeem(api.customer("globex"), "THEIRS")):
        assert_problem(nothing, 404, "not-found")
    assert [(each["code"], each["redemptions"]) for each in operator.get("/v1/coupons").json()["data"]] == [
        ("THEIRS", 0),
        ("HELLO", 1),
    ]


def test_a_coupon_that_was_taken_back_is_over(api: Api, operator: httpx.Client) -> None:
    coupon = make(operator)
    ended = operator.post(f"/v1/coupons/{coupon['id']}/end").raise_for_status().json()
    assert ended == operator.post("/v1/coupons/HELLO/end").json()
    assert ended["ended_at"] is not None
    assert_problem(redeem(api.customer()), 409, "conflict")
    assert_problem(operator.post("/v1/coupons/NONE/end"), 404, "not-found")


def test_the_command_makes_lists_redeems_and_ends(api: Api, operator: httpx.Client) -> None:
    def scalar(client: httpx.Client, *arguments: str) -> subprocess.CompletedProcess[str]:
        key = client.headers["Authorization"].removeprefix("Bearer ")
        command = [sys.executable, "-m", "scalar_api.cli", "coupons", *arguments]
        environment = {**os.environ, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key}
        return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)

    customer = api.customer()
    made = scalar(operator, "make", "HELLO", "--percent", "10", "--every", "--until", "2099-01-01T00:00Z")
    assert "10% off each invoice, for who redeems it" in made.stdout, made.stderr
    assert scalar(operator, "make", "HELLO", "--percent", "10").returncode == 3
    assert "HELLO is yours, redeemed" in scalar(customer, "redeem", "HELLO").stdout
    listed = scalar(operator, "list").stdout
    assert "who redeems it" in listed
    assert "2099-01-01 00:00" in listed
    assert "is over" in scalar(operator, "end", "HELLO").stdout
    assert scalar(customer, "redeem", "HELLO").returncode == 0  # it was redeemed, and says so
    assert scalar(api.customer(), "redeem", "HELLO").returncode == 3
