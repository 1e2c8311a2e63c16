"""Webhooks over HTTP and on the command line: whose they are, what is shown, and that an API alone delivers."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from scalar.webhooks.delivering import clean_up
from scalar.webhooks.outbox import publish
from tests.api.calls import a_body, assert_problem
from tests.api.conftest import Api, an_api
from tests.scripted_server import Scripted

OK = Scripted(status=200, body={"taken": True})
URL = "https://example.com/scalar"


@pytest.fixture
def api(database_url, monkeypatch):
    """A server that may send to 127.0.0.1, with its own deliverer."""
    monkeypatch.setenv("SCALAR_WEBHOOKS_ALLOW_PRIVATE", "true")
    with an_api(database_url) as api:
        yield api


@pytest.fixture
def careful_api(database_url, monkeypatch):
    """One as it is in production."""
    monkeypatch.delenv("SCALAR_WEBHOOKS_ALLOW_PRIVATE", raising=False)
    with an_api(database_url) as api:
        yield api


@pytest.fixture
def customer(api):
    return api.customer()


def _add(client, url=URL, **body):
    answer = client.post("/v1/webhook-endpoints", json={"url": url, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def _cancelled_job(client):
    """The id of one that made a `job.cancelled`."""
    job_id = client.post("/v1/jobs", json=a_body()).raise_for_status().json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    return job_id


def _outcome(client, delivery_id, seconds=20):
    """The delivery, once it has been tried."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        delivery = client.get(f"/v1/webhook-deliveries/{delivery_id}").raise_for_status().json()
        if delivery["state"] != "pending" or delivery["message"]:
            return delivery
        time.sleep(0.05)
    pytest.fail("it was not tried")


