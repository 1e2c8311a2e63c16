"""Requests as the real library makes them: errors, lists, expansion, idempotency, and what fails on demand."""

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from sandbox.stripe import form
from sandbox.stripe.clock import Clock
from tests.stripe_process import SandboxStripe


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStripe]:
    with SandboxStripe(tmp_path_factory.mktemp("requests")) as started:
        yield started


@pytest.fixture
def sandbox(shared: SandboxStripe) -> Iterator[SandboxStripe]:
    yield shared
    shared.no_faults()


@pytest.fixture
def client(sandbox: SandboxStripe) -> Any:
    return sandbox.client().v1


def error_of(error: pytest.ExceptionInfo[Any]) -> tuple[int, str | None, str | None]:
    return error.value.http_status, error.value.code, getattr(error.value, "param", None)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a=1&b=", {"a": "1", "b": ""}),
        ("metadata[job]=j1&metadata[x]=", {"metadata": {"job": "j1", "x": ""}}),
        ("expand[]=a&expand[]=b.c", {"expand": ["a", "b.c"]}),
        ("expand[0]=a&expand[1]=b", {"expand": ["a", "b"]}),
        ("lines[0][amount]=1&lines[0][type]=t&lines[1][amount]=2",
         {"lines": [{"amount": "1", "type": "t"}, {"amount": "2"}]}),
        ("created[gte]=5", {"created": {"gte": "5"}}),
        ("n=a%26b%3D%C3%A9", {"n": "a&b=é"}),
    ],
)  # fmt: skip
def test_nested_forms_are_read(text: str, read: dict[str, Any]) -> None:
    assert form.parse(text) == read


def test_a_clock_runs_from_where_it_is_put_and_never_goes_back() -> None:
    wall = [1000.0]
    clock = Clock(50.0, runs=True, wall=lambda: wall[0])
    wall[0] = 1010.0
    assert clock.now() == 60
    clock.move_to(100)
    clock.move_to(20)
    wall[0] = 990.0
    assert clock.now() == 100
    stopped = Clock(50.0, runs=False, wall=lambda: wall[0])
    wall[0] = 5000.0
    assert stopped.now() == 50


def test_a_customer_is_made_changed_listed_and_deleted(client: Any) -> None:
    made = client.customers.create({"name": "Ada", "email": "ada@example.com", "metadata": {"org": "o1", "a": "b"}})
    changed = client.customers.update(made.id, {"metadata": {"a": "", "c": "d"}, "email": ""})
    assert changed.metadata.to_dict() == {"org": "o1", "c": "d"}
    assert changed.email is None
    assert client.customers.list({"email": "nobody@example.com"}).data == []
    assert client.customers.delete(made.id).deleted
    assert client.customers.retrieve(made.id).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.customers.update(made.id, {"name": "Eve"})


