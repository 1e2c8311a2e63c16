"""SQL of reservations, and of what is owned and used from now on: one statement a function."""

from datetime import datetime, timedelta
from typing import Any

from scalar.capacity.holds import FOREVER, Supply, Use
from scalar.capacity.model import SILENT_AFTER, Reservation
from scalar.database import Transaction, one
from scalar.ids import new_id

_RESERVATION = """id, organisation_id, gpu_type, gpus, starts_at as start, ends_at as "end", created_at, released_at"""
_STOPPING = timedelta(minutes=1)
"""A run that is past its time is being stopped: its GPUs are not free yet."""


def insert_reservation(
    tx: Transaction, wanted: Reservation, *, created_by: str, idempotency_key: str | None
) -> Reservation:
    """Under a new id, whatever the id that was wanted."""
    row = one(
        tx,
        f"""insert into reservations (id, organisation_id, gpu_type, gpus, starts_at, ends_at, created_by,
                idempotency_key, created_at)
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s) returning {_RESERVATION}""",
        [
            new_id("res"),
            wanted.organisation_id,
            wanted.gpu_type,
            wanted.gpus,
            wanted.start,
            wanted.end,
            created_by,
            idempotency_key,
            wanted.created_at,
        ],
    )
    return Reservation(**row)


def reservation(tx: Transaction, reservation_id: str, *, organisation_id: str | None) -> Reservation | None:
    """`organisation_id`: only if it is theirs; None for operators."""
    row = tx.execute(
        f"""select {_RESERVATION} from reservations
            where id = %(id)s and organisation_id = coalesce(%(org)s, organisation_id)""",
        {"id": reservation_id, "org": organisation_id},
    ).fetchone()
    return Reservation(**row) if row else None


def reservation_of_key(tx: Transaction, organisation_id: str, idempotency_key: str | None) -> Reservation | None:
    row = tx.execute(
        f"select {_RESERVATION} from reservations where organisation_id = %s and idempotency_key = %s",
        [organisation_id, idempotency_key],
    ).fetchone()
    return Reservation(**row) if row else None


def held(tx: Transaction, now: datetime, *, organisation_id: str | None = None) -> list[Reservation]:
    """Those that are neither over nor released, by start. `organisation_id`: only theirs."""
    rows = tx.execute(
        f"""select {_RESERVATION} from reservations
            where released_at is null and ends_at > %(now)s and organisation_id = coalesce(%(org)s, organisation_id)
            order by starts_at, id""",
        {"now": now, "org": organisation_id},
    )
    return [Reservation(**row) for row in rows]


def reservations(tx: Transaction, *, organisation_id: str | None, before: str | None, limit: int) -> list[Reservation]:
    """All that ever were, newest first, from the one after `before` on."""
    rows = tx.execute(
        f"""select {_RESERVATION} from reservations
            where organisation_id = coalesce(%(org)s, organisation_id) and (%(before)s::text is null or id < %(before)s)
            order by id desc limit %(limit)s""",
        {"org": organisation_id, "before": before, "limit": limit},
    )
    return [Reservation(**row) for row in rows]


def release(tx: Transaction, reservation_id: str, now: datetime) -> bool:
    """False where it had been released before."""
    update = "update reservations set released_at = %s where id = %s and released_at is null"
    return tx.execute(update, [now, reservation_id]).rowcount == 1


def supply_of_nodes(tx: Transaction, now: datetime) -> list[Supply]:
    """Every node that is ours, until its block ends."""
    rows = tx.execute(
        """select n.id as node_id, n.gpu_type, n.gpus, n.available_until, i.sku,
               n.state in ('ready', 'checking') and n.unfit is null and n.last_seen_at >= %(seen)s as usable
           from nodes n left join instances i on i.node_id = n.id
           where n.state <> 'gone' and n.gpus > 0 and (n.available_until is null or n.available_until > %(now)s)
           order by n.id""",
        {"now": now, "seen": now - SILENT_AFTER},
    )
    return [
        Supply(
            node_id=row["node_id"],
            gpu_type=row["gpu_type"],
            gpus=row["gpus"],
            sku=row["sku"],
            start=now,
            end=row["available_until"] or FOREVER,
            usable=row["usable"],
        )
        for row in rows
    ]


def boots(tx: Transaction, now: datetime) -> list[dict[str, Any]]:
    """Of each machine that has a seat and hasn't joined: sku, start and end of the time that it has."""
    return tx.execute(
        """select i.sku, min(lower(s.during)) as start, max(upper(s.during)) as end
           from seatings s join instances i on i.id = s.instance_id
           where i.state in ('wanted', 'booting')
           group by i.id, i.sku having max(upper(s.during)) > %s order by i.id""",
        [now],
    ).fetchall()


def uses(tx: Transaction, now: datetime) -> list[Use]:
    """What runs have now, until they are over at the latest; unbounded ones, and all others, until their node's end."""
    rows = tx.execute(
        """select a.node_id, j.organisation_id, count(*) as gpus, least(n.available_until,
               case when j.max_runtime_seconds is not null then greatest(%(soonest)s,
                   coalesce(r.started_at, r.placed_at) + make_interval(secs => j.max_runtime_seconds)) end) as until
           from gpu_assignments a join nodes n on n.id = a.node_id join job_runs r on r.id = a.run_id
               join jobs j on j.id = r.job_id
           where upper_inf(a.during) group by a.node_id, n.available_until, r.id, j.id order by r.id, a.node_id""",
        {"soonest": now + _STOPPING},
    )
    return [Use(**{**row, "until": row["until"] or FOREVER}) for row in rows]