def test_an_endpoint_from_its_registration_to_its_end(api, customer, server):
    server.answers(OK, OK)
    made = _add(customer, f"{server.url}/hook", event_types=["job.*"], description="on call")
    assert made["secret"].startswith("whsec_")
    (listed,) = customer.get("/v1/webhook-endpoints").json()["data"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert customer.get(f"/v1/webhook-endpoints/{made['id']}").json() == listed

    ping = customer.post(f"/v1/webhook-endpoints/{made['id']}/ping")
    assert ping.status_code == 202
    done = _outcome(customer, ping.json()["id"])
    assert (done["state"], done["status"], done["event_type"]) == ("delivered", 200, "webhook.ping")
    assert done["response"] == '{"taken": true}'

    api.node()
    job_id = _cancelled_job(customer)
    (event,) = customer.get("/v1/webhook-events", params={"type": "job.cancelled"}).json()["data"]
    (delivery,) = customer.get("/v1/webhook-deliveries", params={"event_id": event["id"]}).json()["data"]
    assert _outcome(customer, delivery["id"])["state"] == "delivered"
    sent = server.seen[-1]
    assert sent.body["data"]["id"] == job_id
    assert {**sent.body, "timestamp": None} == {**event, "timestamp": None}

    deleted = customer.delete(f"/v1/webhook-endpoints/{made['id']}")
    assert deleted.json()["id"] == made["id"]
    assert customer.get("/v1/webhook-endpoints").json() == {"data": [], "next_cursor": None}
    assert customer.get("/v1/webhook-deliveries").json()["data"] == []
    assert_problem(customer.delete(f"/v1/webhook-endpoints/{made['id']}"), 404, "not-found")


def test_an_event_is_replayed_to_who_wants_it_now_or_to_the_one_that_is_named(api, customer, server):
    api.node()
    _cancelled_job(customer)
    (event,) = customer.get("/v1/webhook-events").json()["data"]
    path = f"/v1/webhook-events/{event['id']}/replay"
    assert_problem(customer.post(path), 409, "conflict")
    server.answers(*[OK] * 3)
    wants = _add(customer, f"{server.url}/wants", event_types=["job.cancelled"])
    other = _add(customer, f"{server.url}/other", event_types=["invoice.*"])
    (sent,) = customer.post(path).raise_for_status().json()["data"]
    assert sent["endpoint_id"] == wants["id"]
    assert _outcome(customer, sent["id"])["state"] == "delivered"
    (named,) = customer.post(path, json={"endpoint_id": other["id"]}).raise_for_status().json()["data"]
    assert _outcome(customer, named["id"])["state"] == "delivered"
    assert {seen.headers["webhook-id"] for seen in server.seen} == {event["id"]}
    assert [seen.path for seen in server.seen] == ["/wants", "/other"]
    assert len(customer.get("/v1/webhook-deliveries").json()["data"]) == 2


def test_a_replay_of_what_is_waiting_brings_it_forward_and_makes_no_second_one(api, customer, server):
    api.node()
    endpoint = _add(customer, server.url)
    server.answers(Scripted(status=500), OK)
    _cancelled_job(customer)
    (first,) = customer.get("/v1/webhook-deliveries").json()["data"]
    assert _outcome(customer, first["id"])["message"] == "it answered 500"
    (again,) = customer.post(f"/v1/webhook-events/{first['event_id']}/replay").json()["data"]
    assert again["id"] == first["id"]
    end = time.monotonic() + 4.5
    while time.monotonic() < end and len(server.seen) < 2:
        time.sleep(0.05)
    assert len(server.seen) == 2, "not after the ten seconds that it would have waited"
    assert len(customer.get("/v1/webhook-deliveries", params={"endpoint_id": endpoint["id"]}).json()["data"]) == 1


def test_an_event_older_than_thirty_days_is_not_replayed_nor_shown(api, customer):
    api.node()
    _add(customer)
    _cancelled_job(customer)
    (event,) = customer.get("/v1/webhook-events").json()["data"]
    with api.database.transaction() as tx:
        tx.execute("update webhook_events set written_at = written_at - interval '30 days 1 minute'")
    assert customer.get("/v1/webhook-events").json()["data"] == []
    assert_problem(customer.post(f"/v1/webhook-events/{event['id']}/replay"), 404, "not-found")
    with api.database.transaction() as tx:
        tx.execute("update webhook_deliveries set state = 'failed', next_try_at = null, ended_at = now()")
        assert clean_up(tx, datetime.now(UTC)) == 1


def test_nobody_sees_changes_or_replays_what_is_anothers(api, customer, server):
    api.node()
    server.answers(OK)
    mine = _add(customer, server.url)
    _cancelled_job(customer)
    (delivery,) = customer.get("/v1/webhook-deliveries").json()["data"]
    stranger = api.customer()
    theirs = _add(stranger)
    for path in ("webhook-endpoints", "webhook-events", "webhook-deliveries"):
        shown = stranger.get(f"/v1/{path}", params={"endpoint_id": mine["id"]} if path.endswith("deliveries") else {})
        assert mine["id"] not in shown.text
        assert delivery["event_id"] not in shown.text
        assert mine["organisation_id"] not in shown.text
    for method, path, body in (
        ("GET", f"webhook-endpoints/{mine['id']}", None),
        ("POST", f"webhook-endpoints/{mine['id']}", {"enabled": False}),
        ("DELETE", f"webhook-endpoints/{mine['id']}", None),
        ("POST", f"webhook-endpoints/{mine['id']}/rotate", None),
        ("POST", f"webhook-endpoints/{mine['id']}/ping", None),
        ("POST", f"webhook-events/{delivery['event_id']}/replay", None),
        ("POST", f"webhook-events/{delivery['event_id']}/replay", {"endpoint_id": theirs["id"]}),
        ("GET", f"webhook-deliveries/{delivery['id']}", None),
    ):
        assert_problem(stranger.request(method, f"/v1/{path}", json=body), 404, "not-found")
    path = f"/v1/webhook-events/{delivery['event_id']}/replay"
    assert_problem(customer.post(path, json={"endpoint_id": theirs["id"]}), 404, "not-found")
    assert customer.get(f"/v1/webhook-endpoints/{mine['id']}").json()["enabled"]
    operator = api.operator()
    assert {each["id"] for each in operator.get("/v1/webhook-endpoints").json()["data"]} == {mine["id"], theirs["id"]}
    assert_problem(operator.post(path, json={"endpoint_id": theirs["id"]}), 404, "not-found")
    assert_problem(operator.post("/v1/webhook-endpoints", json={"url": URL}), 403, "forbidden")
    assert_problem(api.node().client.get("/v1/webhook-events"), 403, "forbidden")
    assert_problem(api.client().get("/v1/webhook-events"), 401, "not-authenticated")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": "http://example.com/"},
        {"url": "https://127.0.0.1/"},
        {"url": "https://[::ffff:169.254.169.254]/"},
        {"url": "https://user:secret@example.com/"},
        {"url": "https://example.com/" + "x" * 2048},
        {"url": "https://example.com/\x00"},
        {"url": URL, "event_types": ["job.eaten"]},
        {"url": URL, "event_types": ["webhook.ping"]},
        {"url": URL, "event_types": "job.*"},
        {"url": URL, "description": "x" * 201},
        {"url": URL, "events": ["job.*"]},
    ],
)
def test_what_can_not_be_registered(careful_api, body):
    customer = careful_api.customer()
    problem = assert_problem(customer.post("/v1/webhook-endpoints", json=body), 422, "invalid-request")
    assert "secret@" not in json.dumps(problem)
    assert customer.get("/v1/webhook-endpoints").json()["data"] == []


def test_a_changed_url_is_held_to_the_same_rules(careful_api):
    customer = careful_api.customer()
    made = _add(customer)
    path = f"/v1/webhook-endpoints/{made['id']}"
    assert_problem(customer.post(path, json={"url": "https://10.0.0.1/"}), 422, "invalid-request")
    changed = customer.post(path, json={"url": "https://example.org/", "event_types": ["invoice.paid"]}).json()
    assert (changed["url"], changed["event_types"], changed["enabled"]) == (
        "https://example.org/",
        ["invoice.paid"],
        True,
    )
    changed = customer.post(path, json={"event_types": []}).json()
    assert (changed["url"], changed["event_types"]) == ("https://example.org/", [])


