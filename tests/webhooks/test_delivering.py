"""From an event to the customer's server: at least once, never twice at one time, for a day."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from scalar.webhooks import deliveries_store, endpoints, signing
from scalar.webhooks.delivering import LEASE, Tally, clean_up, deliver_due, deliver_next
from scalar.webhooks.model import DeliveryState, EventType, Outcome
from scalar.webhooks.outbox import publish
from scalar.webhooks.settings import WebhookSettings
from tests.scripted_server import Fault, Scripted, scripted_server
from tests.webhooks.conftest import LOCAL

OK = Scripted(status=200)


def _signed_by(secret: str, seen) -> bool:
    """Whether a request that came was signed with this secret (`whsec_…`)."""
    body = json.dumps(seen.body, separators=(",", ":")).encode()
    made = signing.signature(
        base64.b64decode(secret.removeprefix(signing.PREFIX)),
        id=seen.headers["webhook-id"],
        timestamp=int(seen.headers["webhook-timestamp"]),
        body=body,
    )
    return made in seen.headers["webhook-signature"].split(" ")


def test_an_event_is_sent_signed_and_written_down(post, server):
    made = post.registers(f"{server.url}/hook")
    server.answers(OK)
    event_id = post.publishes(EventType.INVOICE_PAID, id="inv_1", total="12.500000")
    assert post.delivers() == Tally(delivered=1)
    (seen,) = server.seen
    assert seen.headers["webhook-id"] == event_id == seen.body["id"]
    assert seen.body["type"] == "invoice.paid"
    assert seen.body["data"] == {"id": "inv_1", "total": "12.500000"}
    assert seen.body["timestamp"] == f"{post.clock.now:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert seen.headers["webhook-timestamp"] == str(int(post.clock.now.timestamp()))
    assert _signed_by(made.secret, seen)
    (delivery,) = post.deliveries()
    assert (delivery.state, delivery.tries, delivery.status) == (DeliveryState.DELIVERED, 1, 200)
    assert post.delivers() == Tally()


def test_what_is_rolled_back_was_never_an_event(post, server):
    post.registers(server.url)
    with post.transaction() as tx:
        publish(tx, organisation_id=post.organisation_id, type="invoice.opened", data={}, at=post.clock.now)
        tx.rollback()
    assert post.delivers() == Tally()
    assert server.seen == []


def test_each_endpoint_gets_what_it_wants_of_its_own_organisation(post, another, server):
    stranger = another("stranger")
    post.registers(f"{server.url}/all")
    post.registers(f"{server.url}/paid", event_types=["invoice.paid"])
    post.registers(f"{server.url}/invoices", event_types=["invoice.*"])
    post.registers(f"{server.url}/jobs", event_types=["job.*"])
    stranger.registers(f"{server.url}/stranger")
    server.answers(*[OK] * 9)
    post.publishes(EventType.INVOICE_OPENED)
    assert post.delivers() == Tally(delivered=2)
    post.publishes(EventType.INVOICE_PAID)
    assert post.delivers() == Tally(delivered=3)
    assert sorted(seen.path for seen in server.seen) == ["/all", "/all", "/invoices", "/invoices", "/paid"]
    assert stranger.deliveries() == []


def test_a_failure_is_tried_again_later_and_later_with_the_same_id(post, server):
    made = post.registers(server.url)
    server.answers(Scripted(status=500, body=b"oh"), Scripted(fault=Fault.DROPPED), OK)
    post.publishes()
    assert post.delivers() == Tally(retried=1)
    (delivery,) = post.deliveries()
    assert (delivery.state, delivery.status, delivery.message) == (DeliveryState.PENDING, 500, "it answered 500")
    assert delivery.response == "oh"
    assert delivery.next_try_at == post.clock.now + timedelta(seconds=10)
    assert post.endpoint(made.endpoint.id).failing_since == post.clock.now
    post.clock.pass_(seconds=9)
    assert post.delivers() == Tally()
    post.clock.pass_(seconds=1)
    assert post.delivers() == Tally(retried=1)
    assert post.deliveries()[0].next_try_at == post.clock.now + timedelta(seconds=20)
    post.clock.pass_(seconds=20)
    assert post.delivers() == Tally(delivered=1)
    assert len({seen.headers["webhook-id"] for seen in server.seen}) == 1
    assert len({seen.headers["webhook-timestamp"] for seen in server.seen}) == 3
    assert all(_signed_by(made.secret, seen) for seen in server.seen)
    (delivery,) = post.deliveries()
    assert (delivery.tries, delivery.message) == (3, None)
    assert post.endpoint(made.endpoint.id).failing_since is None


def _fails_for_a_day(post) -> int:
    """Until nothing waits any more; how many tries that took."""
    tries = 0
    while waiting := post.deliveries(state=DeliveryState.PENDING):
        post.clock.now = max(post.clock.now, min(each.next_try_at for each in waiting))
        done = post.delivers()
        tries += done.retried + done.given_up
    return tries


def test_after_a_day_it_is_given_up_and_after_three_the_endpoint_is_disabled_with_a_note(post, server):
    made = post.registers(server.url)
    server.answers(*[Scripted(status=503)] * 200)
    begun = post.clock.now
    post.publishes()
    tries = _fails_for_a_day(post)
    (delivery,) = post.deliveries()
    assert (delivery.state, delivery.tries, delivery.message) == (DeliveryState.FAILED, tries, "it answered 503")
    assert delivery.ended_at - delivery.first_tried_at == timedelta(days=1)
    assert 15 < tries < 40
    assert post.endpoint(made.endpoint.id).enabled
    post.clock.now = begun + timedelta(days=2)
    post.publishes()
    _fails_for_a_day(post)
    endpoint = post.endpoint(made.endpoint.id)
    assert not endpoint.enabled
    assert "it has taken nothing since" in endpoint.disabled_reason
    assert "it answered 503" in endpoint.disabled_reason
    post.publishes()
    assert len(post.deliveries()) == 2, "nothing new for a disabled endpoint"


def test_one_success_within_the_three_days_keeps_an_endpoint(post, server):
    made = post.registers(server.url)
    server.answers(*[Scripted(status=503)] * 200)
    begun = post.clock.now
    post.publishes()
    _fails_for_a_day(post)
    server._answers.clear()
    server.answers(OK, *[Scripted(status=503)] * 200)
    post.publishes()
    assert post.delivers() == Tally(delivered=1)
    post.clock.now = begun + timedelta(days=2)
    post.publishes()
    _fails_for_a_day(post)
    assert post.endpoint(made.endpoint.id).enabled


def test_an_endpoint_that_is_gone_is_disabled_at_once(post, server):
    made = post.registers(server.url)
    server.answers(Scripted(status=410))
    post.publishes()
    assert post.delivers() == Tally(given_up=1)
    assert "410" in post.endpoint(made.endpoint.id).disabled_reason
    assert post.deliveries()[0].state is DeliveryState.FAILED


def test_what_waits_for_a_disabled_endpoint_goes_on_within_a_day_and_is_given_up_after_it(post, server):
    made = post.registers(server.url)
    post.publishes()

    def enables(enabled):
        with post.transaction() as tx:
            endpoints.change(
                tx, made.endpoint.id, organisation_id=post.organisation_id, enabled=enabled, settings=LOCAL,
                actor="t", now=post.clock.now,
            )  # fmt: skip

    enables(False)
    assert post.delivers() == Tally()
    post.clock.pass_(hours=23)
    with post.transaction() as tx:
        clean_up(tx, post.clock.now)
    enables(True)
    server.answers(OK)
    assert post.delivers() == Tally(delivered=1)
    post.publishes()
    enables(False)
    post.clock.pass_(hours=24, seconds=1)
    with post.transaction() as tx:
        clean_up(tx, post.clock.now)
    assert post.deliveries()[0].message == "the endpoint was disabled"
    assert post.deliveries()[0].state is DeliveryState.FAILED


def test_a_crash_between_sending_and_writing_it_down_sends_it_again_under_the_same_id(post, server):
    """Twice, and never lost."""
    post.registers(server.url)
    server.answers(OK, OK)
    post.publishes()

    class Died(BaseException):
        pass

    def dies():
        raise Died

    courier = post.courier()
    dying = type(courier)(**{**vars(courier), "chance": dies})
    with pytest.raises(Died):
        deliver_due(dying)
    assert len(server.seen) == 1
    assert post.delivers() == Tally(), "the lease still holds"
    post.clock.pass_(seconds=LEASE.total_seconds() - 1)
    assert post.delivers() == Tally()
    post.clock.pass_(seconds=1)
    assert post.delivers() == Tally(delivered=1)
    first, second = server.seen
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    (delivery,) = post.deliveries()
    assert (delivery.state, delivery.tries) == (DeliveryState.DELIVERED, 2)


def test_who_comes_back_after_its_lease_changes_nothing(post, server):
    made = post.registers(server.url)
    post.publishes()
    with post.transaction() as tx:
        slow = deliveries_store.take_up(tx, made.endpoint.id, now=post.clock.now, until=post.clock.now + LEASE)
    post.clock.pass_(seconds=61)
    server.answers(OK)
    assert post.delivers() == Tally(delivered=1)
    late = Outcome(status=500, message="it answered 500")
    with post.transaction() as tx:
        then = post.clock.now
        assert not deliveries_store.mark_tried(tx, slow.delivery_id, slow.lease, late, then)
        assert not deliveries_store.mark_failed(tx, slow.delivery_id, slow.lease, late, then)
        assert not deliveries_store.mark_delivered(tx, slow.delivery_id, slow.lease, late, then)
    assert post.deliveries()[0].state is DeliveryState.DELIVERED


def test_who_is_held_up_before_sending_does_not_send_into_anothers_lease(post, server):
    made = post.registers(server.url)
    post.publishes()
    courier, start = post.courier(), post.clock.now
    times = iter([start, start + timedelta(seconds=31)])
    held_up = type(courier)(**{**vars(courier), "clock": lambda: next(times)})
    assert deliver_next(held_up, made.endpoint.id) == "lost"
    assert server.seen == []


def test_many_deliverers_at_once_send_each_event_once(post, server):
    post.registers(f"{server.url}/a")
    post.registers(f"{server.url}/b")
    server.answers(*[OK] * 200)
    ids = {post.publishes(number=number) for number in range(30)}
    start = threading.Barrier(4)

    def deliver(_):
        start.wait(10)
        return deliver_due(post.courier(), threads=3)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(deliver, range(4)))
    done += [post.delivers() for _ in range(3)]
    assert sum(each.delivered for each in done) == 60
    assert sum(each.lost for each in done) == 0
    sent = [(seen.path, seen.headers["webhook-id"]) for seen in server.seen]
    assert len(sent) == 60
    assert set(sent) == {(path, event_id) for path in ("/a", "/b") for event_id in ids}


def test_an_endpoint_that_fails_does_not_keep_another_waiting(post, server):
    """Each of its threads stops with its first failure."""
    with scripted_server() as healthy:
        dead = post.registers(server.url)
        post.registers(healthy.url)
        server.answers(*[Scripted(status=500)] * 5)
        healthy.answers(*[OK] * 5)
        for _ in range(5):
            post.publishes()
        done = post.delivers()
        assert done.delivered == 5
        assert 1 <= len(server.seen) <= 4
        post.clock.pass_(minutes=1)
        server.seen.clear()
        post.delivers()
        assert len(server.seen) == 1, "one at a time while it is failing"
        assert post.endpoint(dead.endpoint.id).failing_since


def test_rotation_leaves_two_valid_secrets_for_a_day(post, server):
    made = post.registers(server.url)
    endpoint_id = made.endpoint.id

    def rotates():
        with post.transaction() as tx:
            return endpoints.rotate(
                tx, endpoint_id, organisation_id=post.organisation_id, settings=LOCAL, actor="t", now=post.clock.now
            )

    def signers(*secrets):
        server.answers(OK)
        post.publishes()
        assert post.delivers() == Tally(delivered=1)
        return [_signed_by(each, server.seen[-1]) for each in secrets]

    first, second = made.secret, rotates().secret
    assert signers(first, second) == [True, True]
    assert post.endpoint(endpoint_id).old_secret_until == post.clock.now + timedelta(days=1)
    third = rotates().secret
    assert signers(first, second, third) == [False, True, True]
    post.clock.pass_(days=1)
    with post.transaction() as tx:
        clean_up(tx, post.clock.now)
    assert signers(first, second, third) == [False, False, True]
    assert post.endpoint(endpoint_id).old_secret_until is None
    assert len({first, second, third}) == 3


def test_nothing_is_sent_with_the_wrong_key_and_rotating_brings_an_endpoint_to_the_new_one(post, server):
    old, new = (WebhookSettings(_env_file=None, allow_private=True, signing_key=key) for key in ("old", "new"))
    made = post.registers(server.url, settings=old)
    post.publishes()
    assert post.delivers(key=new.key) == Tally()
    with post.transaction() as tx:
        assert deliveries_store.not_signable(tx, signing.key_check(new.key)) == 1
        assert deliveries_store.not_signable(tx, signing.key_check(old.key)) == 0
    assert deliver_next(post.courier(key=new.key), made.endpoint.id) is None
    assert server.seen == []
    with post.transaction() as tx:
        rotated = endpoints.rotate(
            tx, made.endpoint.id, organisation_id=None, settings=new, actor="t", now=post.clock.now
        )
    server.answers(OK)
    assert post.delivers(key=new.key) == Tally(delivered=1)
    assert _signed_by(rotated.secret, server.seen[0])
    assert not _signed_by(made.secret, server.seen[0])


def test_the_database_has_no_secret_in_it(post, server):
    made = post.registers(server.url, settings=WebhookSettings(_env_file=None, allow_private=True, signing_key="k"))
    with post.transaction() as tx:
        (row,) = tx.execute("select * from webhook_secrets").fetchall()
    assert made.secret not in {signing.shown(bytes(row["seed"])), signing.shown(signing.secret_of(row["seed"], b""))}
    assert made.secret == signing.shown(signing.secret_of(bytes(row["seed"]), b"k"))
    assert made.secret not in repr(made)


def test_deleting_an_endpoint_while_it_is_being_sent_to_is_no_error(post, server):
    made = post.registers(server.url)
    post.publishes()

    class Deletes:
        def post(self, *_):
            with post.transaction() as tx:
                endpoints.delete(tx, made.endpoint.id, organisation_id=post.organisation_id, actor="t")
            return Outcome(status=None, message="no answer")

    assert post.delivers(sender=Deletes()) == Tally(lost=1)
    assert post.deliveries() == []


def test_a_fault_of_ours_in_sending_is_a_failure_like_others(post, server):
    post.registers(server.url)
    post.publishes()

    class Broken:
        def post(self, *_):
            raise RuntimeError("a bug")

    assert post.delivers(sender=Broken()) == Tally(retried=1)
    assert "fault of ours" in post.deliveries()[0].message


def test_events_are_kept_for_thirty_days_and_what_is_still_on_its_way_a_little_longer(post, server):
    post.registers(server.url)
    server.answers(OK)
    delivered = post.publishes()
    assert post.delivers() == Tally(delivered=1)
    waiting = post.publishes()
    start = post.clock.now

    def kept(days):
        with post.transaction() as tx:
            clean_up(tx, start + timedelta(days=days))
            return {row["id"] for row in tx.execute("select id from webhook_events")}

    assert kept(29.9) == {delivered, waiting}
    assert kept(30.1) == {waiting}
    assert kept(32.1) == set()
    assert post.deliveries() == []
