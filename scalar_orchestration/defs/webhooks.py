"""Webhooks: the sensor that guarantees that every event is sent, and deletes what is too old."""

from functools import cache

import dagster as dg

from scalar.webhooks import deliveries_store, signing
from scalar.webhooks.delivering import Courier, Tally, clean_up, deliver_due
from scalar.webhooks.sending import Sender
from scalar.webhooks.settings import WebhookSettings
from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import PostgresResource


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends events to customers' endpoints, again where that failed, and deletes events after 30 days.",
)
def webhook_deliveries(database: PostgresResource) -> dg.SkipReason:
    settings = WebhookSettings()
    courier = Courier(
        transact=database.transaction, clock=utc_now, sender=_sender(settings.allow_private), key=settings.key
    )
    done = deliver_due(courier)
    with database.transaction() as tx:
        deleted = clean_up(tx, utc_now())
        unsigned = deliveries_store.not_signable(tx, signing.key_check(settings.key))
    return dg.SkipReason(_said(done, deleted, unsigned))


@cache
def _sender(allow_private: bool) -> Sender:
    """One a process: loading the certificates that it trusts takes a while."""
    return Sender(allow_private=allow_private)


def _said(done: Tally, deleted: int, unsigned: int) -> str:
    words = f"{done.delivered} delivered, {done.retried} to be tried again, {done.given_up} given up"
    words += f"; {deleted} old event(s) deleted." if deleted else "."
    if unsigned:
        words += f" {unsigned} wait for a deliverer with another SCALAR_WEBHOOKS_SIGNING_KEY."
    return words
