"""Balances, credit, terms and caps over HTTP; and what a job costs, wherever a job is shown."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.calls import NodeAgent, a_body, assert_problem
from tests.api.conftest import Api


def an_hour(**changes: Any) -> dict[str, Any]:
    """An H100 for an hour: $3.60."""
    return a_body(**{"gpu_type": "H100", "max_runtime_seconds": 3600, **changes})


def organisation_of(customer: httpx.Client) -> str:
    return str(customer.get("/v1/balance").raise_for_status().json()["organisation_id"])


def set_terms(operator: httpx.Client, organisation: str, **body: Any) -> dict[str, Any]:
    path = f"/v1/organisations/{organisation}/billing"
    return dict(operator.put(path, json={"terms": "prepaid", **body}).raise_for_status().json())


def test_a_customer_without_an_account_is_invoiced_without_a_limit(shared_api: Api) -> None:
    balance = shared_api.customer().get("/v1/balance").raise_for_status().json()
    assert balance.pop("organisation_id").startswith("org_")
    assert balance == {
        "terms": "invoiced",
        "available": None,
        "credit": "0.000000",
        "credit_limit": None,
        "lots": [],
        "unbilled": "0.000000",
        "receivable": "0.000000",
        "written_off": "0.000000",
        "held": "0.000000",
        "spent_this_month": "0.000000",
        "caps": [],
        "empty_since": None,
        "flex_stops_at": None,
    }


def test_a_balance_as_csv_for_spreadsheets(shared_api: Api) -> None:
    customer, operator = shared_api.customer(), shared_api.operator()
    org = organisation_of(customer)
    top_up = {"amount": "5", "note": "=HYPERLINK(1)"}
    operator.post(f"/v1/organisations/{org}/top-ups", json=top_up).raise_for_status()
    answer = customer.get("/v1/balance", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="balance-')
    rows = list(csv.reader(io.StringIO(answer.text)))
    owed = ("unbilled", "receivable", "written_off", "held", "spent_this_month")
    assert rows == [
        ["name", "amount", "left", "expires_at", "about"],
        ["available", "", "", "", ""],
        ["credit", "5.000000", "", "", ""],
        ["credit_limit", "", "", "", ""],
        *([name, "0.000000", "", "", ""] for name in owed),
        ["lot:purchase", "5.000000", "5.000000", "", "'=HYPERLINK(1)"],
    ]
    assert customer.get("/v1/balance", params={"format": "csv"}).text == answer.text
    assert_problem(customer.get("/v1/balance", params={"format": "pdf"}), 422, "invalid-request")


def test_a_customer_tops_up_spends_and_is_refused_with_what_is_missing(shared_api: Api) -> None:
    customer, operator = shared_api.customer(), shared_api.operator()
    org = organisation_of(customer)
    set_terms(operator, org)
    problem = assert_problem(customer.post("/v1/jobs", json=an_hour()), 402, "payment-required")
    assert (problem["missing"], problem["available"], problem["worst_case"]) == ("3.600000", "0.000000", "3.600000")
    assert "$3.60 is missing" in problem["detail"]
    assert customer.get("/v1/jobs").json()["data"] == []
    operator.post(f"/v1/organisations/{org}/top-ups", json={"amount": "5", "note": "wire 17"}).raise_for_status()
    job = customer.post("/v1/jobs", json=an_hour()).raise_for_status().json()
    assert job["cost"] == {"so_far": "0.000000", "held": "3.600000"}
    balance = customer.get("/v1/balance").json()
    assert (balance["terms"], balance["available"], balance["held"]) == ("prepaid", "1.400000", "3.600000")
    (lot,) = balance["lots"]
    assert (lot["kind"], lot["amount"], lot["left"], lot["note"]) == ("purchase", "5.000000", "5.000000", "wire 17")
    cancelled = customer.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status().json()
    assert cancelled["cost"] == {"so_far": "0.000000", "held": "0.000000"}
    assert customer.get("/v1/balance").json()["available"] == "5.000000"
    assert customer.post("/v1/jobs", json=an_hour(max_runtime_seconds=5000)).status_code == 201
    assert_problem(customer.post(f"/v1/jobs/{job['id']}/requeue"), 402, "payment-required")


def test_a_job_shows_what_it_costs_while_it_runs_and_when_it_has_ended(
    api: Api, node: NodeAgent, customer: httpx.Client
) -> None:
    job_id, run = api.launched(customer, gpus=4, gpu_type="H100", max_runtime_seconds=3600, max_cost="10")
    start = datetime.now(UTC) - timedelta(minutes=2)
    node.report(run, "running", at=start.isoformat())
    node.report(run, "alive", at=(start + timedelta(minutes=1)).isoformat(), sequence=1)
    job = customer.get(f"/v1/jobs/{job_id}").json()
    assert job["max_cost"] == "10.000000"
    assert job["cost"] == {"so_far": "0.240000", "held": "10.000000"}
    assert [each["cost"] for each in customer.get("/v1/jobs").json()["data"]] == [job["cost"]]
    node.ends(run, started_at=start.isoformat(), at=(start + timedelta(seconds=90)).isoformat())
    assert customer.get(f"/v1/jobs/{job_id}").json()["cost"] == {"so_far": "0.360000", "held": "0.000000"}


def test_credit_is_entered_once_under_one_key(shared_api: Api) -> None:
    customer, operator = shared_api.customer(), shared_api.operator()
    org, headers = organisation_of(customer), {"Idempotency-Key": "gift-1"}
    expires = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    body = {"amount": "2.5", "expires_at": expires}
    first, second = (operator.post(f"/v1/organisations/{org}/grants", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    other = operator.post(f"/v1/organisations/{org}/grants", json={"amount": "3"}, headers=headers)
    assert_problem(other, 409, "idempotency-conflict")
    operator.post(f"/v1/organisations/{org}/top-ups", json={"amount": "1"}, headers=headers).raise_for_status()
    balance = customer.get("/v1/balance").json()
    assert [(lot["kind"], lot["left"]) for lot in balance["lots"]] == [("grant", "2.500000"), ("purchase", "1.000000")]
    assert balance["credit"] == "3.500000"


def test_an_organisation_is_named_by_its_id_or_its_name(shared_api: Api) -> None:
    customer, operator = shared_api.customer("Ada Ltd"), shared_api.operator()
    by_name = operator.get("/v1/balance", params={"organisation": "Ada Ltd"}).raise_for_status().json()
    assert by_name["organisation_id"] == organisation_of(customer)
    assert_problem(operator.get("/v1/balance", params={"organisation": "nobody"}), 404, "not-found")
    assert_problem(operator.get("/v1/balance"), 422, "invalid-request")
    assert customer.get("/v1/balance", params={"organisation": "Ada Ltd"}).status_code == 200
    foreign = shared_api.customer()
    for named in ("Ada Ltd", by_name["organisation_id"], "nobody"):
        assert_problem(foreign.get("/v1/balance", params={"organisation": named}), 403, "forbidden")


def test_terms_and_contact_are_set_and_what_is_left_out_stays(shared_api: Api) -> None:
    customer, operator = shared_api.customer(), shared_api.operator()
    org = organisation_of(customer)
    first = set_terms(operator, org, terms="invoiced", credit_limit="100", email="ap@example.com", country="DE")
    assert (first["credit_limit"], first["email"], first["country"]) == ("100.000000", "ap@example.com", "DE")
    second = set_terms(operator, org, terms="invoiced", address={"city": "Bonn"}, grace_seconds=60)
    assert (second["email"], second["address"]) == ("ap@example.com", {"city": "Bonn"})
    assert (second["credit_limit"], second["grace_seconds"]) == ("100.000000", 60)
    path = f"/v1/organisations/{org}/billing"
    third = operator.put(path, json={"email": "new@example.com"}).raise_for_status().json()
    assert third == {**second, "email": "new@example.com"}
    assert customer.get("/v1/balance").json()["available"] == "100.000000"
    assert set_terms(operator, org, terms="invoiced", credit_limit=None)["credit_limit"] is None
    assert_problem(operator.put(path, json={"terms": None}), 422, "invalid-request")
    fourth = set_terms(operator, org, credit_limit=None, terms="invoiced") | {"credit_limit": "5.000000"}
    assert set_terms(operator, org, terms="invoiced", credit_limit="5") == fourth
    prepaid = set_terms(operator, org, terms="prepaid", email=None)
    assert (prepaid["terms"], prepaid["credit_limit"], prepaid["email"]) == ("prepaid", None, None)
    assert_problem(operator.put(path, json={"credit_limit": "5"}), 422, "invalid-request")


def test_caps_are_set_shown_and_hold(shared_api: Api) -> None:
    customer, operator = shared_api.customer(), shared_api.operator()
    org = organisation_of(customer)
    caps = [
        {"scope": "organisation", "monthly_limit": "100"},
        {"scope": "project", "subject": "vision", "monthly_limit": "5"},
    ]
    operator.put(f"/v1/organisations/{org}/caps", json={"caps": caps}).raise_for_status()
    labels = {"project": "vision"}
    customer.post("/v1/jobs", json=an_hour(labels=labels)).raise_for_status()
    problem = assert_problem(customer.post("/v1/jobs", json=an_hour(labels=labels)), 402, "spend-cap-reached")
    assert (problem["scope"], problem["subject"]) == ("project", "vision")
    shown = {each["scope"]: each for each in customer.get("/v1/balance").json()["caps"]}
    assert shown["project"] == {
        "scope": "project",
        "subject": "vision",
        "monthly_limit": "5.000000",
        "spent": "0.000000",
        "held": "3.600000",
        "left": "1.400000",
    }
    assert shown["organisation"]["left"] == "96.400000"
    gone = [{"scope": "project", "subject": "vision", "monthly_limit": None}]
    left = operator.put(f"/v1/organisations/{org}/caps", json={"caps": gone}).raise_for_status().json()["data"]
    assert [each["scope"] for each in left] == ["organisation"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "grants", {"amount": "1"}),
        ("POST", "top-ups", {"amount": "1"}),
        ("PUT", "billing", {"terms": "invoiced"}),
        ("PUT", "caps", {"caps": [{"scope": "organisation", "monthly_limit": "1"}]}),
    ],
)
def test_money_is_entered_by_operators_alone(shared_api: Api, method: str, path: str, body: dict[str, Any]) -> None:
    customer = shared_api.customer()
    url = f"/v1/organisations/{organisation_of(customer)}/{path}"
    assert_problem(customer.request(method, url, json=body), 403, "forbidden")
    assert_problem(shared_api.client().request(method, url, json=body), 401, "not-authenticated")
    nobody = f"/v1/organisations/org_none/{path}"
    assert_problem(shared_api.operator().request(method, nobody, json=body), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("grants", {"amount": "0"}),
        ("grants", {"amount": "-1"}),
        ("grants", {"amount": "0.0000001"}),
        ("grants", {"amount": "nan"}),
        ("grants", {"amount": "1e300"}),
        ("grants", {"amount": "1", "expires_at": "2020-01-01T00:00:00Z"}),
        ("grants", {"amount": "1", "expires_at": "2030-01-01T00:00:00"}),
        ("grants", {"amount": "1", "note": "\x00"}),
        ("top-ups", {"amount": "1", "expires_at": "2030-01-01T00:00:00Z"}),
        ("top-ups", {}),
    ],
    ids=repr,
)
def test_nonsense_is_no_credit(shared_api: Api, path: str, body: dict[str, Any]) -> None:
    customer = shared_api.customer()
    org = organisation_of(customer)
    answer = shared_api.operator().post(f"/v1/organisations/{org}/{path}", json=body)
    assert_problem(answer, 422, "invalid-request")
    assert customer.get("/v1/balance").json()["lots"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"terms": "prepaid", "credit_limit": "5"},
        {"terms": "later"},
        {"terms": "invoiced", "credit_limit": "-1"},
        {"terms": "invoiced", "country": "de"},
        {"terms": "invoiced", "email": "nobody"},
        {"terms": "invoiced", "stripe_customer_id": "cus_1"},
    ],
    ids=repr,
)
def test_nonsense_is_no_terms(shared_api: Api, body: dict[str, Any]) -> None:
    org = organisation_of(shared_api.customer())
    answer = shared_api.operator().put(f"/v1/organisations/{org}/billing", json=body)
    assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize("limit", ["0", "-1", "0.0000001", "nan"])
def test_a_max_cost_is_an_amount(shared_api: Api, limit: str) -> None:
    assert_problem(shared_api.customer().post("/v1/jobs", json=an_hour(max_cost=limit)), 422, "invalid-request")
