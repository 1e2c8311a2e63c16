"""What goes over the wire about webhooks."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from scalar.webhooks.addresses import MAX_URL
from scalar.webhooks.endpoints import WithSecret
from scalar.webhooks.model import Delivery, DeliveryState, Endpoint, Event
from scalar.webhooks.outbox import payload
from scalar_api.views import Text

Url = Annotated[Text, Field(min_length=1, max_length=MAX_URL, description="https, and a public address.")]
Description = Annotated[Text, Field(max_length=200, description="For people.")]
EventTypes = Annotated[
    list[Annotated[Text, Field(max_length=40)]],
    Field(max_length=50, description="Only these, such as `job.failed` or `invoice.*`; none: all."),
]


class WebhookEndpointBody(BaseModel):
    """Where events shall be sent."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.com/scalar", "event_types": ["job.*"]}]},
    )

    url: Url
    event_types: EventTypes = []
    description: Description = ""


class WebhookEndpointChange(BaseModel):
    """What is left out, or null, stays."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    enabled: bool | None = None


class WebhookEndpointView(BaseModel):
    id: str
    organisation_id: str
    url: str
    description: str
    event_types: list[str] = Field(description="None: all.")
    enabled: bool
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None = Field(description="Who disabled it, or why it was.")
    failing_since: datetime | None = Field(description="The first failure since it last took something.")
    old_secret_until: datetime | None = Field(description="After a rotation: how long the former secret signs, too.")

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        return cls.model_validate(vars(endpoint))


class WebhookEndpointWithSecret(WebhookEndpointView):
    secret: str = Field(description="Shown this once: verify signatures with it.", examples=["whsec_MfKQ9r8GKYqrTwjU…"])

    @classmethod
    def made(cls, made: WithSecret) -> Self:
        return cls.model_validate({**vars(made.endpoint), "secret": made.secret})


class WebhookEndpointPage(BaseModel):
    data: list[WebhookEndpointView]
    next_cursor: str | None


class WebhookEventView(BaseModel):
    """Exactly what is sent."""

    id: str = Field(description="The `webhook-id` of each delivery of it.")
    type: str
    timestamp: datetime = Field(description="When it happened.")
    organisation_id: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls.model_validate(payload(event))


class WebhookEventPage(BaseModel):
    data: list[WebhookEventView]
    next_cursor: str | None


class WebhookDeliveryView(BaseModel):
    """One event, to one endpoint."""

    id: str
    event_id: str
    event_type: str
    endpoint_id: str
    organisation_id: str
    state: DeliveryState
    created_at: datetime
    tries: int
    next_try_at: datetime | None
    first_tried_at: datetime | None
    last_tried_at: datetime | None
    ended_at: datetime | None
    status: int | None = Field(description="That the endpoint answered the last time; null: it did not.")
    message: str | None = Field(description="Why the last try did not count.")
    response: str | None = Field(description="The beginning of what the endpoint said.")

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        return cls(**vars(delivery))


class WebhookDeliveryPage(BaseModel):
    data: list[WebhookDeliveryView]
    next_cursor: str | None


class WebhookReplayBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    endpoint_id: Annotated[Text, Field(max_length=40)] | None = Field(
        default=None, description="To this one, whatever its filter; left out: to all that want it."
    )
