"""What Stripe tells us: stored once and answered at once, handled afterwards, each by looking what is there now.

So nothing depends on their order, on how often they come, or how late. Those of things that aren't ours are noted.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from scalar.billing import turns
from scalar.billing.stripe_answers import StripeEvent
from scalar.billing.stripe_errors import StripeRefused
from scalar.billing.stripe_following import NOTHING_TO_DO, follow
from scalar.billing.till import Done, Till, pause_after
from scalar.database import Transaction

_AT_ONCE = 100
_KEPT = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    event: StripeEvent
    tries: int


def store_event(tx: Transaction, event: StripeEvent, now: datetime) -> bool:
    """False where it has come before."""
    stored = tx.execute(
        """insert into stripe_events (id, type, object_type, object_id, created_at, received_at)
           values (%s, %s, %s, %s, %s, %s) on conflict do nothing""",
        [event.id, event.type, event.object_type, event.object_id, event.created_at, now],
    )
    return stored.rowcount == 1


def handle_events(till: Till, *, seconds: float = turns.SECONDS) -> Done:
    """Those that wait; of those about the same thing, one look is enough."""
    waiting = turns.Waiting(
        lease=_lease, work=partial(_handle, {}), put_off=_put_off, name=lambda each: each.event.id, at_most=_AT_ONCE
    )
    return turns.take(till, waiting, seconds=seconds)


def clean_up(tx: Transaction, now: datetime) -> int:
    """Stripe sends none again after 30 days; those that were handled long ago are deleted."""
    gone = "delete from stripe_events where handled_at is not null and received_at < %s"
    return tx.execute(gone, [now - _KEPT]).rowcount


def waiting_events(tx: Transaction, before: datetime) -> int:
    """How many that came before then are still not handled."""
    row = tx.execute(
        "select count(*) as n from stripe_events where handled_at is null and received_at < %s", [before]
    ).fetchone()
    return int(row["n"]) if row else 0


def _handle(seen: dict[tuple[str, str | None], str], till: Till, each: StoredEvent) -> None:
    event = each.event
    about = (event.object_type, event.object_id)
    try:
        outcome = seen.get(about) or follow(till, event.object_type, event.object_id, event.type)
    except StripeRefused as error:
        outcome = f"refused: {error.message}"
    if outcome != NOTHING_TO_DO and event.type != "customer.deleted":
        seen[about] = outcome
    with till.transact() as tx:
        tx.execute(
            "update stripe_events set handled_at = %s, outcome = %s where id = %s",
            [till.clock(), outcome[:500], event.id],
        )


def _put_off(till: Till, each: StoredEvent, _: Exception) -> None:
    with till.transact() as tx:
        tx.execute(
            "update stripe_events set not_before = %s where id = %s",
            [till.clock() + pause_after(each.tries), each.event.id],
        )


def _lease(tx: Transaction, now: datetime, until: datetime, limit: int) -> list[StoredEvent]:
    rows = tx.execute(
        """update stripe_events set not_before = %(until)s, tries = tries + 1 where id in (
               select id from stripe_events where handled_at is null and not_before <= %(now)s
               order by created_at, id limit %(limit)s for no key update skip locked)
           returning id, type, object_type, object_id, created_at, tries""",
        {"now": now, "until": until, "limit": limit},
    ).fetchall()
    rows.sort(key=lambda row: (row["created_at"], row["id"]))
    return [StoredEvent(tries=row.pop("tries"), event=StripeEvent(**row)) for row in rows]
