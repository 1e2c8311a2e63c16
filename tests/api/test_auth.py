"""Who may ask what."""

import re
from datetime import UTC, datetime

import httpx
import pytest

from scalar.accounts.keys import new_key
from scalar.accounts.store import revoke_key
from tests.api.calls import a_body, assert_problem
from tests.api.conftest import Api

_OF_A_JOB = [
    ("GET", "/v1/jobs/{}"),
    ("GET", "/v1/jobs/{}/explanation"),
    ("GET", "/v1/jobs/{}/logs"),
    ("GET", "/v1/jobs/{}/logs?follow=true"),
    ("POST", "/v1/jobs/{}/cancel"),
    ("POST", "/v1/jobs/{}/requeue"),
]
_OF_CUSTOMERS = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/webhook-endpoints"),
    ("POST", "/v1/top-ups"),
    ("GET", "/v1/top-ups/{}"),
    ("POST", "/v1/coupons/redeem"),
]
_OF_CAPACITY = [
    ("GET", "/v1/capacity"),
    ("GET", "/v1/reservations"),
    ("POST", "/v1/reservations"),
    ("DELETE", "/v1/reservations/{}"),
]
_OF_WEBHOOKS = [
    ("GET", "/v1/webhook-endpoints"),
    ("GET", "/v1/webhook-endpoints/{}"),
    ("POST", "/v1/webhook-endpoints/{}"),
    ("DELETE", "/v1/webhook-endpoints/{}"),
    ("POST", "/v1/webhook-endpoints/{}/rotate"),
    ("POST", "/v1/webhook-endpoints/{}/ping"),
    ("GET", "/v1/webhook-events"),
    ("POST", "/v1/webhook-events/{}/replay"),
    ("GET", "/v1/webhook-deliveries"),
    ("GET", "/v1/webhook-deliveries/{}"),
]
_OF_MONEY = [
    ("GET", "/v1/balance"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/invoices"),
    ("GET", "/v1/invoices/{}"),
    ("GET", "/v1/invoices/{}/payments"),
    ("GET", "/v1/payments"),
]
_OF_PEOPLE = [("GET", "/v1/jobs"), ("GET", "/v1/nodes"), *_OF_A_JOB, *_OF_CAPACITY, *_OF_WEBHOOKS, *_OF_MONEY]
_OF_THE_MARKET = [
    ("POST", "/v1/orders"),
    ("GET", "/v1/orders"),
    ("GET", "/v1/orders/{}"),
    ("POST", "/v1/orders/{}/approve"),
    ("POST", "/v1/orders/{}/cancel"),
    ("GET", "/v1/blocks"),
    ("GET", "/v1/market/quote"),
    ("GET", "/v1/market/prices"),
    ("GET", "/v1/market/status"),
    ("POST", "/v1/market/stop"),
    ("POST", "/v1/market/resume"),
    ("POST", "/v1/market/statement/{}/accept"),
]
_OF_FINANCE = [
    ("GET", "/v1/jobs/{}/margin"),
    ("GET", "/v1/rate-cards"),
    ("POST", "/v1/rate-cards"),
    ("POST", "/v1/rate-cards/{}/withdraw"),
    ("GET", "/v1/coupons"),
    ("POST", "/v1/coupons"),
    ("POST", "/v1/coupons/{}/end"),
    ("POST", "/v1/organisations/{}/grants"),
    ("POST", "/v1/organisations/{}/top-ups"),
    ("PUT", "/v1/organisations/{}/billing"),
    ("PUT", "/v1/organisations/{}/caps"),
    ("POST", "/v1/invoices/{}/open"),
    ("POST", "/v1/invoices/{}/void"),
    ("POST", "/v1/invoices/{}/uncollectible"),
    ("POST", "/v1/invoices/{}/credit-notes"),
    ("POST", "/v1/invoices/{}/refunds"),
    ("POST", "/v1/invoices/{}/collect"),
    ("POST", "/v1/invoices/{}/payments"),
    ("PUT", "/v1/organisations/{}/card"),
    ("GET", "/v1/periods"),
    ("POST", "/v1/periods/{}/close"),
    ("POST", "/v1/periods/{}/reopen"),
    ("POST", "/v1/balances/rebuild"),
    ("GET", "/v1/metered-hours/{}/doubts"),
    ("POST", "/v1/metered-hours/{}/accept"),
    ("GET", "/v1/tax-rates"),
    ("POST", "/v1/tax-rates"),
]
_OF_OPERATORS = [
    *_OF_THE_MARKET,
    *_OF_FINANCE,
    ("POST", "/v1/join-tokens"),
    ("POST", "/v1/nodes/{}/drain"),
    ("POST", "/v1/nodes/{}/resume"),
    ("POST", "/v1/nodes/{}/gone"),
]
_OF_NODES = [
    ("GET", "/v1/node/desired"),
    ("PUT", "/v1/node/facts"),
    ("POST", "/v1/node/reports"),
    ("POST", "/v1/node/logs"),
]
_OF_NODES_AND_OPERATORS = [("POST", "/v1/usage-events")]
_ALL = _OF_CUSTOMERS + _OF_PEOPLE + _OF_OPERATORS + _OF_NODES + _OF_NODES_AND_OPERATORS
_OPEN = {("POST", "/v1/nodes/join"), ("POST", "/v1/stripe/webhook")}
"""A join token, and Stripe's signature, are what they ask for."""


@pytest.fixture(scope="module")
def node_client(shared_api: Api) -> httpx.Client:
    return shared_api.node().client


@pytest.mark.parametrize(("method", "path"), [*_ALL, ("POST", "/v1/nodes/join")])
def test_nothing_is_to_be_had_without_a_key(shared_api: Api, method: str, path: str) -> None:
    answer = shared_api.client().request(method, path.format("job_x"))
    assert_problem(answer, 401, "not-authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer x",
        "Basic dXNlcjpwYXNz",
        "Bearer sk_customer_abc_def",
        pytest.param("Bearer " + new_key("customer").secret, id="unknown"),
        "",
    ],
)
def test_a_key_that_is_none_is_refused(shared_api: Api, header: str) -> None:
    answer = shared_api.client().get("/v1/jobs", headers={"Authorization": header})
    assert_problem(answer, 401, "not-authenticated")
    assert "_" not in header or header.rsplit("_", 1)[1] not in answer.text


