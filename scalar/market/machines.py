"""What happens to a machine of ours: each function is one deed, inside the caller's transaction.

take_seats ─► ask, and made ─► joins ─► passes the gate ─► works ─► last call ─► retire, and ended ─► off
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import SecretStr

from scalar.accounts import store as accounts
from scalar.accounts.keys import new_key
from scalar.accounts.store import audit
from scalar.capacity import fleet
from scalar.capacity import store as capacity
from scalar.capacity.model import NodeState
from scalar.database import Lock, Transaction, lock
from scalar.errors import Conflict
from scalar.jobs import store as jobs
from scalar.jobs.endings import TerminationReason
from scalar.jobs.life import stop_run
from scalar.market import instances, seats
from scalar.market.model import Instance
from scalar.market.seating import BOOT_LEAD, MoveOn, Sitter, Start, seat

BOOT_LIMIT = timedelta(minutes=20)
"""The market says up to ten minutes before SSH answers; a machine that takes twice as long is replaced."""
TRIES_A_SEAT = 3
"""After so many machines that never came, a person looks."""
LAST_CALL = timedelta(minutes=3)
"""So long before a node's time is up, what still runs on it is stopped and queued again, in order."""
YIELD_AHEAD = timedelta(minutes=30)
"""So long before its time is up, the market is told which machine is the next to be ended."""
_TOKEN_LIFE = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Seated:
    started: int
    moved_on: int
    given_up: tuple[str, ...]
    """Seats on which no machine ever comes, as `block/number`."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """`number`: of this try. `token`: what only the machine that comes of it joins with."""

    number: int
    token: SecretStr


def take_seats(tx: Transaction, now: datetime) -> Seated:
    """Every seat that is to be had gets a machine: one whose seat ends, or a new one."""
    # Nobody sells a seat meanwhile, and no machine ends.
    lock(tx, Lock.MARKET_SEATS)
    busy = instances.busy_instances(tx)
    sitters = [
        Sitter(instance_id=each.id, sku=each.sku, until=each.until, busy=each.id in busy)
        for each in instances.live_instances(tx)
        if each.end_asked_at is None
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


def ask(tx: Transaction, leased: Instance, now: datetime) -> Ask:
    """The market is about to be asked for it. What came, or comes yet, of earlier asks can't join any more.

    Raises: `Conflict` where it has joined, or somebody else asks for it by now; then nothing of it may be committed.
    """
    # Before the machine's row, as where one joins.
    instances.void_join_tokens(tx, leased.id, now)
    counted = instances.count_ask(tx, leased, now)
    if counted is None:
        raise Conflict(f"{leased.id} is not to be asked for any more, or not by us.")
    return Ask(number=counted.asks, token=new_join_token(tx, leased, now))


def new_join_token(tx: Transaction, instance: Instance, now: datetime) -> SecretStr:
    """Good for this machine only."""
    key = new_key("join")
    # Twice: a machine whose first answer was lost on the way asks again.
    accounts.create_join_token(tx, key, max_uses=2, expires_at=now + _TOKEN_LIFE, instance_id=instance.id)
    return SecretStr(key.secret)


def off(tx: Transaction, instance_id: str, reason: str, now: datetime) -> None:
    """The machine is known to run no more: its node is gone, its seat is free."""
    lock(tx, Lock.SCHEDULING_PASS)
    lock(tx, Lock.MARKET_SEATS)
    instance = instances.instance(tx, instance_id, for_update=True)
    if instance is None or not instances.ended(tx, instance_id, reason, now):
        return
    seats.leave(tx, instance_id, now)
    if instance.node_id is not None:
        fleet.mark_gone(tx, instance.node_id, "market", now)
    audit(tx, "market", "instance.end", instance_id, why=reason)


def to_end(tx: Transaction, now: datetime) -> dict[str, str]:
    """Machines whose time is up, that never came, came as something else, or are gone; and why."""
    live = instances.live_instances(tx)
    why = {each.id: _why_late(tx, each) for each in live if _overdue(each, now)}
    why |= {each.id: "its time was up" for each in live if each.until <= now}
    why |= {each.id: _why_late(tx, each) for each in instances.joined_unfit(tx)}
    why |= {each.id: "its node was marked gone" for each in instances.joined_and_gone(tx)}
    return why | {each.id: each.end_reason for each in live if each.end_reason is not None}


def retire(tx: Transaction, instance_id: str, now: datetime) -> Instance | None:
    """Looked at once more, and taken out of use before it is ended at the market; None where it is needed after all.

    It may have joined, taken a job or moved on to another seat since it was found: from here on, it can't.
    """
    lock(tx, Lock.SCHEDULING_PASS)
    lock(tx, Lock.MARKET_SEATS)
    instance = instances.instance(tx, instance_id, for_update=True)
    why = to_end(tx, now).get(instance_id)
    if instance is None or why is None:
        return None
    node = capacity.node(tx, instance.node_id) if instance.node_id is not None else None
    if node is not None and node.state is NodeState.READY:
        fleet.drain(tx, node.id, "market")
    if instance.end_asked_at is None:
        instances.ask_end(tx, instance_id, why, now)
        audit(tx, "scalar", "instance.retire", instance_id, why=why)
    return instances.instance(tx, instance_id)


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


def _overdue(instance: Instance, now: datetime) -> bool:
    """The market has it, and it takes no work after all that time. One that it has not given us yet is waited for."""
    if instance.created_at is None or instance.ready_at is not None:
        return False
    return now - (instance.running_at or instance.created_at + BOOT_LEAD) > BOOT_LIMIT


def _why_late(tx: Transaction, instance: Instance) -> str:
    if instance.running_at is None:
        return "the market never started it"
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
