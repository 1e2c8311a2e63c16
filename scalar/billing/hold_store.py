"""SQL of holds: one statement a function."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from scalar.database import Transaction


def put(tx: Transaction, job_id: str, amount: int, now: datetime) -> None:
    """Hold so much for a job, whatever was held for it before."""
    tx.execute(
        """insert into holds (job_id, organisation_id, key_id, project, amount, made_at)
           select id, organisation_id, created_by, labels ->> 'project', %s, %s from jobs where id = %s
           on conflict (job_id) do update set amount = excluded.amount, made_at = excluded.made_at,
               settled_at = null, last_hour = null, released_at = null""",
        [amount, now, job_id],
    )


def raise_to(tx: Transaction, job_id: str, amount: int) -> None:
    """Hold at least so much."""
    tx.execute("update holds set amount = %s where job_id = %s and amount < %s", [amount, job_id, amount])


def settle(tx: Transaction, job_id: str, amount: int, last_hour: datetime | None, now: datetime) -> None:
    """The job has ended, and cost so much. What was settled before stays."""
    tx.execute(
        """update holds set amount = %(amount)s, settled_at = %(now)s, last_hour = %(last_hour)s,
               released_at = case when %(amount)s = 0 then %(now)s::timestamptz end
           where job_id = %(job)s and settled_at is null""",
        {"job": job_id, "amount": amount, "last_hour": last_hour, "now": now},
    )


def release_rated(tx: Transaction, now: datetime) -> int:
    """Jobs that have ended and whose last hour was rated since are held for no more; how many."""
    release = """update holds h set released_at = %s from rated_hours r
                 where r.hour = h.last_hour and r.rated_at >= h.settled_at and h.released_at is null"""
    return tx.execute(release, [now]).rowcount


def unsettled(tx: Transaction) -> list[str]:
    """Jobs that have ended without their hold being settled."""
    rows = tx.execute(
        """select h.job_id from holds h join jobs j on j.id = h.job_id
           where h.released_at is null and h.settled_at is null and j.ended_at is not null order by h.job_id"""
    )
    return [row["job_id"] for row in rows]


def held(tx: Transaction, job_ids: Sequence[str]) -> dict[str, int]:
    """Micro-dollars that stand for these jobs, beyond what of them is rated. Nothing once they have ended."""
    rows = tx.execute(
        """select h.job_id, greatest(h.amount - rated.amount, 0)::bigint as amount from holds h
           cross join lateral (select coalesce(sum(l.amount), 0) as amount from rated_lines l
                               where l.job_id = h.job_id) rated
           where h.job_id = any(%s) and h.settled_at is null""",
        [list(job_ids)],
    )
    return {row["job_id"]: row["amount"] for row in rows}


def rated_since(tx: Transaction, organisation_id: str, start: datetime) -> int:
    """Micro-dollars of usage since then, credits taken off."""
    row = tx.execute(
        """select coalesce(sum(amount), 0)::bigint as amount from rated_lines
           where organisation_id = %s and hour >= %s""",
        [organisation_id, start],
    ).fetchone()
    return int(row["amount"]) if row else 0


def last_use(tx: Transaction, job_id: str) -> datetime | None:
    """The last event of all its runs."""
    row = tx.execute(
        """select max(e.at) as at from job_runs r join usage_events e on e.run_id = r.id where r.job_id = %s""",
        [job_id],
    ).fetchone()
    return row["at"] if row else None


def unheard(tx: Transaction, job_id: str, now: datetime, *, at_most: timedelta) -> dict[str, Decimal]:
    """By GPU type: GPU-seconds since the last sign of life of what runs of this job; of each task so much at most."""
    rows = tx.execute(
        """select n.gpu_type, sum(j.gpus * extract(epoch from
               least(greatest(%(now)s - heard.at, interval '0'), %(most)s))) as seconds
           from jobs j join job_runs r on r.job_id = j.id and r.ended_at is null join run_tasks t on t.run_id = r.id
               join nodes n on n.id = t.node_id
           cross join lateral (select max(e.at) as at from usage_events e
                               where e.run_id = t.run_id and e.rank = t.rank) heard
           where j.id = %(job)s and t.state = 'running' and heard.at is not null group by n.gpu_type""",
        {"job": job_id, "now": now, "most": at_most},
    )
    return {row["gpu_type"]: row["seconds"] for row in rows}


def to_watch(tx: Transaction, organisations: Sequence[str]) -> list[str]:
    """Jobs with a run that may have to be stopped: those with a `max_cost`, and flex jobs of these organisations."""
    rows = tx.execute(
        """select j.id from job_runs r join jobs j on j.id = r.job_id where r.ended_at is null
             and (j.max_cost is not null or (j.tier = 'flex' and j.organisation_id = any(%s))) order by j.id""",
        [list(organisations)],
    )
    return [row["id"] for row in rows]


def kept_waiting(tx: Transaction, organisations: Sequence[str]) -> list[str]:
    """Flex jobs of these organisations that are in the queue."""
    rows = tx.execute(
        "select id from jobs where state = 'queued' and tier = 'flex' and organisation_id = any(%s)",
        [list(organisations)],
    )
    return [row["id"] for row in rows]
