"""Stripe's webhooks over HTTP, refunds, cards and top-ups; and the command line."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scalar.accounts import store as accounts
from scalar.accounts.keys import Role
from scalar.billing import refunds
from scalar.billing.charging import charge_due
from scalar.billing.stripe_events import handle_events
from tests.api.calls import assert_problem
from tests.api.conftest import Api, an_api
from tests.billing.billed import a_job_with_a_run
from tests.billing.stripe_made_up import Shop
from tests.made_up import a_key
from tests.stripe_process import SandboxStripe, WebhookInbox

SECRET = "whsec_of_this_test"
SCALAR = Path(sys.executable).parent / "scalar"


@pytest.fixture(scope="module")
def inbox() -> Iterator[WebhookInbox]:
    with WebhookInbox() as started:
        yield started


@pytest.fixture(scope="module")
def stripe_process(tmp_path_factory: pytest.TempPathFactory, inbox: WebhookInbox) -> Iterator[SandboxStripe]:
    folder = tmp_path_factory.mktemp("stripe")
    with SandboxStripe(folder, clock="real", start=None, webhook_url=inbox.url) as sandbox:
        yield sandbox


@pytest.fixture(scope="module", autouse=True)
def configured(stripe_process: SandboxStripe) -> Iterator[None]:
    """Stripe is the stand-in, whose webhooks are taken, and those that the test signs."""
    secrets = stripe_process.data / "secrets"
    secrets.write_text(f"{SECRET}\n{stripe_process.webhook_secret}\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SCALAR_STRIPE_API_KEY_FILE", str(stripe_process.data / "key"))
        environment.setenv("SCALAR_STRIPE_WEBHOOK_SECRET_FILE", str(secrets))
        environment.setenv("SCALAR_STRIPE_API_BASE", stripe_process.url)
        yield


@pytest.fixture(scope="module")
def taking(shared_api: Api) -> Api:
    """A server that takes webhooks, for tests that don't mind each other."""
    return shared_api


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with an_api(database_url) as api:
        yield api


@pytest.fixture
def shop(api: Api, stripe_process: SandboxStripe) -> Iterator[Shop]:
    shop = Shop(stripe_process, api.database)
    yield shop
    shop.close()


def an_event(id: str = "evt_1", **changes: Any) -> bytes:
    about = {"object": "invoice", "id": "in_1"}
    return json.dumps({"id": id, "type": "invoice.paid", "created": 1, "data": {"object": about}, **changes}).encode()


def signed(payload: bytes, *, secret: str = SECRET, ago: float = 0) -> dict[str, str]:
    at = int(time.time() - ago)
    signature = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={signature}"}


def send(api: Api, payload: bytes, headers: dict[str, str]) -> httpx.Response:
    return api.client().post("/v1/stripe/webhook", content=payload, headers=headers)


def stored(api: Api, id: str) -> list[str]:
    """What it is about, each time that it is stored."""
    with api.database.transaction() as tx:
        return [row["object_id"] for row in tx.execute("select object_id from stripe_events where id = %s", [id])]


def test_an_event_is_stored_once_and_answered(taking: Api) -> None:
    for new in (True, False):
        answer = send(taking, an_event("evt_once"), signed(an_event("evt_once")))
        assert (answer.status_code, answer.json()) == (200, {"new": new})
    assert stored(taking, "evt_once") == ["in_1"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1,v1=abc"},
        {"Stripe-Signature": "nonsense"},
        signed(an_event(), secret="whsec_other"),
        signed(an_event("evt_2")),
    ],
)
def test_what_stripe_did_not_sign_is_refused(taking: Api, headers: dict[str, str]) -> None:
    assert_problem(send(taking, an_event(), headers), 400, "bad-signature")
    assert stored(taking, "evt_1") == []


def test_a_stale_signature_is_refused(taking: Api) -> None:
    event = an_event("evt_stale")
    assert_problem(send(taking, event, signed(event, ago=301)), 400, "bad-signature")
    assert send(taking, event, signed(event, ago=200)).is_success


@pytest.mark.parametrize("payload", [b"", b"[1]", b"\xff\xfe", b'{"id": "evt_1", "type": "x", "created": "soon"}'])
def test_what_is_signed_and_no_event_is_refused(taking: Api, payload: bytes) -> None:
    assert_problem(send(taking, payload, signed(payload)), 400, "bad-signature")


