"""SQL of instances: one statement a function."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from scalar.database import Transaction, one
from scalar.ids import new_id
from scalar.market.model import Instance, InstanceState

ASK_LEASE = timedelta(seconds=60)
"""Longer than asking for a machine takes, with all its tries; who died while asking is taken over from after it."""

_INSTANCE = """id, sku, state, market_id, node_id, wanted_at, asked_at, running_at, joined_at, ready_at, ended_at,
    until, end_reason"""


def want_instance(tx: Transaction, sku: str, until: datetime, now: datetime) -> str:
    row = one(
        tx,
        "insert into instances (id, sku, wanted_at, until) values (%s, %s, %s, %s) returning id",
        [new_id("gpu"), sku, now, until],
    )
    return str(row["id"])


def instance(tx: Transaction, instance_id: str, *, for_update: bool = False) -> Instance | None:
    lock = "for update" if for_update else ""
    row = tx.execute(f"select {_INSTANCE} from instances where id = %s {lock}", [instance_id]).fetchone()
    return _instance(row) if row else None


def live_instances(tx: Transaction) -> list[Instance]:
    rows = tx.execute(f"select {_INSTANCE} from instances where state <> 'ended' order by wanted_at, id")
    return [_instance(row) for row in rows]


def busy_instances(tx: Transaction) -> set[str]:
    """Machines on which something runs."""
    rows = tx.execute(
        """select i.id from instances i where i.state <> 'ended'
           and exists (select from run_tasks t where t.node_id = i.node_id and t.state <> 'ended')"""
    )
    return {row["id"] for row in rows}


def instance_of_node(tx: Transaction, node_id: str) -> Instance | None:
    row = tx.execute(f"select {_INSTANCE} from instances where node_id = %s", [node_id]).fetchone()
    return _instance(row) if row else None


def lease_wanted(tx: Transaction, now: datetime, *, limit: int) -> list[tuple[Instance, bool]]:
    """Machines to ask for, leased to the caller; True: it may have been asked for before."""
    rows = tx.execute(
        f"""with leased as (
                select id, asked_at is not null as again from instances where state = 'wanted'
                and (ask_leased_until is null or ask_leased_until <= %(now)s)
                order by wanted_at, id limit %(limit)s for update skip locked)
            update instances i set ask_leased_until = %(until)s, asked_at = coalesce(asked_at, %(now)s)
            from leased where leased.id = i.id
            returning leased.again, {", ".join(f"i.{column.strip()}" for column in _INSTANCE.split(","))}""",
        {"now": now, "until": now + ASK_LEASE, "limit": limit},
    )
    return [(_instance({k: v for k, v in row.items() if k != "again"}), row["again"]) for row in rows]


def release_ask(tx: Transaction, instance_id: str) -> None:
    tx.execute("update instances set ask_leased_until = null where id = %s", [instance_id])


def created(tx: Transaction, instance_id: str, market_id: str) -> None:
    """The market has it."""
    tx.execute(
        """update instances set state = 'booting', market_id = %s, ask_leased_until = null
           where id = %s and state = 'wanted'""",
        [market_id, instance_id],
    )


def runs(tx: Transaction, instance_id: str, now: datetime) -> None:
    tx.execute("update instances set running_at = coalesce(running_at, %s) where id = %s", [now, instance_id])


def joined(tx: Transaction, instance_id: str, node_id: str, now: datetime) -> None:
    """Its agent has called. It may have before the market's answer to its creation was written down."""
    tx.execute(
        "update instances set state = 'joined', node_id = %s, joined_at = %s where id = %s", [node_id, now, instance_id]
    )


def ready(tx: Transaction, node_id: str, now: datetime) -> None:
    tx.execute("update instances set ready_at = coalesce(ready_at, %s) where node_id = %s", [now, node_id])


def ended(tx: Transaction, instance_id: str, reason: str, now: datetime) -> bool:
    """False where it had ended already."""
    update = """update instances set state = 'ended', ended_at = %s, end_reason = %s, ask_leased_until = null
                where id = %s and state <> 'ended'"""
    return tx.execute(update, [now, reason, instance_id]).rowcount == 1


def joined_unfit(tx: Transaction) -> list[Instance]:
    """Nodes that came as something else than was bought."""
    rows = tx.execute(
        f"""select {_INSTANCE} from instances where state = 'joined'
            and node_id in (select id from nodes where state = 'checking' and unfit is not null) order by id"""
    )
    return [_instance(row) for row in rows]


def market_ids_of_nodes(tx: Transaction, node_ids: Sequence[str]) -> list[str]:
    rows = tx.execute(
        "select market_id from instances where node_id = any(%s) and market_id is not null order by id",
        [list(node_ids)],
    )
    return [row["market_id"] for row in rows]


def failures_on(tx: Transaction, block_id: str, seat: int) -> int:
    """How many machines never became a node on this seat, since the last that did."""
    row = one(
        tx,
        """select count(*) as n from instances i join seatings s on s.instance_id = i.id
           where s.block_id = %(block)s and s.seat = %(seat)s and i.state = 'ended' and i.ready_at is null
             and i.wanted_at > coalesce((select max(j.wanted_at) from instances j
                 join seatings t on t.instance_id = j.id
                 where t.block_id = %(block)s and t.seat = %(seat)s and j.ready_at is not null), '-infinity')""",
        {"block": block_id, "seat": seat},
    )
    return int(row["n"])


def _instance(row: dict[str, Any]) -> Instance:
    return Instance(**{**row, "state": InstanceState(row["state"])})
