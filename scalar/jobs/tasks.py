"""SQL of tasks, the containers of a run: one statement a function."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from scalar.database import Channel, Transaction, notify
from scalar.jobs.model import Task, TaskState
from scalar.protocol import DesiredTask, LogOffsets, TaskEnding, Want


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """What the rules of a task's life need of it."""

    rank: int
    node_id: str
    state: TaskState
    started_at: datetime | None
    ended_at: datetime | None
    ending: TaskEnding | None
    exit_code: int | None
    message: str | None


def insert_task(tx: Transaction, run_id: str, rank: int, node_id: str, *, cpus: float, memory_bytes: int) -> None:
    tx.execute(
        "insert into run_tasks (run_id, rank, node_id, cpus, memory_bytes) values (%s, %s, %s, %s, %s)",
        [run_id, rank, node_id, cpus, memory_bytes],
    )


def task_rows(tx: Transaction, run_id: str) -> list[TaskRow]:
    """By rank."""
    rows = tx.execute(
        """select rank, node_id, state, started_at, ended_at, ending, exit_code, message from run_tasks
           where run_id = %s order by rank""",
        [run_id],
    )
    return [
        TaskRow(
            **{
                **row,
                "state": TaskState(row["state"]),
                "ending": TaskEnding(row["ending"]) if row["ending"] else None,
            }
        )
        for row in rows
    ]


def tasks_of_runs(tx: Transaction, run_ids: list[str]) -> list[Task]:
    """With their node's name, their GPUs and the seconds metered so far, by run and rank."""
    rows = tx.execute(
        """select t.run_id, t.rank, t.node_id, n.name as node_name, t.state, t.detail, t.started_at, t.ended_at,
               t.ending, t.exit_code, t.message,
               (select array_agg(a.gpu_index order by a.gpu_index) from gpu_assignments a
                where a.run_id = t.run_id and a.rank = t.rank) as gpus,
               coalesce((select extract(epoch from max(e.at) - min(e.at)) * max(e.gpus) from usage_events e
                where e.run_id = t.run_id and e.rank = t.rank), 0)::float8 as gpu_seconds
           from run_tasks t join nodes n on n.id = t.node_id
           where t.run_id = any(%s) order by t.run_id, t.rank""",
        [run_ids],
    )
    return [Task(**{**row, "state": TaskState(row["state"]), "gpus": row["gpus"] or []}) for row in rows]


def start_task(tx: Transaction, run_id: str, rank: int, detail: str | None) -> None:
    tx.execute(
        """update run_tasks set state = 'starting', detail = %s
           where run_id = %s and rank = %s and state in ('pending', 'starting')""",
        [detail, run_id, rank],
    )


def mark_running(tx: Transaction, run_id: str, rank: int, container_id: str, at: datetime) -> None:
    tx.execute(
        """update run_tasks set state = 'running', detail = null, container_id = %s, started_at = %s
           where run_id = %s and rank = %s and state in ('pending', 'starting')""",
        [container_id, at, run_id, rank],
    )


def end_task(
    tx: Transaction,
    run_id: str,
    rank: int,
    ending: TaskEnding,
    *,
    started_at: datetime | None,
    ended_at: datetime,
    exit_code: int | None,
    message: str | None,
) -> None:
    tx.execute(
        """update run_tasks set state = 'ended', detail = null, ending = %(ending)s, exit_code = %(exit_code)s,
               message = %(message)s, started_at = coalesce(started_at, %(started_at)s),
               ended_at = greatest(%(ended_at)s, started_at, %(started_at)s)
           where run_id = %(run)s and rank = %(rank)s and state <> 'ended'""",
        {
            "run": run_id,
            "rank": rank,
            "ending": ending,
            "exit_code": exit_code,
            "message": message,
            "started_at": started_at,
            "ended_at": ended_at,
        },
    )


