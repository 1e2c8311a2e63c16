"""Every object has the fields of Stripe's own example of it, with the same JSON types."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stripe_process import SandboxStripe

_FIXTURES = Path(__file__).parents[2].parent / "shared/reference/stripe-fixtures3.json"
if not _FIXTURES.exists():
    pytest.skip(f"Stripe's examples are not at {_FIXTURES}", allow_module_level=True)
_EXAMPLES: dict[str, Any] = json.loads(_FIXTURES.read_text())["resources"]

# Fields that Stripe shows at times only, which is why its example lacks them.
_AT_TIMES = {
    "webhook_endpoint.secret",
    "invoice.payments",
    "event.data.previous_attributes",
    "invoice_payment.payment.payment_intent",
    "payment_intent.next_action.redirect_to_url",
}
# The example is another kind of the same field, or a table of anything.
_OPEN = {
    "event.data.object",
    "event.data.previous_attributes",
    "payment_intent.last_payment_error",
}
# Where a note has a line of its own, it is of no line of the invoice.
_MAY_LACK = {"credit_note_line_item.invoice_line_item", "credit_note.lines.data[].invoice_line_item"}


def problems(given: Any, example: Any, path: str) -> Iterator[str]:
    """What is not as in the example. null is taken for anything, on either side; an empty table says nothing."""
    if given is None or example is None or path in _OPEN:
        return
    if isinstance(example, dict) and isinstance(given, dict):
        yield from _table_problems(given, example, path)
    elif isinstance(example, list) and isinstance(given, list):
        for one in given if example else []:
            yield from problems(one, example[0], f"{path}[]")
    elif _kind(given) != _kind(example) and not _is_reference(given, example):
        yield f"{path} is {given!r}, not like {example!r}"


def _table_problems(given: dict[str, Any], example: dict[str, Any], path: str) -> Iterator[str]:
    if not example or path.endswith(".metadata"):
        return
    for name in example.keys() - given.keys():
        if f"{path}.{name}" not in _MAY_LACK:
            yield f"{path}.{name} is missing"
    for name in given.keys() - example.keys():
        if f"{path}.{name}" not in _AT_TIMES:
            yield f"{path}.{name} is not Stripe's"
    for name in example.keys() & given.keys():
        yield from problems(given[name], example[name], f"{path}.{name}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _is_reference(given: Any, example: Any) -> bool:
    """An id where the example shows the object, or the other way round."""
    return {_kind(given), _kind(example)} == {"str", "dict"}


class Checked:
    """Asks by hand, and compares every object of every answer with its example."""

    def __init__(self, sandbox: SandboxStripe) -> None:
        self._sandbox = sandbox
        self.seen: set[str] = set()
        self.problems: set[str] = set()

    def __call__(self, method: str, path: str, **fields: Any) -> Any:
        given = {"params" if method == "GET" else "data": fields}
        answer = self._sandbox.request(method, f"/v1{path}", **given)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        body = answer.json()
        for one in body["data"] if body["object"] == "list" else [body]:
            self._check(one)
        return body

    def _check(self, given: Any) -> None:
        kind = given["object"] if not given.get("deleted") else f"deleted_{given['object']}"
        self.seen.add(kind)
        self.problems.update(problems(given, _EXAMPLES[kind], kind))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStripe]:
    with SandboxStripe(tmp_path_factory.mktemp("shapes")) as started:
        yield started


def test_every_object_has_the_shape_of_stripes_example(sandbox: SandboxStripe) -> None:
    ask = Checked(sandbox)
    customer = _customer(ask)
    _paid_invoice(ask, sandbox, customer)
    _open_invoices(ask, customer)
    _intents(ask, sandbox, customer)
    _rest(ask, sandbox)
    _deletions(ask, customer)
    assert ask.problems == set()
    assert ask.seen == {
        "balance",
        "balance_transaction",
        "charge",
        "credit_note",
        "credit_note_line_item",
        "customer",
        "customer_balance_transaction",
        "deleted_customer",
        "deleted_invoice",
        "deleted_invoiceitem",
        "deleted_test_helpers.test_clock",
        "deleted_webhook_endpoint",
        "dispute",
        "event",
        "invoice",
        "invoice_payment",
        "invoiceitem",
        "line_item",
        "payment_intent",
        "payment_method",
        "refund",
        "test_helpers.test_clock",
        "webhook_endpoint",
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"id": "x", "n": 1}, None),
        ({"id": None, "n": 1}, None),
        ({"id": "x"}, "thing.n is missing"),
        ({"id": "x", "n": 1, "more": 2}, "thing.more is not Stripe's"),
        ({"id": "x", "n": True}, "thing.n is True, not like 2"),
        ({"id": 7, "n": 1}, "thing.id is 7, not like 'y'"),
    ],
)
def test_the_comparison_sees_what_is_wrong(given: dict[str, Any], problem: str | None) -> None:
    assert list(problems(given, {"id": "y", "n": 2}, "thing")) == ([problem] if problem else [])


def _customer(ask: Checked) -> str:
    made = ask("POST", "/customers", name="Ada", email="ada@example.com", **{"address[city]": "Paris"})
    customer = str(made["id"])
    method = ask("POST", "/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    default = {"invoice_settings[default_payment_method]": method}
    ask("POST", f"/customers/{customer}", **default)
    ask("POST", "/payment_methods", type="card", **{"card[token]": "tok_visa"})
    ask("GET", "/payment_methods", customer=customer)
    ask("POST", f"/customers/{customer}/balance_transactions", amount=-500, currency="usd")
    ask("GET", f"/customers/{customer}/balance_transactions")
    return customer


def _billed(ask: Checked, customer: str, amount: int = 5000, **more: Any) -> Any:
    ask("POST", "/invoiceitems", customer=customer, amount=amount, currency="usd", description="GPU hours")
    return ask("POST", "/invoices", customer=customer, pending_invoice_items_behavior="include", **more)


def _paid_invoice(ask: Checked, sandbox: SandboxStripe, customer: str) -> None:
    invoice = _billed(ask, customer, auto_advance="true")["id"]
    sandbox.advance(3601)
    paid = ask("GET", f"/invoices/{invoice}", **{"expand[]": "payments"})
    assert paid["status"] == "paid"
    line = ask("GET", f"/invoices/{invoice}/lines")["data"][0]["id"]
    wanted = {"lines[0][type]": "invoice_line_item", "lines[0][invoice_line_item]": line, "lines[0][amount]": 100}
    note = ask("POST", "/credit_notes", invoice=invoice, refund_amount=60, credit_amount=40, **wanted)["id"]
    ask("GET", f"/credit_notes/{note}/lines")
    intent = ask("GET", "/invoice_payments", invoice=invoice)["data"][0]["payment"]["payment_intent"]
    charge = ask("GET", "/charges", payment_intent=intent)["data"][0]["id"]
    ask("GET", f"/payment_intents/{intent}", **{"expand[]": "latest_charge"})
    ask("POST", "/refunds", charge=charge, amount=100)
    ask("GET", f"/charges/{charge}", **{"expand[]": "balance_transaction"})
    sandbox.dispute(charge, amount=50)
    dispute = ask("GET", "/disputes")["data"][0]["id"]
    ask("POST", f"/disputes/{dispute}", **{"evidence[uncategorized_text]": "losing_evidence"})


def _open_invoices(ask: Checked, customer: str) -> None:
    first = _billed(ask, customer, collection_method="send_invoice", days_until_due=30)["id"]
    ask("POST", f"/invoices/{first}/send")
    ask("POST", "/credit_notes", invoice=first, amount=1000)
    ask("POST", f"/invoices/{first}/mark_uncollectible")
    ask("POST", f"/invoices/{first}/void")
    second = _billed(ask, customer)["id"]
    ask("POST", f"/invoices/{second}/finalize", auto_advance="true")
    ask("POST", f"/invoices/{second}/pay", paid_out_of_band="true")
    ask("GET", "/invoices")


def _intents(ask: Checked, sandbox: SandboxStripe, customer: str) -> None:
    wanted = {"amount": 2000, "currency": "usd", "customer": customer, "confirm": "true"}
    asking = ask("POST", "/payment_intents", payment_method="pm_card_authenticationRequired", **wanted)
    assert asking["status"] == "requires_action"
    sandbox.authenticate(asking["id"], succeeds=False)
    declined = {**wanted, "payment_method": "pm_card_chargeDeclined"}
    assert sandbox.request("POST", "/v1/payment_intents", data=declined).status_code == 402
    waiting = ask("POST", "/payment_intents", amount=2000, currency="usd")["id"]
    ask("POST", f"/payment_intents/{waiting}/cancel")
    ask("GET", "/payment_intents")
    ask("GET", "/charges")


def _rest(ask: Checked, sandbox: SandboxStripe) -> None:
    for path in ("/balance", "/balance_transactions", "/refunds", "/disputes", "/credit_notes", "/invoiceitems"):
        ask("GET", path)
    ask("GET", "/events", limit=100)
    endpoint = {"url": "http://127.0.0.1:9/", "enabled_events[]": "invoice.paid"}
    made = ask("POST", "/webhook_endpoints", **endpoint)["id"]
    ask("GET", f"/webhook_endpoints/{made}")
    ask("DELETE", f"/webhook_endpoints/{made}")
    clock = ask("POST", "/test_helpers/test_clocks", frozen_time=int(sandbox.now))["id"]
    ask("POST", f"/test_helpers/test_clocks/{clock}/advance", frozen_time=int(sandbox.now) + 60)
    ask("DELETE", f"/test_helpers/test_clocks/{clock}")


def _deletions(ask: Checked, customer: str) -> None:
    item = ask("POST", "/invoiceitems", customer=customer, amount=100)["id"]
    ask("DELETE", f"/invoiceitems/{item}")
    draft = ask("POST", "/invoices", customer=customer)["id"]
    ask("DELETE", f"/invoices/{draft}")
    ask("DELETE", f"/customers/{customer}")
    ask("GET", f"/customers/{customer}")
