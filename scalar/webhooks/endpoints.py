"""What is done to endpoints: each function is one deed, inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scalar.accounts.store import audit
from scalar.database import Transaction
from scalar.errors import Conflict, InvalidRequest, NotFound
from scalar.ids import new_id
from scalar.webhooks import deliveries_store as deliveries
from scalar.webhooks import endpoints_store as store
from scalar.webhooks import outbox, signing
from scalar.webhooks.addresses import why_not_url
from scalar.webhooks.model import KEPT, WANTED, Delivery, Endpoint, EventType
from scalar.webhooks.settings import WebhookSettings

MAX_ENDPOINTS = 20
"""Of one organisation."""


@dataclass(frozen=True, kw_only=True)
class WithSecret:
    """An endpoint at the one moment when its secret is shown."""

    endpoint: Endpoint
    secret: str = field(repr=False)


def register(
    tx: Transaction,
    *,
    organisation_id: str,
    url: str,
    event_types: Sequence[str] = (),
    description: str = "",
    settings: WebhookSettings,
    actor: str,
    now: datetime,
) -> WithSecret:
    """Raises: `InvalidRequest` where nothing may be sent to that URL; `Conflict` where there are too many."""
    _check(url, event_types, settings)
    store.lock_organisation(tx, organisation_id)
    if store.count(tx, organisation_id) >= MAX_ENDPOINTS:
        raise Conflict(f"An organisation has {MAX_ENDPOINTS} webhook endpoints at most: delete one first.")
    endpoint_id = new_id("whe")
    store.insert(
        tx,
        id=endpoint_id,
        organisation_id=organisation_id,
        url=url,
        description=description,
        event_types=event_types,
        now=now,
    )
    audit(tx, actor, "webhook_endpoint.create", endpoint_id, url=url)
    secret = _new_secret(tx, endpoint_id, settings, now)
    return WithSecret(endpoint=existing(tx, endpoint_id), secret=secret)


def change(
    tx: Transaction,
    endpoint_id: str,
    *,
    organisation_id: str | None,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
    settings: WebhookSettings,
    actor: str,
    now: datetime,
) -> Endpoint:
    """What is None stays. Raises: `NotFound`, `InvalidRequest`."""
    found = existing(tx, endpoint_id, organisation_id=organisation_id, for_update=True)
    _check(url or found.url, event_types or (), settings)
    store.change(tx, endpoint_id, url=url, description=description, event_types=event_types)
    if enabled is True:
        store.enable(tx, endpoint_id)
    if enabled is False:
        store.disable(tx, endpoint_id, f"by {actor}", now)
    audit(tx, actor, "webhook_endpoint.change", endpoint_id, url=url, event_types=event_types, enabled=enabled)
    return existing(tx, endpoint_id)


def rotate(
    tx: Transaction,
    endpoint_id: str,
    *,
    organisation_id: str | None,
    settings: WebhookSettings,
    actor: str,
    now: datetime,
) -> WithSecret:
    """A new secret; the one before it signs for a day more, the one before that no more. Raises: `NotFound`."""
    existing(tx, endpoint_id, organisation_id=organisation_id, for_update=True)
    store.delete_former_secrets(tx, endpoint_id)
    store.expire_secret(tx, endpoint_id, now + signing.ROTATION)
    secret = _new_secret(tx, endpoint_id, settings, now)
    audit(tx, actor, "webhook_endpoint.rotate", endpoint_id)
    return WithSecret(endpoint=existing(tx, endpoint_id), secret=secret)


def delete(tx: Transaction, endpoint_id: str, *, organisation_id: str | None, actor: str) -> Endpoint:
    """With what waits for it. Raises: `NotFound`."""
    found = existing(tx, endpoint_id, organisation_id=organisation_id, for_update=True)
    store.delete(tx, endpoint_id)
    audit(tx, actor, "webhook_endpoint.delete", endpoint_id, url=found.url)
    return found


def ping(tx: Transaction, endpoint_id: str, *, organisation_id: str | None, now: datetime) -> Delivery:
    """A test event to this endpoint alone. Raises: `NotFound`; `Conflict` where it is disabled."""
    found = _enabled(tx, endpoint_id, organisation_id)
    event_id = outbox.publish(
        tx, organisation_id=found.organisation_id, type=EventType.PING, data={"endpoint_id": endpoint_id}, at=now
    )
    event = outbox.event(tx, event_id, organisation_id=found.organisation_id, since=now - KEPT)
    if event is None:
        raise NotFound("There is no such event.")
    (sent,) = deliveries.schedule(tx, event, endpoint_id=endpoint_id, wanted_only=False, now=now)
    return sent


def replay(
    tx: Transaction,
    event_id: str,
    *,
    organisation_id: str | None,
    endpoint_id: str | None,
    actor: str,
    now: datetime,
) -> list[Delivery]:
    """Send an event again: to one endpoint whatever its filter, or to all that want it.

    Raises: `NotFound` where it is unknown or too old; `Conflict` where nobody would get it.
    """
    event = outbox.event(tx, event_id, organisation_id=organisation_id, since=now - KEPT)
    if event is None:
        raise NotFound(f"There is no such event, or it is older than {KEPT.days} days.")
    if endpoint_id is not None:
        _enabled(tx, endpoint_id, event.organisation_id)
    sent = deliveries.schedule(tx, event, endpoint_id=endpoint_id, wanted_only=endpoint_id is None, now=now)
    if not sent:
        raise Conflict(f"No endpoint that is enabled wants {event.type}: name one with endpoint_id, or add one.")
    audit(tx, actor, "webhook_event.replay", event_id, deliveries=[each.id for each in sent])
    return sent


def existing(
    tx: Transaction, endpoint_id: str, *, organisation_id: str | None = None, for_update: bool = False
) -> Endpoint:
    """Raises: `NotFound`."""
    found = store.endpoint(tx, endpoint_id, organisation_id=organisation_id, for_update=for_update)
    if found is None:
        raise NotFound("There is no such webhook endpoint.")
    return found


def _enabled(tx: Transaction, endpoint_id: str, organisation_id: str | None) -> Endpoint:
    # Locked, so that nobody disables it before the delivery stands.
    found = existing(tx, endpoint_id, organisation_id=organisation_id, for_update=True)
    if not found.enabled:
        raise Conflict(f"{endpoint_id} is disabled ({found.disabled_reason}): enable it first.")
    return found


def _check(url: str, event_types: Sequence[str], settings: WebhookSettings) -> None:
    why = why_not_url(url, allow_private=settings.allow_private)
    if why is not None:
        raise InvalidRequest(f"Nothing can be sent to this url: {why}.")
    unknown = sorted(set(event_types) - set(WANTED))
    if unknown:
        raise InvalidRequest(f"There are no events {', '.join(unknown)}; there are {', '.join(WANTED)}.")


def _new_secret(tx: Transaction, endpoint_id: str, settings: WebhookSettings, now: datetime) -> str:
    seed = signing.new_seed()
    store.insert_secret(tx, endpoint_id, seed, signing.key_check(settings.key), now)
    return signing.shown(signing.secret_of(seed, settings.key))
