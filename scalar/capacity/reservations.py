"""GPUs kept for an organisation: what is done about reservations, each in the caller's transaction.

    reserve ─► (the pass leaves them free: `holds`) ─► the organisation's jobs take them ─► release, or its end

A reservation is accepted whole or not at all, one decision at a time, and never while a pass decides.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scalar.accounts import store as accounts
from scalar.accounts.model import Organisation, Principal
from scalar.capacity import reservations_store as store
from scalar.capacity.calendar import Lack, lacks, most_reserved
from scalar.capacity.holds import Outlook, Supply, holds, joined_up, short_of
from scalar.capacity.model import Hold, Reservation
from scalar.database import Channel, Lock, Transaction, lock, notify
from scalar.errors import Conflict, Forbidden, IdempotencyConflict, InvalidRequest, NotFound, Unsatisfiable
from scalar.market.seats import free_seats
from scalar.market.store import skus

LATE = timedelta(minutes=5)
"""How far back a start may lie: requests take their time, and clocks differ."""
FARTHEST = timedelta(days=366)


@dataclass(frozen=True, kw_only=True)
class ReservationRequest:
    gpu_type: str
    gpus: int
    start: datetime
    end: datetime
    organisation: str | None = None
    """Its id or name; None: the caller's own."""


@dataclass(frozen=True, kw_only=True)
class Reserved:
    reservation: Reservation
    created: bool
    """False: the same request was accepted before, and this is its reservation."""


def reserve(
    tx: Transaction, asked: ReservationRequest, caller: Principal, idempotency_key: str | None, now: datetime
) -> Reserved:
    """Keep GPUs, once per idempotency key.

    Raises: `Conflict` with the times that lack, or over the quota; `Unsatisfiable` where there is no such GPU;
    `InvalidRequest`, `IdempotencyConflict`, `Forbidden`, `NotFound`.
    """
    organisation = _organisation(tx, asked.organisation, caller)
    lock(tx, Lock.SCHEDULING_PASS)
    wanted = Reservation(
        id="",
        organisation_id=organisation.id,
        gpu_type=asked.gpu_type,
        gpus=asked.gpus,
        start=asked.start,
        end=asked.end,
        created_at=now,
        released_at=None,
    )
    earlier = store.reservation_of_key(tx, organisation.id, idempotency_key)
    if earlier is not None:
        return _same(earlier, wanted)
    _refuse_odd_times(asked, now)
    _refuse_over_quota(tx, wanted, organisation, now)
    _refuse_without_room(outlook(tx, now), wanted)
    made = store.insert_reservation(tx, wanted, created_by=caller.key_id, idempotency_key=idempotency_key)
    accounts.audit(tx, caller.actor, "reservation.create", made.id, organisation_id=organisation.id, gpus=made.gpus)
    return Reserved(reservation=made, created=True)


def release(
    tx: Transaction, reservation_id: str, *, organisation_id: str | None, actor: str, now: datetime
) -> Reservation:
    """Let others have what was kept; what runs there runs on. Repeats are no-ops. Raises: `NotFound`."""
    if _existing(tx, reservation_id, organisation_id).released_at is None:
        lock(tx, Lock.SCHEDULING_PASS)
        if store.release(tx, reservation_id, now):
            accounts.audit(tx, actor, "reservation.release", reservation_id)
            notify(tx, Channel.QUEUE, reservation_id)
    return _existing(tx, reservation_id, organisation_id)


def outlook(tx: Transaction, now: datetime) -> Outlook:
    """Everything that is known of the time from now on."""
    supplies = joined_up([*store.supply_of_nodes(tx, now), *_bought(tx, now)])
    ours = {each.node_id for each in supplies}
    used = [each for each in store.uses(tx, now) if each.node_id in ours]
    return Outlook(now=now, supplies=supplies, uses=used, reservations=store.held(tx, now))


def holds_now(tx: Transaction, now: datetime) -> tuple[Hold, ...]:
    """For a pass: what reservations need; no more than a glance where there are none."""
    return holds(outlook(tx, now)) if store.held(tx, now) else ()


