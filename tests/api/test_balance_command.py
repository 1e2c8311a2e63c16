"""`scalar balance` and `scalar billing` as they are typed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.api.calls import a_body
from tests.api.conftest import Api

SCALAR = Path(sys.executable).parent / "scalar"
DONE, USAGE, REFUSED = 0, 2, 3
Run = Callable[..., subprocess.CompletedProcess[str]]


def _command(api: Api, client: httpx.Client) -> Run:
    key = client.headers["authorization"].removeprefix("Bearer ")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCALAR_")}
        return subprocess.run(
            [SCALAR, *arguments],
            env={**inherited, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def operator(shared_api: Api) -> Run:
    return _command(shared_api, shared_api.operator())


def test_credit_terms_and_caps_are_entered_and_shown(shared_api: Api, operator: Run) -> None:
    customer = shared_api.customer("Grace Ltd")
    for words in (
        ("terms", "Grace Ltd", "prepaid", "--grace", "60"),
        ("top-up", "Grace Ltd", "20.50", "--note", "wire [17]"),
        ("grant", "Grace Ltd", "5", "--expires", "2099-01-31T00:00Z"),
        ("cap", "Grace Ltd", "project", "--subject", "vision", "--dollars", "100"),
    ):
        entered = operator("billing", *words)
        assert entered.returncode == DONE, entered.stderr
    job = customer.post("/v1/jobs", json=a_body(gpu_type="H100", max_runtime_seconds=3600)).raise_for_status().json()
    theirs = _command(shared_api, customer)
    shown = theirs("balance").stdout
    for text in ("$21.90", "prepaid", "$25.50", "$3.60", "2099-01-31 00:00", "wire [17]", "vision", "$100.00"):
        assert text in shown, shown
    assert json.loads(operator("balance", "--organisation", "Grace Ltd", "--json").stdout)["available"] == "21.900000"
    assert "$0.00 so far, $3.60 held" in theirs("show", job["id"]).stdout
    rows = theirs("balance", "--csv").stdout.splitlines()
    assert rows[:2] == ["name,amount,left,expires_at,about", "available,21.900000,,,"]
    assert rows[9:] == [
        "lot:grant,5.000000,5.000000,2099-01-31T00:00:00+00:00,",
        "lot:purchase,20.500000,20.500000,,wire [17]",
        "cap:project,100.000000,100.000000,,vision",
    ]


def test_terms_that_are_not_named_stay(shared_api: Api, operator: Run) -> None:
    customer = shared_api.customer("Ida Ltd")

    def terms(*words: str) -> tuple[str | None, int]:
        answer = json.loads(operator("billing", "terms", "Ida Ltd", *words, "--json").stdout)
        return answer["credit_limit"], answer["grace_seconds"]

    assert terms("invoiced", "--credit-limit", "50") == ("50.000000", 300)
    assert terms("invoiced", "--grace", "60") == ("50.000000", 60)
    assert customer.get("/v1/balance").json()["available"] == "50.000000"
    assert terms("invoiced", "--credit-limit", "none") == (None, 60)


def test_the_same_key_enters_credit_once(shared_api: Api, operator: Run) -> None:
    customer = shared_api.customer("Mary Ltd")
    lots = [
        json.loads(operator("billing", "grant", "Mary Ltd", "5", "--idempotency-key", "a", "--json").stdout)["id"]
        for _ in range(2)
    ]
    assert lots[0] == lots[1]
    assert customer.get("/v1/balance").json()["credit"] == "5.000000"


def test_what_is_refused_says_why(shared_api: Api, operator: Run) -> None:
    customer = shared_api.customer("Joan Ltd")
    assert operator("billing", "terms", "Joan Ltd", "prepaid").returncode == DONE
    refused = _command(shared_api, customer)("submit", "--gpu-type", "H100", "--max-runtime", "1h", "busybox:local")
    assert refused.returncode == REFUSED
    assert "$3.60 is missing" in refused.stderr
    assert operator("billing", "top-up", "nobody", "5").returncode == REFUSED
    assert operator("billing", "cap", "Joan Ltd", "galaxy", "--dollars", "5").returncode == USAGE
