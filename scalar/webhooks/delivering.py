"""Deliver what is due: take one up in a short transaction, send it outside of any, write down what became of it.

Any number of deliverers may do so at the same time. Who takes a delivery up has it leased for a minute, six times as
long as sending can take; who dies with it is taken over from after that, and what they may have sent is sent again,
under the same id. Endpoints that answer go first, and one that has just failed gets nothing else in the same turn: it
can hold up a thread for ten seconds, and no more.
"""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from scalar.accounts.store import audit
from scalar.database import Transaction
from scalar.webhooks import deliveries_store as deliveries
from scalar.webhooks import endpoints_store as endpoints
from scalar.webhooks import outbox, retrying, signing
from scalar.webhooks.deliveries_store import DueEndpoint
from scalar.webhooks.model import KEPT, Outcome, Parcel
from scalar.webhooks.sending import Sender

LEASE = timedelta(seconds=60)
_AT_ONCE = 4
"""Deliveries to one endpoint at one time, by one deliverer; one only where it is failing."""
_DELETED_AT_ONCE = 5_000
log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Courier:
    """What delivering needs."""

    transact: Callable[[], AbstractContextManager[Transaction]]
    clock: Callable[[], datetime]
    sender: Sender
    key: bytes = field(repr=False)
    """`WebhookSettings.key`."""
    chance: Callable[[], float] = random.random
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set it, and nothing more is taken up."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    delivered: int = 0
    retried: int = 0
    """Failed, to be tried again."""
    given_up: int = 0
    lost: int = 0
    """Somebody else had taken them over."""


def deliver_due(courier: Courier, *, threads: int = 8, seconds: float = 15.0) -> Tally:
    """One turn: what is due, until nothing is or `seconds` have passed (those under way are finished)."""
    now = courier.clock()
    with courier.transact() as tx:
        due = deliveries.due_endpoints(tx, now, signing.key_check(courier.key), up_to=_AT_ONCE)
    lanes = [each for each in due for _ in range(1 if each.failing else each.due)]
    if not lanes:
        return Tally()
    until = now + timedelta(seconds=seconds)
    with ThreadPoolExecutor(min(threads, len(lanes)), "webhooks") as pool:
        done = Counter(word for words in pool.map(lambda lane: _lane(courier, lane, until), lanes) for word in words)
    return Tally(**done)


def clean_up(tx: Transaction, now: datetime) -> int:
    """Old events, secrets that are over, and what waits for endpoints that were disabled a day ago; how many events."""
    deliveries.give_up_on_disabled(tx, disabled_before=now - retrying.PATIENCE, now=now)
    endpoints.delete_expired_secrets(tx, now)
    return outbox.delete_events(
        tx,
        before=now - KEPT,
        even_pending_before=now - KEPT - 2 * retrying.PATIENCE,
        limit=_DELETED_AT_ONCE,
    )


def deliver_next(courier: Courier, endpoint_id: str) -> str | None:
    """One delivery to that endpoint; the field of `Tally` that it counts in, None where none is due."""
    now = courier.clock()
    with courier.transact() as tx:
        seeds = endpoints.seeds(tx, endpoint_id, signing.key_check(courier.key), now)
        parcel = deliveries.take_up(tx, endpoint_id, now=now, until=now + LEASE) if seeds else None
    if parcel is None:
        return None
    if courier.clock() - now > LEASE / 2:
        # Held up for so long, it might still be sending when the lease is another's.
        return "lost"
    outcome = _send(courier, parcel, seeds, now)
    with courier.transact() as tx:
        word = _record(tx, parcel, outcome, courier.clock(), courier.chance())
    log.info(
        "webhook.tried",
        outcome=word,
        delivery_id=parcel.delivery_id,
        endpoint_id=endpoint_id,
        event_id=parcel.event.id,
        tries=parcel.tries,
        status=outcome.status,
        message=outcome.message,
    )
    return word


def _lane(courier: Courier, endpoint: DueEndpoint, until: datetime) -> list[str]:
    words: list[str] = []
    while courier.clock() < until and not courier.stopping.is_set():
        word = deliver_next(courier, endpoint.id)
        if word is not None:
            words.append(word)
        if word != "delivered":
            break
    return words


def _send(courier: Courier, parcel: Parcel, seeds: list[bytes], at: datetime) -> Outcome:
    body = json.dumps(outbox.payload(parcel.event), separators=(",", ":")).encode()
    secrets = [signing.secret_of(seed, courier.key) for seed in seeds]
    headers = signing.signed_headers(secrets, id=parcel.event.id, at=at, body=body)
    try:
        return courier.sender.post(parcel.url, {"User-Agent": "Scalar-Webhooks/1", **headers}, body)
    except Exception:
        # Else it would be taken up anew each minute, for ever.
        log.exception("webhook.broken", delivery_id=parcel.delivery_id)
        return Outcome(status=None, message="it could not be sent, by a fault of ours")


def _record(tx: Transaction, parcel: Parcel, outcome: Outcome, now: datetime, chance: float) -> str:
    """The endpoint is locked before its delivery, as whoever deletes it does."""
    if outcome.delivered:
        endpoints.mark_well(tx, parcel.endpoint_id)
        held = deliveries.mark_delivered(tx, parcel.delivery_id, parcel.lease, outcome, now)
        return "delivered" if held else "lost"
    since = endpoints.mark_failing(tx, parcel.endpoint_id, now)
    then = retrying.next_try(parcel.tries, first=parcel.first_tried_at, now=now, chance=chance)
    if then is not None and not outcome.gone:
        held = deliveries.mark_tried(tx, parcel.delivery_id, parcel.lease, outcome, then)
        return "retried" if held else "lost"
    _disable_if_dead(tx, parcel.endpoint_id, since, outcome, now)
    held = deliveries.mark_failed(tx, parcel.delivery_id, parcel.lease, outcome, now)
    return "given_up" if held else "lost"


def _disable_if_dead(
    tx: Transaction, endpoint_id: str, since: datetime | None, outcome: Outcome, now: datetime
) -> None:
    if outcome.gone:
        reason = "it answered 410 Gone: it wants no more"
    elif since is not None and retrying.is_dead(since, now):
        reason = f"it has taken nothing since {since:%Y-%m-%d %H:%M} UTC; last: {outcome.message}"
    else:
        return
    if endpoints.disable(tx, endpoint_id, reason, now):
        audit(tx, "webhooks", "webhook_endpoint.disable", endpoint_id, reason=reason)