@pytest.mark.parametrize(
    ("call", "status", "code", "param"),
    [
        (lambda v1: v1.customers.retrieve("cus_nobody"), 404, "resource_missing", "id"),
        (lambda v1: v1.invoices.create({"customer": "cus_nobody"}), 400, "resource_missing", "customer"),
        (lambda v1: v1.invoices.create({}), 400, "parameter_missing", "customer"),
        (lambda v1: v1.customers.create({"nmae": "Ada"}), 400, "parameter_unknown", "nmae"),
        (lambda v1: v1.customers.create({"address": {"town": "Paris"}}), 400, "parameter_unknown", "address[town]"),
        (lambda v1: v1.payment_intents.create({"amount": "ten", "currency": "usd"}), 400,
         "parameter_invalid_integer", "amount"),
        (lambda v1: v1.payment_intents.create({"amount": 49, "currency": "usd"}), 400, "amount_too_small", "amount"),
        (lambda v1: v1.payment_intents.create({"amount": 500, "currency": "eur"}), 400, None, "currency"),
        (lambda v1: v1.payment_methods.attach("pm_nobody", {"customer": "cus_x"}), 404, "resource_missing", "id"),
        (lambda v1: v1.customers.list({"limit": 101}), 400, None, "limit"),
        (lambda v1: v1.customers.list({"starting_after": "cus_nobody"}), 400, "resource_missing", "starting_after"),
        (lambda v1: v1.events.list({"expand": ["data.nothing"]}), None, None, None),
        (lambda v1: v1.balance.retrieve({"expand": ["nothing"]}), 400, None, "expand"),
        (lambda v1: v1.products.list(), 404, None, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_stripe_says_it(
    sandbox: SandboxStripe, client: Any, call: Any, status: int | None, code: str | None, param: str | None
) -> None:
    if status is None:
        client.customers.create({"name": "an event to expand"})
        status, param = 400, "expand"
    with pytest.raises(stripe.InvalidRequestError) as error:
        call(client)
    assert error_of(error) == (status, code, param)
    assert error.value.request_id.startswith("req_")
    assert sandbox.request("GET", "/v1/customers").is_success


def test_a_wrong_key_is_a_401_and_basic_authentication_works_too(sandbox: SandboxStripe) -> None:
    with pytest.raises(stripe.AuthenticationError):
        sandbox.client(key="sk_test_wrong").v1.customers.list()
    assert sandbox.request("GET", "/v1/customers", headers={"Authorization": ""}).status_code == 401
    headers = {"Authorization": "Basic " + base64.b64encode(f"{sandbox.key}:".encode()).decode()}
    assert sandbox.request("GET", "/v1/customers", headers=headers).is_success


def test_the_librarys_older_way_works_too(sandbox: SandboxStripe, monkeypatch: pytest.MonkeyPatch) -> None:
    with requests.Session() as session:
        monkeypatch.setattr(stripe, "api_base", sandbox.url)
        monkeypatch.setattr(stripe, "default_http_client", stripe.RequestsClient(session=session))
        assert stripe.Customer.create(name="Ada", api_key=sandbox.key).name == "Ada"


def test_any_version_of_the_api_is_taken(sandbox: SandboxStripe) -> None:
    answer = sandbox.request("GET", "/v1/customers", headers={"Stripe-Version": "2025-01-27.acacia"})
    assert answer.headers["Stripe-Version"] == "2025-01-27.acacia"


def test_lists_are_paged_in_both_directions_newest_first(client: Any) -> None:
    clock = client.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000})
    mine = [client.customers.create({"name": f"c{i}", "test_clock": clock.id}).id for i in range(5)][::-1]
    wanted = {"test_clock": clock.id, "limit": 2}
    first = client.customers.list(wanted)
    assert ([one.id for one in first.data], first.has_more) == (mine[:2], True)
    last = client.customers.list({**wanted, "starting_after": mine[3]})
    assert ([one.id for one in last.data], last.has_more) == (mine[4:], False)
    back = client.customers.list({**wanted, "ending_before": mine[3]})
    assert ([one.id for one in back.data], back.has_more) == (mine[1:3], True)
    assert [one.id for one in first.auto_paging_iter()] == mine
    assert client.customers.list({**wanted, "created": {"gt": 1_800_000_000}}).data == []
    assert len(client.customers.list({**wanted, "created": 1_800_000_000, "limit": 9}).data) == 5
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        client.customers.list({**wanted, "ending_before": mine[3], "starting_after": mine[0]})


def test_an_invoice_shows_ten_lines_and_lists_the_rest_pending_items_newest_first(client: Any) -> None:
    customer = client.customers.create({"name": "Long"}).id
    for i in range(11):
        client.invoice_items.create({"customer": customer, "amount": 100 + i, "currency": "usd"})
    invoice = client.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include"})
    client.invoice_items.create({"customer": customer, "amount": 1, "currency": "usd", "invoice": invoice.id})
    shown = client.invoices.retrieve(invoice.id).lines
    assert (len(shown.data), shown.has_more) == (10, True)
    lines = client.invoices.line_items.list(invoice.id, {"limit": 5})
    assert [one.amount for one in lines.auto_paging_iter()] == [*range(110, 99, -1), 1]


def test_what_is_an_id_is_expanded_on_demand(client: Any) -> None:
    customer = client.customers.create({"name": "Ada"}).id
    wanted = {"amount": 900, "currency": "usd", "customer": customer, "confirm": True, "payment_method": "pm_card_visa"}
    intent = client.payment_intents.create({**wanted, "expand": ["latest_charge.balance_transaction", "customer"]})
    assert (intent.customer.name, intent.latest_charge.balance_transaction.net) == ("Ada", 900 - 56)
    listed = client.payment_intents.list({"customer": customer, "expand": ["data.latest_charge"]})
    assert listed.data[0].latest_charge.amount == 900
    assert client.payment_intents.retrieve(intent.id).customer == customer


# Idempotency


def test_the_same_key_with_the_same_parameters_gives_the_same_answer(sandbox: SandboxStripe, client: Any) -> None:
    first = client.customers.create({"name": "Once"}, {"idempotency_key": "k1"})
    sandbox.request("POST", f"/v1/customers/{first.id}", data={"name": "Changed"})
    again = client.customers.create({"name": "Once"}, {"idempotency_key": "k1"})
    assert (again.id, again.name) == (first.id, "Once")
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.last_response.headers


@pytest.mark.parametrize("other", ["parameters", "address"])
def test_the_same_key_for_another_request_is_an_error(client: Any, other: str) -> None:
    key = {"idempotency_key": f"k2 {other}"}
    made = client.customers.create({"name": "Once"}, key)
    again = {
        "parameters": lambda: client.customers.create({"name": "Twice"}, key),
        "address": lambda: client.customers.update(made.id, {"name": "Once"}, key),
    }
    with pytest.raises(stripe.IdempotencyError) as error:
        again[other]()
    assert (error.value.http_status, error.value.error.type) == (400, "idempotency_error")


def test_a_declined_card_is_remembered_but_an_unreadable_request_is_not(client: Any) -> None:
    wanted = {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    charges = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as error:
            client.payment_intents.create(wanted, {"idempotency_key": "k3"})
        charges.append(error.value.error.charge)
    assert charges[0] == charges[1]
    with pytest.raises(stripe.InvalidRequestError):
        client.customers.create({"nmae": "Ada"}, {"idempotency_key": "k4"})
    assert client.customers.create({"name": "Ada"}, {"idempotency_key": "k4"}).name == "Ada"


def test_a_key_is_forgotten_after_a_day(sandbox: SandboxStripe, client: Any) -> None:
    first = client.customers.create({"name": "Once"}, {"idempotency_key": "k5"})
    sandbox.advance(86_400)
    assert client.customers.create({"name": "Once"}, {"idempotency_key": "k5"}).id != first.id


def test_a_key_whose_first_request_is_under_way_is_a_conflict(sandbox: SandboxStripe) -> None:
    sandbox.fault("delay", times=1, seconds=1.5)
    first: list[str] = []
    wanted = ({"name": "Slow"}, {"idempotency_key": "k6"})
    client = sandbox.client().v1
    slow = threading.Thread(target=lambda: first.append(client.customers.create(*wanted).id))
    slow.start()
    _until(lambda: sandbox.control("/faults", method="GET")["faults"][0]["hits"] == 1)
    with pytest.raises(stripe.APIError) as error:
        sandbox.client().v1.customers.create(*wanted)
    assert (error.value.http_status, error.value.error.code) == (409, "idempotency_key_in_use")
    slow.join()
    assert sandbox.client().v1.customers.create(*wanted).id == first[0]


def _until(true: Any) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Faults


def test_too_many_requests_and_errors_come_as_often_as_asked(sandbox: SandboxStripe, client: Any) -> None:
    sandbox.fault("rate_limited", times=1, retry_after=7)
    sandbox.fault("server_error", times=1, status=503, method="GET", path="/customers$")
    with pytest.raises(stripe.RateLimitError) as limited:
        client.customers.list()
    assert limited.value.headers["retry-after"] == "7"
    assert client.balance.retrieve().object == "balance"
    with pytest.raises(stripe.APIError) as broken:
        client.customers.list()
    assert broken.value.http_status == 503
    assert client.customers.list().object == "list"


def test_an_answer_that_nobody_has_foreseen(sandbox: SandboxStripe, client: Any) -> None:
    made = client.customers.create({"name": "Ada"})
    sandbox.fault("changed", path=f"/customers/{made.id}$", times=1, fields={"name": None, "status": "paused"})
    changed = client.customers.retrieve(made.id)
    assert (changed.id, changed.name, changed.status) == (made.id, None, "paused")
    assert client.customers.retrieve(made.id).name == "Ada"


def _named(sandbox: SandboxStripe, name: str) -> int:
    names = [one["name"] for one in sandbox.request("GET", "/v1/customers", params={"limit": 100}).json()["data"]]
    return names.count(name)


@pytest.mark.parametrize(("kind", "made"), [("dropped_before", 0), ("dropped", 1)])
def test_a_cut_connection_leaves_open_what_was_done(sandbox: SandboxStripe, client: Any, kind: str, made: int) -> None:
    sandbox.fault(kind, times=1)
    wanted = ({"name": kind}, {"idempotency_key": kind})
    with pytest.raises(stripe.APIConnectionError):
        client.customers.create(*wanted)
    assert _named(sandbox, kind) == made
    client.customers.create(*wanted)
    assert _named(sandbox, kind) == 1


def test_an_answer_that_is_too_late_is_a_connection_error(sandbox: SandboxStripe) -> None:
    sandbox.fault("delay", times=1, seconds=1)
    with pytest.raises(stripe.APIConnectionError):
        sandbox.client(timeout=0.2).v1.customers.list()


def test_an_error_after_the_deed_is_remembered_by_its_key(sandbox: SandboxStripe, client: Any) -> None:
    sandbox.fault("server_error_after", times=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.customers.create({"name": "after"}, {"idempotency_key": "k7"})
    assert _named(sandbox, "after") == 1


def test_the_library_tries_again_by_itself_with_the_same_key(sandbox: SandboxStripe) -> None:
    sandbox.fault("dropped", times=1)
    sandbox.client(retries=2).v1.customers.create({"name": "again"})
    assert _named(sandbox, "again") == 1


def test_controls_refuse_what_they_do_not_know(sandbox: SandboxStripe) -> None:
    listed = sandbox.control("", method="GET")["controls"]
    assert {"method": "POST", "path": "/sandbox/v1/advance"}.items() <= listed[1].items()
    for path, body in (("/faults", {"kind": "earthquake"}), ("/advance", {"hours": 1}), ("/advance", {"seconds": -1})):
        assert sandbox.request("POST", f"/sandbox/v1{path}", json=body).status_code == 400
    assert sandbox.request("POST", "/sandbox/v1/disputes", json={"charge": "ch_nobody"}).status_code == 400


def test_the_page_of_documentation_names_every_fault_and_control(sandbox: SandboxStripe) -> None:
    page = (Path(__file__).parents[2] / "docs/sandbox-stripe.md").read_text()
    faults = sandbox.control("/faults", method="GET")["kinds"]
    controls = {one["path"] for one in sandbox.control("", method="GET")["controls"]}
    assert [name for name in (*faults, *controls) if f"`{name}" not in page] == []