def test_an_endpoint_that_was_registered_while_it_was_allowed_is_not_sent_to_any_more(careful_api, server):
    """The rule is asked at each try, whatever the database says."""
    customer = careful_api.customer()
    made = _add(customer)
    with careful_api.database.transaction() as tx:
        tx.execute("update webhook_endpoints set url = %s", [server.url])
    ping = customer.post(f"/v1/webhook-endpoints/{made['id']}/ping").json()
    assert "nothing can be sent to this url" in _outcome(customer, ping["id"])["message"]
    with careful_api.database.transaction() as tx:
        tx.execute("update webhook_endpoints set url = 'https://localtest:1/'")
    assert server.seen == []


def test_a_disabled_endpoint_is_told_so_and_enabled_again(careful_api):
    customer = careful_api.customer()
    path = f"/v1/webhook-endpoints/{_add(customer)['id']}"
    disabled = customer.post(path, json={"enabled": False}).json()
    assert not disabled["enabled"]
    assert disabled["disabled_reason"].startswith("by customer:")
    problem = assert_problem(customer.post(f"{path}/ping"), 409, "conflict")
    assert "enable it first" in problem["detail"]
    enabled = customer.post(path, json={"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["disabled_at"]) == (True, None, None)


def test_rotating_shows_the_new_secret_once_and_how_long_the_old_one_holds(careful_api):
    customer = careful_api.customer()
    made = _add(customer)
    rotated = customer.post(f"/v1/webhook-endpoints/{made['id']}/rotate").json()
    assert rotated["secret"] != made["secret"]
    until = datetime.fromisoformat(rotated["old_secret_until"])
    assert timedelta(hours=23, minutes=59) < until - datetime.now(UTC) <= timedelta(days=1)
    assert rotated["secret"] not in customer.get("/v1/webhook-endpoints").text


def test_there_are_so_many_endpoints_and_no_more_and_they_come_in_pages(careful_api):
    customer = careful_api.customer()
    ids = [_add(customer)["id"] for _ in range(20)]
    assert_problem(customer.post("/v1/webhook-endpoints", json={"url": URL}), 409, "conflict")
    first = customer.get("/v1/webhook-endpoints", params={"limit": 15}).json()
    rest = customer.get("/v1/webhook-endpoints", params={"limit": 15, "cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in first["data"] + rest["data"]] == sorted(ids, reverse=True)
    assert rest["next_cursor"] is None


_PROGRAM = """
import json, sys
from typer.testing import CliRunner
from scalar_api.cli import app
done = [CliRunner().invoke(app, ["webhooks", *words]) for words in json.load(sys.stdin)]
print(json.dumps([[each.exit_code, each.output] for each in done]))
"""


def _scalar(api: Api, key: str, *commands: list[str]) -> list[tuple[int, str]]:
    """(exit code, output) of each `scalar webhooks …`, in one process: starting it takes longer than they do."""
    environment = {**os.environ, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(commands), env=environment, capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    return [(code, output) for code, output in json.loads(done.stdout)]


def test_the_command_line_does_all_of_it(api, customer, server):
    key = customer.headers["Authorization"].removeprefix("Bearer ")
    server.answers(OK, OK)
    ((code, added),) = _scalar(api, key, ["add", server.url, "--event", "job.*", "--event", "invoice.paid", "--json"])
    made = json.loads(added)
    assert (code, made["event_types"]) == (0, ["job.*", "invoice.paid"])
    listed, pinged = _scalar(api, key, ["list"], ["ping", made["id"]])
    assert made["id"] in listed[1]
    assert pinged[0] == 0
    (delivery,) = customer.get("/v1/webhook-deliveries").json()["data"]
    _outcome(customer, delivery["id"])
    with api.database.transaction() as tx:
        whose = customer.get("/v1/balance").json()["organisation_id"]
        about = {"invoice_id": "inv_of_mine", "number": "INV-2026-0001"}
        publish(tx, organisation_id=whose, type="invoice.opened", data=about, at=datetime.now(UTC))
    deliveries, events, rotated, replayed, changed, listed, deleted, refused = _scalar(
        api,
        key,
        ["deliveries", "--endpoint", made["id"]],
        ["events"],
        ["rotate", made["id"]],
        ["replay", delivery["event_id"], "--endpoint", made["id"]],
        ["change", made["id"], "--all-events", "--disable", "--json"],
        ["list"],
        ["delete", made["id"]],
        ["delete", made["id"]],
    )
    assert "delivered" in deliveries[1]
    assert "webhook.ping" in events[1]
    assert "inv_of_mine" in events[1]
    assert "not shown again" in rotated[1]
    assert f"on its way to {made['id']}" in replayed[1]
    assert (json.loads(changed[1])["event_types"], json.loads(changed[1])["enabled"]) == ([], False)
    assert "disabled" in listed[1]
    assert (deleted[0], refused[0]) == (0, 3)
    assert "no such webhook endpoint" in refused[1].lower()
