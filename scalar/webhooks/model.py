"""Events, endpoints and deliveries: frozen values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

KEPT = timedelta(days=30)
"""How long an event can be seen and replayed."""


class EventType(StrEnum):
    JOB_STARTED = "job.started"
    """Its container is up; of a job on several nodes, the first one."""
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    """By its own doing, and no retry was asked for."""
    JOB_CANCELLED = "job.cancelled"
    JOB_DEAD_LETTER = "job.dead_letter"
    """Out of tries: one call to requeue."""
    JOB_REQUEUED = "job.requeued"
    """Back in the queue: for its next try, or because somebody asked for it."""
    INVOICE_OPENED = "invoice.opened"
    INVOICE_PAID = "invoice.paid"
    INVOICE_PAYMENT_FAILED = "invoice.payment_failed"
    """It is tried again at `next_attempt_at`; null: that was the last try."""
    INVOICE_OVERDUE = "invoice.overdue"
    """Its customer has to pay it by themselves, and has not."""
    INVOICE_VOIDED = "invoice.voided"
    INVOICE_UNCOLLECTIBLE = "invoice.uncollectible"
    INVOICE_CREDITED = "invoice.credited"
    """A credit note corrects it."""
    PING = "webhook.ping"
    """A test: sent to the endpoint that was pinged, and to no other."""


class DeliveryState(StrEnum):
    """pending ──► delivered | failed; a replay is another delivery of the same event."""

    PENDING = "pending"
    """On its way, or waiting for its next try."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Tried for a day."""


WANTED: tuple[str, ...] = (
    *(each for each in EventType if each is not EventType.PING),
    *sorted({f"{each.split('.')[0]}.*" for each in EventType if each is not EventType.PING}),
)
"""What an endpoint's filter may name."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A URL that events of its organisation are sent to."""

    id: str
    organisation_id: str
    url: str
    description: str
    event_types: tuple[str, ...]
    """Empty: every type."""
    enabled: bool
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    old_secret_until: datetime | None
    """After a rotation: how long its former secret signs as well."""


@dataclass(frozen=True, kw_only=True)
class Event:
    id: str
    organisation_id: str
    type: str
    at: datetime
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Delivery:
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
    status: int | None
    message: str | None
    response: str | None


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A delivery that has been taken up: what to send, where to, and under which lease."""

    delivery_id: str
    lease: UUID
    tries: int
    """This one included."""
    first_tried_at: datetime
    endpoint_id: str
    url: str
    event: Event


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a try ended."""

    status: int | None
    """None: no answer came."""
    message: str | None
    """Why it did not count, for people; None: it did."""
    response: str | None = None
    """The beginning of what the endpoint said."""

    @property
    def delivered(self) -> bool:
        return self.message is None

    @property
    def gone(self) -> bool:
        """The endpoint says that it wants no more."""
        return self.status == 410