def test_a_key_works_until_it_is_revoked(shared_api: Api) -> None:
    client = shared_api.customer()
    assert client.get("/v1/jobs").status_code == 200
    with shared_api.database.transaction() as tx:
        assert revoke_key(tx, client.headers["Authorization"].split("_")[2], datetime.now(UTC))
    assert_problem(client.get("/v1/jobs"), 401, "not-authenticated")


def test_a_key_past_its_time_is_refused(shared_api: Api) -> None:
    assert_problem(shared_api.client(shared_api.expired_key()).get("/v1/jobs"), 401, "not-authenticated")


def test_a_join_token_is_no_key(shared_api: Api) -> None:
    token = shared_api.operator().post("/v1/join-tokens", json={}).json()["token"]
    assert_problem(shared_api.client(token).get("/v1/jobs"), 401, "not-authenticated")


@pytest.mark.parametrize(("method", "path"), _OF_OPERATORS + _OF_NODES + _OF_NODES_AND_OPERATORS)
def test_a_customer_can_not_run_the_fleet(shared_api: Api, method: str, path: str) -> None:
    assert_problem(shared_api.customer().request(method, path.format("node_x"), json={}), 403, "forbidden")


@pytest.mark.parametrize(("method", "path"), _OF_CUSTOMERS + _OF_NODES)
def test_an_operator_is_neither_a_customer_nor_a_node(shared_api: Api, method: str, path: str) -> None:
    assert_problem(shared_api.operator().request(method, path, json={}), 403, "forbidden")


@pytest.mark.parametrize(("method", "path"), _OF_CUSTOMERS + _OF_PEOPLE + _OF_OPERATORS)
def test_a_node_sees_only_what_is_its_own(node_client: httpx.Client, method: str, path: str) -> None:
    assert_problem(node_client.request(method, path.format("job_x"), json={}), 403, "forbidden")


@pytest.fixture(scope="module")
def job_id(shared_api: Api) -> str:
    return str(shared_api.customer().post("/v1/jobs", json=a_body()).json()["id"])


@pytest.mark.parametrize(("method", "path"), _OF_A_JOB)
def test_another_tenant_job_looks_like_one_that_is_not_there(
    shared_api: Api, job_id: str, method: str, path: str
) -> None:
    stranger = shared_api.customer()
    theirs = stranger.request(method, path.format(job_id))
    none = stranger.request(method, path.format("job_01k00000000000000000000000"))
    assert_problem(theirs, 404, "not-found")
    assert theirs.json() == none.json()


def test_another_tenant_list_is_empty(shared_api: Api, job_id: str) -> None:
    assert job_id
    assert shared_api.customer().get("/v1/jobs").json() == {"data": [], "next_cursor": None}


def test_two_keys_of_one_organisation_see_the_same(shared_api: Api) -> None:
    one, other = (shared_api.customer("shared") for _ in range(2))
    job_id = one.post("/v1/jobs", json=a_body()).json()["id"]
    assert other.get(f"/v1/jobs/{job_id}").status_code == 200


def test_an_operator_sees_and_cancels_everybody_jobs(shared_api: Api) -> None:
    job_id = shared_api.customer().post("/v1/jobs", json=a_body()).json()["id"]
    operator = shared_api.operator()
    assert job_id in {job["id"] for job in operator.get("/v1/jobs").json()["data"]}
    assert operator.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    with shared_api.database.transaction() as tx:
        row = tx.execute("select actor from audit_log where subject = %s order by id desc", [job_id]).fetchone()
    assert row is not None
    assert row["actor"].startswith("operator:")


def test_every_route_is_in_one_of_these_lists(shared_api: Api) -> None:
    paths = shared_api.client().get("/openapi.json").json()["paths"]
    there = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1")
    }
    known = {(method, path.split("?")[0]) for method, path in _ALL}
    assert there == known | _OPEN
