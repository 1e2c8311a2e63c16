"""What happens to a machine of ours: each function is one deed, inside the caller's transaction.

take_seats ─► (asked for at the market) ─► joins ─► passes the gate ─► works ─► last call ─► off
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import SecretStr

from scalar.accounts import store as accounts
from scalar.accounts.keys import new_key
from scalar.accounts.store import audit
from scalar.capacity import fleet
from scalar.capacity import store as capacity
from scalar.database import Lock, Transaction, lock
from scalar.jobs import store as jobs
from scalar.jobs.endings import TerminationReason
from scalar.jobs.life import stop_run
from scalar.market import instances, seats
from scalar.market.model import Instance
from scalar.market.seating import MoveOn, Sitter, Start, seat

BOOT_LIMIT = timedelta(minutes=20)
"""The market says up to ten minutes before SSH answers; a machine that takes twice as long is replaced."""
TRIES_A_SEAT = 3
"""After so many machines that never came, a person looks."""
LAST_CALL = timedelta(minutes=3)
"""So long before a node's time is up, what still runs on it is stopped and queued again, in order."""
_TOKEN_LIFE = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Seated:
    started: int
    moved_on: int
    given_up: tuple[str, ...]
    """Seats on which no machine ever comes, as `block/number`."""


def take_seats(tx: Transaction, now: datetime) -> Seated:
    """Every seat that is to be had gets a machine: one whose seat ends, or a new one."""
    lock(tx, Lock.MARKET_SEATS)
    busy = instances.busy_instances(tx)
    sitters = [
        Sitter(instance_id=each.id, sku=each.sku, until=each.until, busy=each.id in busy)
        for each in instances.live_instances(tx)
    ]
    started, moved_on, given_up = 0, 0, []
    for decision in seat(seats.free_seats(tx, now), sitters, now):
        if isinstance(decision, MoveOn):
            seats.sit(tx, decision.instance_id, decision.seat)
            audit(tx, "scalar", "instance.move_on", decision.instance_id, **_shown(decision))
            moved_on += 1
        elif instances.failures_on(tx, decision.seat.block_id, decision.seat.number) >= TRIES_A_SEAT:
            given_up.append(f"{decision.seat.block_id}/{decision.seat.number}")
        else:
            instance_id = instances.want_instance(tx, decision.seat.sku, decision.seat.end, now)
            seats.sit(tx, instance_id, decision.seat)
            audit(tx, "scalar", "instance.want", instance_id, **_shown(decision))
            started += 1
    return Seated(started=started, moved_on=moved_on, given_up=tuple(given_up))


def new_join_token(tx: Transaction, instance: Instance, now: datetime) -> SecretStr:
    """Good for this machine only."""
    key = new_key("join")
    # Twice: a machine whose first answer was lost on the way asks again.
    accounts.create_join_token(tx, key, max_uses=2, expires_at=now + _TOKEN_LIFE, instance_id=instance.id)
    return SecretStr(key.secret)


def off(tx: Transaction, instance_id: str, reason: str, now: datetime) -> None:
    """The machine is known to run no more: its node is gone, its seat is free."""
    # The order of locks is everyone's: the pass, then rows.
    lock(tx, Lock.SCHEDULING_PASS)
    instance = instances.instance(tx, instance_id, for_update=True)
    if instance is None or not instances.ended(tx, instance_id, reason, now):
        return
    seats.leave(tx, instance_id, now)
    if instance.node_id is not None:
        fleet.mark_gone(tx, instance.node_id, "market", now)
    audit(tx, "market", "instance.end", instance_id, why=reason)


def unfit(tx: Transaction, now: datetime) -> list[tuple[Instance, str]]:
    """Machines that never came, or came as something else than was bought, and why: their seats need others."""
    overdue = [
        each
        for each in instances.live_instances(tx)
        if each.running_at is not None and each.ready_at is None and now - each.running_at > BOOT_LIMIT
    ]
    wrong = [(each, why) for each in instances.joined_unfit(tx) if (why := _why_unfit(tx, each))]
    return wrong + [(each, _why_unfit(tx, each)) for each in overdue if each not in [one for one, _ in wrong]]


def call_time(tx: Transaction, now: datetime) -> list[str]:
    """Runs that would outlast their nodes, whose time is nearly up, are stopped in order and queued again."""
    called = []
    for node_id, until in capacity.nodes_ending(tx, now + LAST_CALL):
        lock(tx, Lock.SCHEDULING_PASS)
        for run_id in capacity.lock_active_runs_on(tx, node_id, outlasting=until):
            run = jobs.run(tx, run_id, for_update=True)
            if run is not None and run.stop_reason is None:
                stop_run(tx, run, TerminationReason.BLOCK_ENDED, now)
                called.append(run_id)
    return called


def over(tx: Transaction, now: datetime) -> list[Instance]:
    """Machines whose last seat has ended."""
    return [each for each in instances.live_instances(tx) if each.until <= now]


def _why_unfit(tx: Transaction, instance: Instance) -> str:
    if instance.node_id is None:
        return "its agent never called"
    return capacity.unfit(tx, instance.node_id) or "its agent joined and was not heard again"


def _shown(decision: MoveOn | Start) -> dict[str, object]:
    place = decision.seat
    return {
        "block": place.block_id,
        "seat": place.number,
        "from": place.start.isoformat(),
        "until": place.end.isoformat(),
    }