def end_open_tasks(
    tx: Transaction, run_id: str, ending: TaskEnding, at: datetime, *, node_id: str | None = None
) -> None:
    """Of a run that its nodes (or this one) will say no more about.

    A task that ran ended at its last sign of life, as it is metered.
    """
    tx.execute(
        """update run_tasks t set state = 'ended', ending = %s, detail = null,
               ended_at = coalesce((select max(e.at) from usage_events e
                                    where e.run_id = t.run_id and e.rank = t.rank), %s)
           where run_id = %s and node_id = coalesce(%s, node_id) and state <> 'ended'""",
        [ending, at, run_id, node_id],
    )


def release_gpus(tx: Transaction, run_id: str, rank: int | None, at: datetime) -> None:
    """Close the assignments of a task, or of all of a run's. One that never was (released at once) is removed."""
    where = {"run": run_id, "rank": rank, "at": at}
    tx.execute(
        """delete from gpu_assignments where run_id = %(run)s and rank = coalesce(%(rank)s, rank)
             and upper_inf(during) and lower(during) >= %(at)s""",
        where,
    )
    tx.execute(
        """update gpu_assignments set during = tstzrange(lower(during), %(at)s)
           where run_id = %(run)s and rank = coalesce(%(rank)s, rank) and upper_inf(during)""",
        where,
    )


def touch_nodes_of(tx: Transaction, run_id: str) -> None:
    """The desired state of the nodes of this run has changed: wake their long polls.

    One row at a time, in the order of their ids: two runs of the same nodes that end at once wait in line.
    """
    rows = tx.execute("select distinct node_id from run_tasks where run_id = %s order by node_id", [run_id]).fetchall()
    for row in rows:
        tx.execute("update nodes set desired_version = desired_version + 1 where id = %s", [row["node_id"]])
        notify(tx, Channel.NODES, row["node_id"])


def desired_tasks(tx: Transaction, node_id: str) -> list[DesiredTask]:
    """What a node should have: its tasks of claimed runs, until their end is known."""
    rows = tx.execute(
        """select t.run_id, t.rank, t.cpus, t.memory_bytes, t.stdout_bytes, t.stderr_bytes, r.token, r.stop_reason,
               r.job_id, j.organisation_id, j.image, j.command, j.args, j.env, j.max_runtime_seconds, j.nodes,
               (select array_agg(a.gpu_index order by a.gpu_index) from gpu_assignments a
                where a.run_id = t.run_id and a.rank = t.rank) as gpus,
               (select n.address from run_tasks m join nodes n on n.id = m.node_id
                where m.run_id = t.run_id and m.rank = 0) as leader_address
           from run_tasks t join job_runs r on r.id = t.run_id join jobs j on j.id = r.job_id
           where t.node_id = %s and t.state <> 'ended' and r.ended_at is null and r.state <> 'placed'
           order by t.run_id, t.rank""",
        [node_id],
    )
    return [_desired(row) for row in rows]


def _desired(row: dict[str, Any]) -> DesiredTask:
    return DesiredTask(
        run_id=row["run_id"],
        rank=row["rank"],
        token=row["token"],
        job_id=row["job_id"],
        organisation_id=row["organisation_id"],
        want=Want.STOP if row["stop_reason"] else Want.RUN,
        image=row["image"],
        command=row["command"],
        args=row["args"],
        env={name: SecretStr(value) for name, value in {**_gang(row), **row["env"]}.items()},
        gpus=row["gpus"] or [],
        cpus=row["cpus"],
        memory_bytes=row["memory_bytes"],
        max_runtime_seconds=row["max_runtime_seconds"],
        log_offsets=LogOffsets(stdout=row["stdout_bytes"], stderr=row["stderr_bytes"]),
    )


def _gang(row: dict[str, Any]) -> dict[str, str]:
    """What the members of a gang need to find each other; a customer's own setting of the same name goes before it."""
    if row["nodes"] == 1:
        return {}
    gang = {"SCALAR_NODES": str(row["nodes"]), "NODE_RANK": str(row["rank"])}
    return {**gang, "MASTER_ADDR": row["leader_address"]} if row["leader_address"] else gang
