"""SQL of deliveries: one statement a function."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from scalar.database import Transaction, one
from scalar.webhooks.model import Delivery, DeliveryState, Event, Outcome, Parcel

_DELIVERY = """d.id, d.event_id, e.type as event_type, d.endpoint_id, d.organisation_id, d.state, d.created_at, d.tries,
    d.next_try_at, d.first_tried_at, d.last_tried_at, d.ended_at, d.status, d.message, d.response"""


@dataclass(frozen=True, kw_only=True)
class DueEndpoint:
    """An endpoint that something should be sent to now."""

    id: str
    failing: bool
    due: int
    """How many deliveries, up to the number that was asked for."""


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries a list shows: newest first, from the one after `before` on."""

    organisation_id: str | None
    endpoint_id: str | None = None
    event_id: str | None = None
    state: DeliveryState | None = None
    before: str | None = None
    limit: int = 50


def due_endpoints(tx: Transaction, now: datetime, key_check: str, *, up_to: int) -> list[DueEndpoint]:
    """Those that answer first, then those that wait longest. Only what can be signed with that key."""
    rows = tx.execute(
        """select e.id, e.failing_since is not null as failing, waiting.due
           from webhook_endpoints e cross join lateral (
               select count(*) as due, min(next_try_at) as since from (
                   select next_try_at from webhook_deliveries d
                   where d.endpoint_id = e.id and d.state = 'pending' and d.next_try_at <= %(now)s
                   order by d.next_try_at limit %(up_to)s) as first) as waiting
           where e.enabled and waiting.due > 0 and exists (
               select from webhook_secrets s
               where s.endpoint_id = e.id and s.expires_at is null and s.key_check = %(key_check)s)
           order by failing, waiting.since, e.id""",
        {"now": now, "key_check": key_check, "up_to": up_to},
    )
    return [DueEndpoint(**row) for row in rows]


def take_up(tx: Transaction, endpoint_id: str, *, now: datetime, until: datetime) -> Parcel | None:
    """The delivery to this endpoint that is due longest, leased until then; None where there is none.

    Counts as a try from here on: one that is never heard of again has been one, too.
    """
    row = tx.execute(
        """with taken as (
               update webhook_deliveries set tries = tries + 1, lease = %(lease)s, next_try_at = %(until)s,
                   first_tried_at = coalesce(first_tried_at, %(now)s), last_tried_at = %(now)s
               where id = (
                   select d.id from webhook_deliveries d
                   where d.endpoint_id = %(endpoint)s and d.state = 'pending' and d.next_try_at <= %(now)s
                     and exists (select from webhook_endpoints e where e.id = d.endpoint_id and e.enabled)
                   order by d.next_try_at limit 1 for update skip locked)
               returning id, lease, tries, first_tried_at, endpoint_id, event_id)
           select taken.id as delivery_id, taken.lease, taken.tries, taken.first_tried_at, taken.endpoint_id, p.url,
               e.id as event_id, e.organisation_id, e.type, e.at, e.data
           from taken join webhook_endpoints p on p.id = taken.endpoint_id
               join webhook_events e on e.id = taken.event_id""",
        {"endpoint": endpoint_id, "now": now, "until": until, "lease": uuid4()},
    ).fetchone()
    return _parcel(row) if row else None


def mark_delivered(tx: Transaction, delivery_id: str, lease: UUID, outcome: Outcome, now: datetime) -> bool:
    """False where the lease was lost meanwhile: somebody else has sent it too, and says what became of it."""
    update = """update webhook_deliveries set state = 'delivered', ended_at = %s, next_try_at = null, lease = null,
                    status = %s, message = null, response = %s where id = %s and lease = %s"""
    return tx.execute(update, [now, outcome.status, outcome.response, delivery_id, lease]).rowcount == 1


def mark_tried(tx: Transaction, delivery_id: str, lease: UUID, outcome: Outcome, next_try_at: datetime) -> bool:
    """It failed, and is tried again then. False as above."""
    update = """update webhook_deliveries set next_try_at = %s, lease = null, status = %s, message = %s, response = %s
                where id = %s and lease = %s"""
    given = [next_try_at, outcome.status, outcome.message, outcome.response, delivery_id, lease]
    return tx.execute(update, given).rowcount == 1