def _bought(tx: Transaction, now: datetime) -> list[Supply]:
    """Nodes that were bought and haven't joined: seats that are free, and those whose machine is on its way."""
    kinds = {sku.id: sku for sku in skus(tx)}
    spans = [(seat.sku, seat.start, seat.end) for seat in free_seats(tx, now) if seat.end > now]
    spans += [(row["sku"], row["start"], row["end"]) for row in store.boots(tx, now)]
    return [
        Supply(sku=sku, gpu_type=kinds[sku].gpu_type, gpus=kinds[sku].gpus_per_node, start=max(start, now), end=end)
        for sku, start, end in spans
        if sku in kinds
    ]


def _organisation(tx: Transaction, named: str | None, caller: Principal) -> Organisation:
    if named is None and caller.organisation_id is None:
        raise InvalidRequest("organisation: say whose reservation it is, by its id or name.")
    found = accounts.organisation_called(tx, named or str(caller.organisation_id))
    if caller.organisation_id is not None and (found is None or found.id != caller.organisation_id):
        raise Forbidden("A customer's key reserves for its own organisation.")
    if found is None:
        raise NotFound("There is no such organisation.")
    return found


def _same(earlier: Reservation, wanted: Reservation) -> Reserved:
    if replace(earlier, id="", created_at=wanted.created_at, released_at=None) != wanted:
        raise IdempotencyConflict(
            f"This idempotency key belongs to {earlier.id}, which was another request. Use a new key for a new one.",
            reservation_id=earlier.id,
        )
    return Reserved(reservation=earlier, created=False)


def _refuse_odd_times(asked: ReservationRequest, now: datetime) -> None:
    if asked.start >= asked.end:
        raise InvalidRequest("end: a reservation ends after it starts.")
    if asked.start < now - LATE or asked.end <= now:
        raise InvalidRequest("start: this is past.")
    if asked.end > now + FARTHEST:
        raise InvalidRequest(f"end: GPUs can be reserved for the next {FARTHEST.days} days.")


def _refuse_over_quota(tx: Transaction, wanted: Reservation, organisation: Organisation, now: datetime) -> None:
    if organisation.max_gpus is None:
        return
    own = [*store.held(tx, now, organisation_id=organisation.id), wanted]
    most = most_reserved(own, wanted.start, wanted.end)
    if most > organisation.max_gpus:
        raise Conflict(
            f"The quota is {organisation.max_gpus} GPUs; with this, {most} would be reserved at one time.",
            quota=organisation.max_gpus,
            reserved=most,
        )


def _refuse_without_room(seen: Outlook, wanted: Reservation) -> None:
    owned = {each.gpu_type for each in seen.supplies}
    if wanted.gpu_type not in owned:
        known = ", ".join(sorted(owned)) or "none"
        raise Unsatisfiable(f"We own no GPUs of type {wanted.gpu_type!r}. There are: {known}.")
    lacking = lacks(seen, wanted)
    if lacking:
        raise Conflict(_said(wanted, lacking), hours=[_shown(each) for each in lacking])
    short = short_of(holds(replace(seen, reservations=[*seen.reservations, wanted])), wanted)
    if short:
        lasting = max(wanted.gpus - short, 0)
        raise Conflict(
            f"{wanted.gpus} GPUs are free at each moment of that time, but only {lasting} that last through it."
            " Ask for fewer, or for a shorter time.",
            hours=[_shown(Lack(start=wanted.start, end=wanted.end, free=lasting))],
        )


def _said(wanted: Reservation, lacking: list[Lack]) -> str:
    times = "; ".join(
        f"{each.free} from {each.start:%Y-%m-%d %H:%M} to {each.end:%Y-%m-%d %H:%M}" for each in lacking[:5]
    )
    more = f", and {len(lacking) - 5} more times" if len(lacking) > 5 else ""
    return f"{wanted.gpus} {wanted.gpu_type} GPUs are not free in all of that time. Free are only (UTC): {times}{more}."


def _shown(lack: Lack) -> dict[str, object]:
    return {"start": lack.start.isoformat(), "end": lack.end.isoformat(), "free": lack.free}


def _existing(tx: Transaction, reservation_id: str, organisation_id: str | None) -> Reservation:
    found = store.reservation(tx, reservation_id, organisation_id=organisation_id)
    if found is None:
        raise NotFound("There is no such reservation.")
    return found
