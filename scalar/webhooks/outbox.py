"""The outbox: `publish` writes an event in the caller's transaction; who wants it gets it after the commit.

A trigger on the table makes a delivery for each endpoint that is enabled and wants the event, in the same statement.
Jobs publish by a trigger on their state, so that no way to a new state can forget to.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from scalar.database import Transaction, one
from scalar.webhooks.model import Event, EventType

_EVENT = "id, organisation_id, type, at, data"


def publish(
    tx: Transaction, *, organisation_id: str, type: EventType | str, data: Mapping[str, Any], at: datetime
) -> str:
    """The event's id, which every delivery of it carries as `webhook-id`.

    `data`: JSON, of what may be told to whoever has the endpoint: amounts as decimal strings, times by `moment`.
    `at`: when it happened. Raises: `ValueError` where the type is none of `EventType`'s.
    """
    row = one(
        tx,
        "insert into webhook_events (organisation_id, type, at, data) values (%s, %s, %s, %s) returning id",
        [organisation_id, EventType(type).value, at, Jsonb(dict(data))],
    )
    return str(row["id"])


def moment(at: datetime) -> str:
    """`2026-11-21T12:00:00.000000Z`: every time in a payload reads so."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def payload(event: Event) -> dict[str, Any]:
    """The body of a delivery."""
    return {
        "id": event.id,
        "type": event.type,
        "timestamp": moment(event.at),
        "organisation_id": event.organisation_id,
        "data": event.data,
    }


def event(tx: Transaction, event_id: str, *, organisation_id: str | None, since: datetime) -> Event | None:
    """`organisation_id`: only if it is theirs; None for operators. `since`: only if it was written after that."""
    row = tx.execute(
        f"""select {_EVENT} from webhook_events
            where id = %(id)s and organisation_id = coalesce(%(org)s, organisation_id) and written_at > %(since)s""",
        {"id": event_id, "org": organisation_id, "since": since},
    ).fetchone()
    return Event(**row) if row else None


def events(
    tx: Transaction,
    *,
    organisation_id: str | None,
    since: datetime,
    type: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Event]:
    """Newest first."""
    rows = tx.execute(
        f"""select {_EVENT} from webhook_events
            where organisation_id = coalesce(%(org)s, organisation_id) and written_at > %(since)s
              and (%(type)s::text is null or type = %(type)s) and (%(before)s::text is null or id < %(before)s)
            order by id desc limit %(limit)s""",
        {"org": organisation_id, "since": since, "type": type, "before": before, "limit": limit},
    )
    return [Event(**row) for row in rows]


def delete_events(tx: Transaction, *, before: datetime, even_pending_before: datetime, limit: int) -> int:
    """Those written before, with their deliveries; what is still on its way is left for longer. How many they were."""
    delete = """delete from webhook_events where id in (
                    select e.id from webhook_events e
                    where e.written_at < %(before)s and (
                        e.written_at < %(even_pending_before)s or not exists (
                            select from webhook_deliveries d where d.event_id = e.id and d.state = 'pending'))
                    order by e.written_at limit %(limit)s for update skip locked)"""
    return tx.execute(delete, {"before": before, "even_pending_before": even_pending_before, "limit": limit}).rowcount