def mark_failed(tx: Transaction, delivery_id: str, lease: UUID, outcome: Outcome, now: datetime) -> bool:
    """It failed for the last time. False as above."""
    update = """update webhook_deliveries set state = 'failed', ended_at = %s, next_try_at = null, lease = null,
                    status = %s, message = %s, response = %s where id = %s and lease = %s"""
    given = [now, outcome.status, outcome.message, outcome.response, delivery_id, lease]
    return tx.execute(update, given).rowcount == 1


def give_up_on_disabled(tx: Transaction, *, disabled_before: datetime, now: datetime) -> int:
    """What waits for endpoints that have been disabled since before; how many deliveries that was."""
    update = """update webhook_deliveries d set state = 'failed', ended_at = %s, next_try_at = null, lease = null,
                    message = coalesce(message, 'the endpoint was disabled')
                from webhook_endpoints e
                where e.id = d.endpoint_id and not e.enabled and e.disabled_at < %s
                  and d.state = 'pending' and d.next_try_at <= %s"""
    return tx.execute(update, [now, disabled_before, now]).rowcount


def schedule(
    tx: Transaction, event: Event, *, endpoint_id: str | None, wanted_only: bool, now: datetime
) -> list[Delivery]:
    """Send it (again) to one endpoint, or to all that are enabled; what is waiting already is brought forward.

    `wanted_only`: to those whose filter takes it.
    """
    rows = tx.execute(
        f"""with d as (
                insert into webhook_deliveries as d (event_id, endpoint_id, organisation_id, next_try_at)
                select %(event)s, p.id, p.organisation_id, %(now)s from webhook_endpoints p
                where p.organisation_id = %(org)s and p.enabled and (%(endpoint)s::text is null or p.id = %(endpoint)s)
                  and (not %(wanted_only)s or webhook_takes(p.event_types, %(type)s))
                on conflict (event_id, endpoint_id) where state = 'pending' do update set next_try_at =
                    case when d.lease is null then least(d.next_try_at, excluded.next_try_at) else d.next_try_at end
                returning *)
            select {_DELIVERY} from d join webhook_events e on e.id = d.event_id order by d.id desc""",
        {
            "event": event.id,
            "org": event.organisation_id,
            "type": event.type,
            "endpoint": endpoint_id,
            "wanted_only": wanted_only,
            "now": now,
        },
    )
    return [_delivery(row) for row in rows]


def deliveries(tx: Transaction, which: DeliveryFilter) -> list[Delivery]:
    rows = tx.execute(
        f"""select {_DELIVERY} from webhook_deliveries d join webhook_events e on e.id = d.event_id
            where d.organisation_id = coalesce(%(org)s, d.organisation_id)
              and d.endpoint_id = coalesce(%(endpoint)s, d.endpoint_id)
              and d.event_id = coalesce(%(event)s, d.event_id) and d.state = coalesce(%(state)s, d.state)
              and (%(before)s::text is null or d.id < %(before)s)
            order by d.id desc limit %(limit)s""",
        {
            "org": which.organisation_id,
            "endpoint": which.endpoint_id,
            "event": which.event_id,
            "state": which.state,
            "before": which.before,
            "limit": which.limit,
        },
    )
    return [_delivery(row) for row in rows]


def delivery(tx: Transaction, delivery_id: str, *, organisation_id: str | None) -> Delivery | None:
    """`organisation_id`: only if it is theirs; None for operators."""
    row = tx.execute(
        f"""select {_DELIVERY} from webhook_deliveries d join webhook_events e on e.id = d.event_id
            where d.id = %(id)s and d.organisation_id = coalesce(%(org)s, d.organisation_id)""",
        {"id": delivery_id, "org": organisation_id},
    ).fetchone()
    return _delivery(row) if row else None


def not_signable(tx: Transaction, key_check: str) -> int:
    """Deliveries that wait for a deliverer with another key."""
    query = """select count(*) as n from webhook_deliveries d
               join webhook_endpoints p on p.id = d.endpoint_id and p.enabled
               where d.state = 'pending' and not exists (
                   select from webhook_secrets s
                   where s.endpoint_id = p.id and s.expires_at is null and s.key_check = %s)"""
    return int(one(tx, query, [key_check])["n"])


def _parcel(row: dict[str, Any]) -> Parcel:
    event = Event(
        id=row.pop("event_id"),
        organisation_id=row.pop("organisation_id"),
        type=row.pop("type"),
        at=row.pop("at"),
        data=row.pop("data"),
    )
    return Parcel(event=event, **row)


def _delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(**{**row, "state": DeliveryState(row["state"])})
