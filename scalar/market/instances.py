"""SQL of instances: one statement a function."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from scalar.database import Transaction, one
from scalar.ids import new_id
from scalar.market.model import Instance, InstanceState
from scalar.market.reconciling import Manned

ASK_LEASE = timedelta(minutes=2)
"""Longer than one call that creates a machine takes; who died while asking is taken over from after it."""

_INSTANCE = """id, sku, state, market_id, node_id, wanted_at, asked_at, asks, ask_leased_until, created_at, running_at,
    joined_at, ready_at, ended_at, until, end_asked_at, end_reason"""


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


def lease_wanted(tx: Transaction, now: datetime, *, limit: int) -> list[Instance]:
    """Machines to ask for, leased to the caller."""
    rows = tx.execute(
        f"""update instances set ask_leased_until = %(until)s
            where id in (select id from instances where state = 'wanted' and end_asked_at is null
                and (ask_leased_until is null or ask_leased_until <= %(now)s)
                order by wanted_at, id limit %(limit)s for update skip locked)
            returning {_INSTANCE}""",
        {"now": now, "until": now + ASK_LEASE, "limit": limit},
    )
    return sorted((_instance(row) for row in rows), key=lambda each: (each.wanted_at, each.id))


def count_ask(tx: Transaction, leased: Instance, now: datetime) -> Instance | None:
    """It is about to be asked for once more, by whoever has it leased; None where it isn't his any more."""
    row = tx.execute(
        f"""update instances set asks = asks + 1, asked_at = coalesce(asked_at, %(now)s), ask_leased_until = %(until)s
            where id = %(id)s and state = 'wanted' and end_asked_at is null and ask_leased_until = %(mine)s
            returning {_INSTANCE}""",
        {"id": leased.id, "mine": leased.ask_leased_until, "now": now, "until": now + ASK_LEASE},
    ).fetchone()
    return _instance(row) if row else None


def void_join_tokens(tx: Transaction, instance_id: str, now: datetime) -> None:
    """What came of earlier asks may not join any more."""
    tx.execute(
        "update join_tokens set expires_at = %(now)s where instance_id = %(id)s and expires_at > %(now)s",
        {"id": instance_id, "now": now},
    )


def release_ask(tx: Transaction, instance_id: str, ask: int) -> None:
    """Nothing can have come of this ask: the next may follow at once."""
    tx.execute("update instances set ask_leased_until = null where id = %s and asks = %s", [instance_id, ask])


def created(tx: Transaction, instance_id: str, market_id: str, *, ask: int, now: datetime) -> bool:
    """The market has what came of this ask, and its agent may have joined. False where that was known, or is void."""
    update = """update instances set state = case when state = 'wanted' then 'booting' else state end,
                    market_id = %(market_id)s, created_at = %(now)s, ask_leased_until = null
                where id = %(id)s and asks = %(ask)s and market_id is null and state <> 'ended'"""
    return tx.execute(update, {"id": instance_id, "market_id": market_id, "ask": ask, "now": now}).rowcount == 1


def runs(tx: Transaction, instance_id: str, now: datetime) -> None:
    tx.execute("update instances set running_at = coalesce(running_at, %s) where id = %s", [now, instance_id])


def joined(tx: Transaction, instance_id: str, node_id: str, now: datetime) -> None:
    """Its agent has called. It may have before the market's answer to its creation was written down."""
    tx.execute(
        "update instances set state = 'joined', node_id = %s, joined_at = %s where id = %s", [node_id, now, instance_id]
    )


def waits_at_gate(tx: Transaction, node_id: str) -> bool:
    """Whether this node's machine has joined, takes no work yet, and may; locked, since it is before its node."""
    row = tx.execute(
        """select i.id from instances i join nodes n on n.id = i.node_id
           where n.id = %s and n.state = 'checking' and i.end_asked_at is null for update of i""",
        [node_id],
    ).fetchone()
    return row is not None


def ready(tx: Transaction, node_id: str, now: datetime) -> None:
    tx.execute("update instances set ready_at = coalesce(ready_at, %s) where node_id = %s", [now, node_id])


def ask_end(tx: Transaction, instance_id: str, reason: str, now: datetime) -> None:
    """Nobody needs it any more: it takes no work and no seat from here on. The first reason stays."""
    tx.execute(
        """update instances set end_asked_at = %s, end_reason = %s
           where id = %s and end_asked_at is null and state <> 'ended'""",
        [now, reason, instance_id],
    )


def ended(tx: Transaction, instance_id: str, reason: str, now: datetime) -> bool:
    """False where it had ended already."""
    update = """update instances set state = 'ended', ended_at = %s, end_reason = coalesce(end_reason, %s),
                    ask_leased_until = null
                where id = %s and state <> 'ended'"""
    return tx.execute(update, [now, reason, instance_id]).rowcount == 1


def to_rank(tx: Transaction, ending_before: datetime) -> dict[str, bool]:
    """By the market's id: machines that are to yield to others from now on, or not to any more.

    Those yield whose time is up next of their kind, if it is by then; that are being ended; whose nodes a sale takes.
    """
    rows = tx.execute(
        """select market_id, not yields as yields from instances i
           where state <> 'ended' and market_id is not null and yields <> (
               until <= least(%s, (select min(until) from instances n where n.sku = i.sku and n.state <> 'ended'))
               or end_asked_at is not null
               or exists (select from orders o where o.ended_at is null and i.node_id = any(o.drained)))
           order by id""",
        [ending_before],
    )
    return {row["market_id"]: row["yields"] for row in rows}


def ranked(tx: Transaction, yields: Mapping[str, bool]) -> None:
    """The market knows."""
    tx.execute(
        """update instances i set yields = told.yields
           from unnest(%s::text[], %s::boolean[]) as told (market_id, yields) where i.market_id = told.market_id""",
        [list(yields), list(yields.values())],
    )


def manned(tx: Transaction) -> list[Manned]:
    """Live machines that have become nodes, and when these were last heard."""
    rows = tx.execute(
        """select i.id as instance_id, n.id as node_id, n.name as node_name, n.last_seen_at as heard_at
           from instances i join nodes n on n.id = i.node_id where i.state = 'joined' and n.state <> 'gone'
           order by i.id"""
    )
    return [Manned(**row) for row in rows]


def joined_and_gone(tx: Transaction) -> list[Instance]:
    """Machines whose node somebody has marked gone."""
    rows = tx.execute(
        f"""select {_INSTANCE} from instances where state = 'joined'
            and node_id in (select id from nodes where state = 'gone') order by id"""
    )
    return [_instance(row) for row in rows]


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