def test_a_body_over_the_limit_is_refused(taking: Api) -> None:
    payload = an_event(more="x" * 300_000)
    assert_problem(send(taking, payload, signed(payload)), 413, "too-large")


def test_what_the_stand_in_sends_is_taken(taking: Api, stripe_process: SandboxStripe, inbox: WebhookInbox) -> None:
    inbox.letters.clear()
    stripe_process.event("invoice.paid")
    stripe_process.flush_webhooks()
    (letter,) = inbox.letters
    assert send(taking, letter.payload, {"Stripe-Signature": letter.signature}).json() == {"new": True}


def test_without_stripe_everything_else_works(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY_FILE", "WEBHOOK_SECRET_FILE"):
        monkeypatch.delenv(f"SCALAR_STRIPE_{name}", raising=False)
    with an_api(database_url) as api:
        assert_problem(send(api, an_event(), signed(an_event())), 503, "unavailable")
        assert_problem(api.customer().post("/v1/top-ups", json={"amount": "5"}), 409, "conflict")
        assert api.customer().get("/v1/payments").json() == {"data": [], "next_cursor": None}


def a_customer_of(api: Api, name: str) -> tuple[httpx.Client, str, str]:
    """(client, organisation, a job of it)"""
    with api.database.transaction() as tx:
        org = accounts.create_organisation(tx, name)
        key, key_id = a_key(tx, organisation_id=org.id)
        job = a_job_with_a_run(tx, (org.id, key_id))
    return api.client(key.secret), org.id, job


def test_an_invoice_is_paid_and_refunded(api: Api, shop: Shop) -> None:
    customer, org, job = a_customer_of(api, "acme")
    operator = api.operator()
    assert operator.put("/v1/organisations/acme/card", json={"payment_method": "pm_card_visa"}).is_success
    invoice = shop.an_invoice((org, job))
    assert shop.tick() == []
    path = f"/v1/invoices/{invoice.number}"
    (payment,) = customer.get("/v1/payments").raise_for_status().json()["data"]
    assert (payment["amount"], payment["fees"], payment["invoice_id"]) == ("100.00", "3.20", invoice.id)
    body = {"reason": "Slow", "lines": [{"line": 1, "amount": "70.00"}]}
    assert_problem(customer.post(f"{path}/refunds", json=body), 403, "forbidden")
    for _ in range(2):
        answer = operator.post(f"{path}/refunds", json=body, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["amount"], answer.json()["state"]) == (201, "30.00", "intended")
    refunds.send(shop.till)
    handle_events(shop.till)
    found = customer.get(f"{path}/payments").raise_for_status().json()
    assert [each["state"] for each in found["refunds"]] == ["done"]
    assert (found["payments"][0]["refunded"], found["dunning"]) == ("30.00", None)
    assert [each["state"] for each in found["attempts"]] == ["paid"]
    stranger = api.customer()
    assert_problem(stranger.get(f"{path}/payments"), 404, "not-found")
    assert stranger.get("/v1/payments").json()["data"] == []
    assert_problem(operator.post(f"{path}/refunds", json={"reason": "Slow"}), 409, "conflict")
    assert_problem(operator.post(f"{path}/collect"), 409, "conflict")


def test_an_operator_has_it_tried_again(api: Api, shop: Shop) -> None:
    _, org, job = a_customer_of(api, "acme")
    invoice = shop.an_invoice((org, job))
    shop.tick()
    operator = api.operator()
    assert operator.put("/v1/organisations/acme/card", json={"payment_method": "pm_card_visa"}).is_success
    collected = operator.post(f"/v1/invoices/{invoice.id}/collect").raise_for_status().json()
    assert (collected["dunning"]["failures"], collected["attempts"][0]["decline_code"]) == (1, "no_payment_method")
    charge_due(shop.till, again=True)
    assert shop.invoice(invoice.id).outstanding == 0


def test_a_card_that_is_declined_is_a_402(api: Api) -> None:
    a_customer_of(api, "acme")
    body = {"payment_method": "pm_card_chargeDeclined"}
    problem = assert_problem(api.operator().put("/v1/organisations/acme/card", json=body), 402, "payment-required")
    assert problem["decline_code"] == "generic_decline"


def test_a_wallet_is_topped_up_by_card(api: Api) -> None:
    customer, _, _ = a_customer_of(api, "acme")
    waiting = customer.post("/v1/top-ups", json={"amount": "20.00"}).raise_for_status().json()
    assert (waiting["state"], waiting["amount"]) == ("pending", "20.00")
    assert waiting["client_secret"].startswith("pi_")
    api.operator().put("/v1/organisations/acme/card", json={"payment_method": "pm_card_visa"}).raise_for_status()
    for _ in range(2):
        paid = customer.post("/v1/top-ups", json={"amount": "30.00"}, headers={"Idempotency-Key": "k"})
        assert (paid.json()["state"], paid.json()["client_secret"]) == ("paid", None)
    assert customer.get("/v1/balance").json()["credit"] == "30.000000"
    assert_problem(customer.post("/v1/top-ups", json={"amount": "0.49"}), 422, "invalid-request")


def test_a_top_up_is_confirmed_with_a_secret_that_every_answer_has(api: Api, shop: Shop) -> None:
    customer, _, _ = a_customer_of(api, "acme")
    asked = {"json": {"amount": "20.00"}, "headers": {"Idempotency-Key": "k"}}
    first, again = (customer.post("/v1/top-ups", **asked).raise_for_status().json() for _ in range(2))
    assert first == again
    path = f"/v1/top-ups/{first['id']}"
    assert customer.get(path).raise_for_status().json() == first
    assert_problem(api.customer().get(path), 404, "not-found")
    assert_problem(customer.get("/v1/top-ups/top_nobody"), 404, "not-found")
    intent = first["client_secret"].partition("_secret")[0]
    shop.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    paid = customer.get(path).raise_for_status().json()
    assert (paid["state"], paid["client_secret"]) == ("paid", None)
    assert customer.get("/v1/balance").json()["credit"] == "20.000000"


def test_a_card_is_set_by_one_key_until_stripe_has_said_yes_or_no(api: Api, shop: Shop) -> None:
    _, org, _ = a_customer_of(api, "acme")
    operator = api.operator()

    def put(card: str) -> httpx.Response:
        return operator.put("/v1/organisations/acme/card", json={"payment_method": card})

    def version() -> int:
        return int(
            shop.row("select card_version from stripe_customers where organisation_id = %s", org)["card_version"]
        )

    assert put("pm_card_visa").is_success
    first = shop.v1.customers.retrieve(shop.customer(org)).invoice_settings.default_payment_method
    shop.sandbox.fault("dropped", method="POST", path="/attach$", times=1)
    assert_problem(put("pm_card_mastercard"), 503, "unavailable")
    assert put("pm_card_mastercard").is_success
    assert version() == 2
    methods = shop.v1.payment_methods.list({"customer": shop.customer(org), "type": "card"}).data
    assert len(methods) == 2  # the second request was the same deed
    assert put(first).is_success
    assert shop.v1.customers.retrieve(shop.customer(org)).invoice_settings.default_payment_method == first
    for number in (4, 5):
        assert_problem(put("pm_card_chargeDeclined"), 402, "payment-required")
        assert version() == number


def scalar(api: Api, secret: str, *words: str) -> str:
    environment = {**os.environ, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": secret, "COLUMNS": "200"}
    done = subprocess.run([SCALAR, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command(api: Api, shop: Shop) -> None:
    _, org, job = a_customer_of(api, "acme")
    with api.database.transaction() as tx:
        key, _ = a_key(tx, Role.OPERATOR)
    assert "is charged by that card" in scalar(api, key.secret, "payments", "card", "acme", "pm_card_visa")
    invoice = shop.an_invoice((org, job))
    shop.tick()
    assert "$100.00" in scalar(api, key.secret, "payments")
    number = str(invoice.number)
    said = scalar(api, key.secret, "invoices", "refund", number, "--reason", "Slow", "--line", "1=70.00")
    assert "$30.00 is intended (Slow)" in said
    shown = scalar(api, key.secret, "payments", "show", number, "--operator")
    assert "paid" in shown
    assert "$30.00 is intended" in shown
