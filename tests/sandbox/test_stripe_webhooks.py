"""Webhooks: signed, tried again, late, twice, out of order; and what a stand-in that was killed still knows."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.stripe import options
from sandbox.stripe.options import Options
from sandbox.stripe.world import World
from tests.stripe_process import SandboxStripe, WebhookInbox

HOUR = 3600
DAY = 86_400


@pytest.fixture(scope="module")
def shared_inbox() -> Iterator[WebhookInbox]:
    with WebhookInbox() as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, shared_inbox: WebhookInbox) -> Iterator[SandboxStripe]:
    with SandboxStripe(tmp_path_factory.mktemp("webhooks"), webhook_url=shared_inbox.url) as started:
        yield started


@pytest.fixture
def sandbox(shared: SandboxStripe, inbox: WebhookInbox) -> Iterator[SandboxStripe]:
    yield shared
    inbox.status = 200
    shared.no_faults()
    shared.release_webhooks()
    shared.advance(DAY)


@pytest.fixture
def inbox(shared_inbox: WebhookInbox) -> WebhookInbox:
    shared_inbox.letters.clear()
    return shared_inbox


@pytest.fixture
def client(sandbox: SandboxStripe) -> Any:
    return sandbox.client().v1


def types_in(inbox: WebhookInbox) -> list[str]:
    return [json.loads(letter.payload)["type"] for letter in inbox.letters]


def pay(client: Any) -> Any:
    wanted = {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    return client.payment_intents.create(wanted)


PAID = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def test_an_event_is_delivered_signed_with_the_object_as_it_was(
    sandbox: SandboxStripe, client: Any, inbox: WebhookInbox
) -> None:
    customer = client.customers.create({"name": "Ada"}, {"idempotency_key": "ours"})
    client.customers.update(customer.id, {"name": "Eve"})
    sandbox.flush_webhooks()
    created, updated = (letter.event(sandbox.webhook_secret) for letter in inbox.letters)
    assert (created.type, created.data.object.name, created.request.idempotency_key) == (
        "customer.created", "Ada", "ours",
    )  # fmt: skip
    assert (updated.data.object.name, updated.data.previous_attributes.to_dict()) == ("Eve", {"name": "Ada"})
    assert client.events.retrieve(created.id).data.object.name == "Ada"
    with pytest.raises(stripe.SignatureVerificationError):
        inbox.letters[0].event("whsec_other")


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("webhook_bad_signature", {}, "No signatures found matching"),
        ("webhook_stale_signature", {"seconds": 301}, "outside the tolerance"),
    ],
)
def test_a_signature_may_be_wrong_or_old(
    sandbox: SandboxStripe, client: Any, inbox: WebhookInbox, kind: str, more: dict[str, Any], says: str
) -> None:
    sandbox.fault(kind, times=1, **more)
    client.customers.create({"name": "Ada"})
    sandbox.flush_webhooks()
    with pytest.raises(stripe.SignatureVerificationError, match=says):
        inbox.letters[0].event(sandbox.webhook_secret)


def test_what_is_not_taken_is_tried_again_ever_later_for_three_days(
    sandbox: SandboxStripe, client: Any, inbox: WebhookInbox
) -> None:
    inbox.status = 500
    client.customers.create({"name": "Ada"})
    sandbox.flush_webhooks()
    counts = [len(inbox.letters)]
    for wait in (299, 1, 1800, 7200, 18_000, 36_000, 43_200):
        sandbox.advance(wait)
        counts.append(len(inbox.letters))
    assert counts == [1, 1, 2, 3, 4, 5, 6, 7]
    sandbox.advance(10 * DAY)
    given_up = len(inbox.letters)
    assert 7 < given_up < 14
    inbox.status = 200
    sandbox.advance(10 * DAY)
    assert len(inbox.letters) == given_up
    assert client.events.list({"delivery_success": False, "limit": 1}).data[0].type == "customer.created"


def test_an_endpoint_that_comes_back_gets_what_it_missed(
    sandbox: SandboxStripe, client: Any, inbox: WebhookInbox
) -> None:
    inbox.status = 503
    client.customers.create({"name": "Ada"})
    sandbox.flush_webhooks()
    inbox.status = 204
    sandbox.advance(300)
    sandbox.advance(DAY)
    assert types_in(inbox) == ["customer.created"] * 2


def test_events_come_twice_late_reversed_or_never(sandbox: SandboxStripe, client: Any, inbox: WebhookInbox) -> None:
    sandbox.fault("webhook_reversed", times=1)
    pay(client)
    sandbox.flush_webhooks()
    assert types_in(inbox) == PAID[::-1]
    inbox.letters.clear()
    sandbox.fault("webhook_twice", event="charge.*", times=1)
    sandbox.fault("webhook_late", event="payment_intent.created", times=1, seconds=90 * DAY)
    sandbox.fault("webhook_lost", event="payment_intent.succeeded", times=1)
    intent = pay(client)
    sandbox.flush_webhooks()
    assert types_in(inbox) == ["charge.succeeded"] * 2
    sandbox.advance(89 * DAY)
    assert len(inbox.letters) == 2
    sandbox.advance(DAY)
    late = inbox.letters[2].event(sandbox.webhook_secret)
    assert (late.type, late.created) == ("payment_intent.created", intent.created)
    assert client.events.list({"types": ["payment_intent.succeeded"]}).data[0].data.object.id == intent.id


def test_held_webhooks_are_let_go_in_the_order_asked_for(
    sandbox: SandboxStripe, client: Any, inbox: WebhookInbox
) -> None:
    sandbox.hold_webhooks()
    pay(client)
    sandbox.advance(HOUR)
    assert inbox.letters == []
    sandbox.release_webhooks("newest")
    assert types_in(inbox) == PAID[::-1]


def test_an_old_event_is_delivered_again_and_so_is_one_of_nobodys_object(
    sandbox: SandboxStripe, inbox: WebhookInbox
) -> None:
    event = sandbox.event("invoice.paid", created=1_600_000_000)
    sandbox.flush_webhooks()
    sandbox.advance(100 * DAY)
    sandbox.deliver_again(event, times=2)
    got = [letter.event(sandbox.webhook_secret) for letter in inbox.letters]
    assert [(one.id, one.created) for one in got] == [(event, 1_600_000_000)] * 3
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.client().v1.invoices.retrieve(got[0].data.object["id"])
    mine = sandbox.event("charge.succeeded", object={"id": "ch_theirs", "object": "charge"})
    assert sandbox.client().v1.events.retrieve(mine).data.object["id"] == "ch_theirs"


def test_an_endpoint_gets_the_types_it_asked_for_while_it_is_enabled(sandbox: SandboxStripe, client: Any) -> None:
    with WebhookInbox() as other:
        endpoint = client.webhook_endpoints.create({"url": other.url, "enabled_events": ["charge.succeeded"]})
        pay(client)
        sandbox.flush_webhooks()
        assert other.letters[0].event(endpoint.secret).type == "charge.succeeded"
        client.webhook_endpoints.update(endpoint.id, {"disabled": True})
        pay(client)
        sandbox.flush_webhooks()
        assert len(other.letters) == 1
        client.webhook_endpoints.delete(endpoint.id)
        assert len(client.webhook_endpoints.list().data) == 1


def test_while_the_clock_moves_events_come_at_their_time(
    sandbox: SandboxStripe, client: Any, inbox: WebhookInbox
) -> None:
    customer = client.customers.create({"name": "Ada", "payment_method": "pm_card_visa"}).id
    card = client.payment_methods.list({"customer": customer}).data[0].id
    made = client.invoices.create(
        {"customer": customer, "auto_advance": True, "default_payment_method": card, "description": "empty"}
    )
    client.invoice_items.create({"customer": customer, "amount": 900, "currency": "usd", "invoice": made.id})
    sandbox.flush_webhooks()
    inbox.letters.clear()
    sandbox.advance(40 * DAY)
    paid = inbox.letters[types_in(inbox).index("invoice.paid")].event(sandbox.webhook_secret)
    assert (paid.created, paid.data.object.amount_paid) == (made.created + HOUR, 900)


# The process


def test_a_killed_stand_in_comes_back_with_everything(tmp_path: Path) -> None:
    with WebhookInbox() as inbox, SandboxStripe(tmp_path / "s", webhook_url=inbox.url) as sandbox:
        client = sandbox.client().v1
        inbox.status = 500
        customer = client.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).id
        client.invoice_items.create({"customer": customer, "amount": 5000, "currency": "usd"})
        invoice = client.invoices.create(
            {"customer": customer, "auto_advance": True, "pending_invoice_items_behavior": "include"}
        )
        sandbox.advance(60)
        key, now = sandbox.key, sandbox.now
        sandbox.kill()
        inbox.letters.clear()
        inbox.status = 200
        sandbox.start()
        client = sandbox.client().v1
        assert (sandbox.key, sandbox.now) == (key, now)
        assert client.customers.create({"name": "Ada"}, {"idempotency_key": "k"}).id == customer
        assert client.invoices.retrieve(invoice.id).to_dict() == invoice.to_dict()
        sandbox.advance(HOUR)
        assert client.invoices.retrieve(invoice.id).status == "open"
        got = [letter.event(sandbox.webhook_secret).type for letter in inbox.letters]
        assert {"customer.created", "invoice.created", "invoice.payment_failed"} <= set(got)
        assert sandbox.stop() == 0


def test_with_a_real_clock_all_happens_by_itself(tmp_path: Path) -> None:
    with WebhookInbox() as inbox, SandboxStripe(tmp_path / "s", clock="real", webhook_url=inbox.url) as sandbox:
        client = sandbox.client().v1
        client.customers.create({"name": "Ada"})
        deadline = time.monotonic() + 10
        while not inbox.letters:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert inbox.letters[0].event(sandbox.webhook_secret).type == "customer.created"
        before = sandbox.now
        assert sandbox.advance(HOUR) >= before + HOUR
        with pytest.raises(OSError, match="another sandbox Stripe runs on"):
            World(Options(data=sandbox.data), {})


def test_its_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        options.parse(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "--retry-days" in shown
    assert "StripeClient" in shown


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--host=0.0.0.0", "not a loopback address"),
        ("--start=yesterday", "not a time"),
        ("--retry-days=3,x", "not a list of days"),
        ("--retry-days=0", "at least a day"),
    ],
)
def test_wrong_options_are_refused(capsys: pytest.CaptureFixture[str], argument: str, problem: str) -> None:
    with pytest.raises(SystemExit) as left:
        options.parse(["--data=x", argument])
    assert left.value.code == 2
    assert problem in capsys.readouterr().err


def test_the_endpoint_of_the_command_line_moves_with_it(tmp_path: Path) -> None:
    with WebhookInbox() as before, WebhookInbox() as after:
        with SandboxStripe(tmp_path / "stripe", webhook_url=before.url) as sandbox:
            sandbox.event("invoice.paid")
            sandbox.flush_webhooks()
            secret = sandbox.webhook_secret
        with SandboxStripe(tmp_path / "stripe", webhook_url=after.url) as sandbox:
            sandbox.event("invoice.paid")
            sandbox.flush_webhooks()
            assert sandbox.webhook_secret == secret
        assert (len(before.letters), len(after.letters)) == (1, 1)
        assert after.letters[0].event(secret).type == "invoice.paid"
