"""The sensor delivers by itself, and deletes what is too old."""

import pytest

from scalar.webhooks.model import DeliveryState
from scalar_orchestration.defs.webhooks import webhook_deliveries
from scalar_orchestration.resources import PostgresResource, shared_database
from tests.scripted_server import Scripted


@pytest.fixture
def tick(database_url, monkeypatch):
    """What the sensor says of one look."""
    monkeypatch.setenv("SCALAR_WEBHOOKS_ALLOW_PRIVATE", "true")
    resource = PostgresResource(url=database_url)
    yield lambda: webhook_deliveries(database=resource).skip_message
    shared_database(database_url).close()
    shared_database.cache_clear()


def test_the_sensor_alone_delivers_and_says_so(post, server, tick):
    post.registers(server.url)
    server.answers(Scripted(status=200), Scripted(status=500))
    assert tick() == "0 delivered, 0 to be tried again, 0 given up."
    post.publishes()
    assert tick() == "1 delivered, 0 to be tried again, 0 given up."
    post.publishes()
    assert tick() == "0 delivered, 1 to be tried again, 0 given up."
    assert {each.state for each in post.deliveries()} == {DeliveryState.DELIVERED, DeliveryState.PENDING}


def test_the_sensor_deletes_events_after_thirty_days(post, server, tick):
    post.registers(server.url)
    server.answers(Scripted(status=200))
    post.publishes()
    assert tick().startswith("1 delivered")
    with post.transaction() as tx:
        tx.execute("update webhook_events set written_at = written_at - interval '29 days 23 hours'")
    assert "deleted" not in tick()
    with post.transaction() as tx:
        tx.execute("update webhook_events set written_at = written_at - interval '1 hour 1 minute'")
    assert tick().endswith("1 old event(s) deleted.")
    assert post.deliveries() == []


def test_the_sensor_says_what_it_can_not_sign(post, server, tick, monkeypatch):
    post.registers(server.url)
    post.publishes()
    monkeypatch.setenv("SCALAR_WEBHOOKS_SIGNING_KEY", "another")
    assert "1 wait for a deliverer with another SCALAR_WEBHOOKS_SIGNING_KEY" in tick()
    assert server.seen == []
