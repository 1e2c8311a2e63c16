"""SQL of batches of events: one statement a function."""

from collections.abc import Sequence

from scalar.database import Lock, Transaction, lock
from scalar.metering.batches import NewEvent, TaskTimes


def hold_runs(tx: Transaction, run_ids: Sequence[str]) -> None:
    """Whoever would start or end a task of theirs waits until this transaction ends.

    In the order of their ids, as everywhere, and before the lock of events.
    """
    tx.execute("select from job_runs where id = any(%s) order by id for share", [list(run_ids)])


def tasks_of(tx: Transaction, run_ids: Sequence[str], node_id: str | None) -> dict[tuple[str, int], TaskTimes]:
    """By run and rank; `node_id`: only those on this node."""
    rows = tx.execute(
        """select run_id, rank, started_at, ended_at from run_tasks
           where run_id = any(%(runs)s) and (%(node)s::text is null or node_id = %(node)s)""",
        {"runs": list(run_ids), "node": node_id},
    )
    return {(row.pop("run_id"), row.pop("rank")): TaskTimes(**row) for row in rows}


def record_events(tx: Transaction, events: Sequence[NewEvent]) -> int:
    """Write those that don't stand yet; how many they were.

    In the order of their key: two batches that have the same ones wait for each other, and never in a circle. Binary
    parameters: they take a third of the time to write.
    """
    lock(tx, Lock.USAGE_EVENTS, shared=True)
    return tx.execute(
        """insert into usage_events (run_id, rank, kind, sequence, at, gpus, organisation_id, tier, gpu_type, node_id)
           select e.run_id, e.rank, e.kind, e.sequence, e.at, j.gpus, j.organisation_id, j.tier, n.gpu_type, n.id
           from unnest(%b::text[], %b::integer[], %b::text[], %b::integer[], %b::timestamptz[])
                   as e (run_id, rank, kind, sequence, at)
               join run_tasks t on t.run_id = e.run_id and t.rank = e.rank join nodes n on n.id = t.node_id
               join job_runs r on r.id = t.run_id join jobs j on j.id = r.job_id
           order by e.run_id collate "C", e.rank, e.kind collate "C", e.sequence, e.at
           on conflict on constraint usage_events_once do nothing""",
        [
            [event.run_id for event in events],
            [event.rank for event in events],
            [event.kind.value for event in events],
            [event.sequence for event in events],
            [event.at for event in events],
        ],
    ).rowcount
