"""A customer's server on 127.0.0.1, and deliverers whose clock is the test's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scalar.database import Database, Transaction
from scalar.webhooks import deliveries_store, endpoints
from scalar.webhooks.deliveries_store import DeliveryFilter
from scalar.webhooks.delivering import Courier, Tally, deliver_due
from scalar.webhooks.endpoints import WithSecret
from scalar.webhooks.model import Delivery, Endpoint, EventType
from scalar.webhooks.outbox import publish
from scalar.webhooks.sending import Sender
from scalar.webhooks.settings import WebhookSettings
from tests.made_up import an_organisation
from tests.scripted_server import ScriptedServer, scripted_server

LOCAL = WebhookSettings(_env_file=None, allow_private=True)
PUBLIC = WebhookSettings(_env_file=None, allow_private=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@dataclass
class Clock:
    """A few seconds ahead of the database's, so that what was just published is due."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=5))

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Post:
    """An organisation, its endpoints, and what is sent to them."""

    database: Database
    clock: Clock
    organisation_id: str
    senders: list[Sender] = field(default_factory=lambda: [Sender(allow_private=True, seconds=5)])

    def registers(self, url: str, *, settings: WebhookSettings = LOCAL, **what: Any) -> WithSecret:
        with self.database.transaction() as tx:
            return endpoints.register(
                tx,
                organisation_id=self.organisation_id,
                url=url,
                settings=settings,
                actor="t",
                now=self.clock.now,
                **what,
            )

    def publishes(self, type: EventType = EventType.INVOICE_OPENED, **data: Any) -> str:
        with self.database.transaction() as tx:
            return publish(tx, organisation_id=self.organisation_id, type=type, data=data, at=self.clock.now)

    def courier(self, *, sender: Sender | None = None, key: bytes = b"", chance: float = 1.0) -> Courier:
        return Courier(
            transact=self.database.transaction,
            clock=self.clock,
            sender=sender or self.senders[0],
            key=key,
            chance=lambda: chance,
        )

    def delivers(self, **how: Any) -> Tally:
        return deliver_due(self.courier(**how))

    def deliveries(self, **which: Any) -> list[Delivery]:
        with self.database.transaction() as tx:
            return deliveries_store.deliveries(tx, DeliveryFilter(organisation_id=self.organisation_id, **which))

    def endpoint(self, id: str) -> Endpoint:
        with self.database.transaction() as tx:
            return endpoints.existing(tx, id)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self.database.transaction() as tx:
            yield tx


@pytest.fixture(scope="session")
def sender() -> Sender:
    """One for all: loading certificates takes a while."""
    return Sender(allow_private=True, seconds=5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def post(database: Database, clock: Clock, sender: Sender) -> Post:
    return _post(database, clock, sender, "acme")


@pytest.fixture
def another(database: Database, clock: Clock, sender: Sender) -> Callable[[str], Post]:
    """Another organisation's."""
    return lambda name: _post(database, clock, sender, name)


def _post(database: Database, clock: Clock, sender: Sender, name: str) -> Post:
    with database.transaction() as tx:
        organisation = an_organisation(tx, name)
    return Post(database, clock, organisation.id, [sender])
