"""What happens to an organisation's credit: each function is one deed, inside the caller's transaction.

    top_up, grant_credit ─► lots ─► draw: usage, as it is rated, is paid from them
                              └───► expire: what nobody used in time

Nobody waits for another in a circle: a posting takes its accounts by name, `draw` takes what is unbilled first and the
lots second, `expire` the company's credits and then the lots; and the lock on the account (`holds`) is taken after
everything else.
"""

from datetime import datetime, timedelta

from scalar.billing import wallet_store as store
from scalar.billing.credit import BillingAccount, Lot, LotKind, Position, Terms, cover
from scalar.billing.ledger import (
    CASH_STRIPE,
    CREDITS,
    Account,
    Entry,
    Posting,
    grant,
    move,
    netted,
    unbilled,
    wallet,
)
from scalar.billing.ledger_store import balance, post
from scalar.database import Channel, Transaction, notify
from scalar.errors import IdempotencyConflict, InvalidRequest
from scalar.ids import new_id

EXPIRY_SLACK = timedelta(hours=2)
"""What was used before a grant's time was over may still be rated, and paid from it."""


def account(tx: Transaction, organisation_id: str) -> BillingAccount | None:
    """None: invoiced, without a limit."""
    return store.account(tx, organisation_id)


def position(tx: Transaction, organisation_id: str, now: datetime) -> Position:
    return store.position(tx, organisation_id, now)


def available(tx: Transaction, organisation_id: str, now: datetime) -> int | None:
    """Micro-dollars that new jobs may hold; below zero: more is spent than there was. None: no limit."""
    return store.position(tx, organisation_id, now).available(store.account(tx, organisation_id))


def set_terms(
    tx: Transaction, organisation_id: str, terms: Terms, *, limit: int | None, grace: timedelta, now: datetime
) -> None:
    """Raises: `InvalidRequest` where a prepaid organisation is given a credit limit."""
    if terms is Terms.PREPAID and limit is not None:
        raise InvalidRequest("credit_limit: what is prepaid owes nothing; it goes with `invoiced`.")
    store.set_terms(tx, organisation_id, terms, limit=limit, grace=grace)
    watch(tx, organisation_id, now)


def top_up(
    tx: Transaction,
    organisation_id: str,
    micros: int,
    source: str,
    now: datetime,
    *,
    paid_into: Account = CASH_STRIPE,
    note: str = "",
) -> Lot:
    """Credit that was paid for, once a source. Raises: `IdempotencyConflict`."""
    made = store.insert_lot(
        tx, organisation_id, LotKind.PURCHASE, micros, source=source, expires_at=None, note=note, now=now
    )
    if made is None:
        return _earlier(tx, organisation_id, LotKind.PURCHASE, micros, source)
    entries = move(micros, debit=paid_into, credit=wallet(organisation_id))
    post(tx, Posting(source=f"lot/{source}", kind="top_up", at=now, entries=entries, description=note))
    watch(tx, organisation_id, now)
    return made


def grant_credit(
    tx: Transaction,
    organisation_id: str,
    micros: int,
    source: str,
    now: datetime,
    *,
    expires_at: datetime | None = None,
    note: str = "",
) -> Lot:
    """Credit that is given, once a source. Raises: `IdempotencyConflict`; `InvalidRequest` where it has expired."""
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("expires_at: that time is over already.")
    made = store.insert_lot(
        tx, organisation_id, LotKind.GRANT, micros, source=source, expires_at=expires_at, note=note, now=now
    )
    if made is None:
        return _earlier(tx, organisation_id, LotKind.GRANT, micros, source)
    entries = move(micros, debit=CREDITS, credit=grant(organisation_id))
    post(tx, Posting(source=f"lot/{source}", kind="grant", at=now, entries=entries, description=note))
    watch(tx, organisation_id, now)
    return made


def draw(tx: Transaction, organisation_id: str, at: datetime, *, used_at: datetime | None = None) -> int:
    """Pay for what is rated and not billed with the credit there is; the micro-dollars that were drawn.

    `at`: as the books see it. `used_at`: grants that had not expired by then pay for it, if that was before.
    Raises: `Conflict` where the month of `at` is closed.
    """
    owed = balance(tx, unbilled(organisation_id), for_update=True)
    lots = store.lots_left(tx, organisation_id, for_update=True) if owed > 0 else []
    parts = cover(owed, lots, used_at or at)
    if not parts:
        return 0
    source = f"draw/{new_id('draw')}"
    entries: list[Entry] = []
    for part in parts:
        paid_from = (wallet if part.lot.kind is LotKind.PURCHASE else grant)(organisation_id)
        entries += move(part.amount, debit=paid_from, credit=unbilled(organisation_id))
        store.use(tx, part.lot.id, part.amount)
        store.insert_draw(tx, part.lot, part.amount, at=at, ledger_source=source)
    post(tx, Posting(source=source, kind="draw", at=at, entries=netted(entries)))
    return sum(part.amount for part in parts)


def expire(tx: Transaction, now: datetime) -> int:
    """Write off what is left of grants whose time is over; the micro-dollars of it."""
    balance(tx, CREDITS, for_update=True)
    lots = store.expired_lots(tx, now - EXPIRY_SLACK)
    for lot in lots:
        store.write_off(tx, lot.id, lot.left)
        entries = move(lot.left, debit=grant(lot.organisation_id), credit=CREDITS)
        post(tx, Posting(source=f"expiry/{lot.id}", kind="expiry", at=now, entries=entries))
    return sum(lot.left for lot in lots)


def watch(tx: Transaction, organisation_id: str, now: datetime) -> bool:
    """Note since when nothing is left, or that something is again; True once the grace for its flex jobs is over."""
    seen = store.account(tx, organisation_id)
    if seen is None or not (seen.limited or seen.empty_since):
        return False
    left = store.position(tx, organisation_id, now).available(seen)
    if left is None or left >= 0:
        if seen.empty_since is not None:
            store.set_empty_since(tx, organisation_id, None)
            notify(tx, Channel.QUEUE, organisation_id)
        return False
    if seen.empty_since is None:
        store.set_empty_since(tx, organisation_id, now)
    return (seen.empty_since or now) + seen.grace <= now


def _earlier(tx: Transaction, organisation_id: str, kind: LotKind, micros: int, source: str) -> Lot:
    lot = store.lot_of(tx, source)
    if (lot.organisation_id, lot.kind, lot.amount) != (organisation_id, kind, micros):
        raise IdempotencyConflict("This idempotency key belongs to other credit. Use a new key for new credit.")
    return lot
