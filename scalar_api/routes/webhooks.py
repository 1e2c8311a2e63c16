"""Webhooks: endpoints that an organisation's events are sent to, what became of each delivery, and replays."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from scalar.errors import Conflict, NotFound
from scalar.webhooks import deliveries_store, endpoints, endpoints_store, outbox
from scalar.webhooks.deliveries_store import DeliveryFilter
from scalar.webhooks.model import KEPT, DeliveryState, EventType
from scalar.webhooks.settings import WebhookSettings
from scalar_api.dependencies import Customer, Db, Now, Person
from scalar_api.problems import responses
from scalar_api.webhook_views import (
    WebhookDeliveryPage,
    WebhookDeliveryView,
    WebhookEndpointBody,
    WebhookEndpointChange,
    WebhookEndpointPage,
    WebhookEndpointView,
    WebhookEndpointWithSecret,
    WebhookEventPage,
    WebhookEventView,
    WebhookReplayBody,
)

router = APIRouter(prefix="/v1", tags=["webhooks"])
_OF_A_LIST = responses()
_OF_AN_ENDPOINT = responses(NotFound, Conflict)
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")]
Id = Annotated[str | None, Query(max_length=40)]


def _settings(request: Request) -> WebhookSettings:
    return request.app.state.webhook_settings  # type: ignore[no-any-return]


Config = Annotated[WebhookSettings, Depends(_settings)]


@router.post("/webhook-endpoints", status_code=201, responses=_OF_AN_ENDPOINT)
def create_webhook_endpoint(
    body: WebhookEndpointBody, caller: Customer, database: Db, settings: Config, now: Now
) -> WebhookEndpointWithSecret:
    """Have events sent to a URL. Its secret is shown here and never again: keep it, to verify what comes with."""
    with database.transaction() as tx:
        made = endpoints.register(
            tx,
            organisation_id=str(caller.organisation_id),
            settings=settings,
            actor=caller.actor,
            now=now,
            **body.model_dump(),
        )
    return WebhookEndpointWithSecret.made(made)


@router.get("/webhook-endpoints", responses=_OF_A_LIST)
def list_webhook_endpoints(
    caller: Person, database: Db, limit: Limit = 50, cursor: Cursor = None
) -> WebhookEndpointPage:
    """Your organisation's, newest first; an operator sees everybody's."""
    with database.transaction() as tx:
        found = endpoints_store.endpoints(tx, organisation_id=caller.organisation_id, before=cursor, limit=limit + 1)
    page = [WebhookEndpointView.of(each) for each in found[:limit]]
    return WebhookEndpointPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.get("/webhook-endpoints/{endpoint_id}", responses=_OF_AN_ENDPOINT)
def get_webhook_endpoint(endpoint_id: str, caller: Person, database: Db) -> WebhookEndpointView:
    with database.transaction() as tx:
        return WebhookEndpointView.of(endpoints.existing(tx, endpoint_id, organisation_id=caller.organisation_id))


@router.post("/webhook-endpoints/{endpoint_id}", responses=_OF_AN_ENDPOINT)
def change_webhook_endpoint(
    endpoint_id: str, body: WebhookEndpointChange, caller: Person, database: Db, settings: Config, now: Now
) -> WebhookEndpointView:
    """Change its URL, its filter or its description; disable it, or enable it again. What you leave out stays."""
    with database.transaction() as tx:
        changed = endpoints.change(
            tx,
            endpoint_id,
            organisation_id=caller.organisation_id,
            settings=settings,
            actor=caller.actor,
            now=now,
            **body.model_dump(),
        )
    return WebhookEndpointView.of(changed)


@router.delete("/webhook-endpoints/{endpoint_id}", responses=_OF_AN_ENDPOINT)
def delete_webhook_endpoint(endpoint_id: str, caller: Person, database: Db) -> WebhookEndpointView:
    """With the deliveries to it, those under way included; the events stay."""
    with database.transaction() as tx:
        return WebhookEndpointView.of(
            endpoints.delete(tx, endpoint_id, organisation_id=caller.organisation_id, actor=caller.actor)
        )


@router.post("/webhook-endpoints/{endpoint_id}/rotate", responses=_OF_AN_ENDPOINT)
def rotate_webhook_secret(
    endpoint_id: str, caller: Person, database: Db, settings: Config, now: Now
) -> WebhookEndpointWithSecret:
    """A new secret. For a day both sign what is sent; rotated again within it, the oldest of the three ends at once."""
    with database.transaction() as tx:
        made = endpoints.rotate(
            tx,
            endpoint_id,
            organisation_id=caller.organisation_id,
            settings=settings,
            actor=caller.actor,
            now=now,
        )
    return WebhookEndpointWithSecret.made(made)


@router.post("/webhook-endpoints/{endpoint_id}/ping", status_code=202, responses=_OF_AN_ENDPOINT)
def ping_webhook_endpoint(endpoint_id: str, caller: Person, database: Db, now: Now) -> WebhookDeliveryView:
    """Send a `webhook.ping` to it; look at the delivery to see what became of it."""
    with database.transaction() as tx:
        return WebhookDeliveryView.of(endpoints.ping(tx, endpoint_id, organisation_id=caller.organisation_id, now=now))


@router.get("/webhook-events", responses=_OF_A_LIST)
def list_webhook_events(
    caller: Person,
    database: Db,
    now: Now,
    type: EventType | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WebhookEventPage:
    """What happened in the last 30 days, newest first, whether or not anybody was told."""
    with database.transaction() as tx:
        found = outbox.events(
            tx,
            organisation_id=caller.organisation_id,
            since=now - KEPT,
            type=type,
            before=cursor,
            limit=limit + 1,
        )
    page = [WebhookEventView.of(each) for each in found[:limit]]
    return WebhookEventPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.post("/webhook-events/{event_id}/replay", status_code=202, responses=_OF_AN_ENDPOINT)
def replay_webhook_event(
    event_id: str, caller: Person, database: Db, now: Now, body: WebhookReplayBody | None = None
) -> WebhookDeliveryPage:
    """Send an event of the last 30 days again, with the `webhook-id` that it had: to every endpoint that wants it now,
    or to the one that is named.
    """
    with database.transaction() as tx:
        sent = endpoints.replay(
            tx,
            event_id,
            organisation_id=caller.organisation_id,
            endpoint_id=body.endpoint_id if body else None,
            actor=caller.actor,
            now=now,
        )
    return WebhookDeliveryPage(data=[WebhookDeliveryView.of(each) for each in sent], next_cursor=None)


@router.get("/webhook-deliveries", responses=_OF_A_LIST)
def list_webhook_deliveries(
    caller: Person,
    database: Db,
    endpoint_id: Id = None,
    event_id: Id = None,
    state: DeliveryState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WebhookDeliveryPage:
    """Newest first, with the outcome of the last try of each."""
    which = DeliveryFilter(
        organisation_id=caller.organisation_id,
        endpoint_id=endpoint_id,
        event_id=event_id,
        state=state,
        before=cursor,
        limit=limit + 1,
    )
    with database.transaction() as tx:
        found = deliveries_store.deliveries(tx, which)
    page = [WebhookDeliveryView.of(each) for each in found[:limit]]
    return WebhookDeliveryPage(data=page, next_cursor=page[-1].id if len(found) > limit else None)


@router.get("/webhook-deliveries/{delivery_id}", responses=_OF_AN_ENDPOINT)
def get_webhook_delivery(delivery_id: str, caller: Person, database: Db) -> WebhookDeliveryView:
    with database.transaction() as tx:
        found = deliveries_store.delivery(tx, delivery_id, organisation_id=caller.organisation_id)
    if found is None:
        raise NotFound("There is no such delivery.")
    return WebhookDeliveryView.of(found)
