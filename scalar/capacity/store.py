"""SQL of nodes and assignments: one statement a function."""

from datetime import datetime, timedelta
from typing import Any

from psycopg.errors import UniqueViolation

from scalar.capacity.model import FreeNode, Node, NodeState
from scalar.database import Channel, Transaction, notify, one
from scalar.errors import Conflict
from scalar.ids import new_id
from scalar.protocol import NodeFacts, RuntimeKind

_NODE = """id, name, state, gpus, gpu_type, gpu_memory_bytes, cpus, memory_bytes, runtime, agent_version, address,
           joined_at, last_seen_at, available_until"""


def insert_node(tx: Transaction, facts: NodeFacts, now: datetime) -> Node:
    """Raises: `Conflict` where a live node has this name."""
    try:
        row = one(
            tx,
            f"""insert into nodes (id, name, gpus, gpu_type, gpu_memory_bytes, cpus, memory_bytes, runtime,
                    agent_version, boot_id, address, joined_at, last_seen_at)
                values (%(id)s, %(name)s, %(gpus)s, %(gpu_type)s, %(gpu_memory_bytes)s, %(cpus)s, %(memory_bytes)s,
                    %(runtime)s, %(agent_version)s, %(boot_id)s, %(address)s, %(now)s, %(now)s)
                returning {_NODE}""",
            {"id": new_id("node"), "now": now, **_columns(facts)},
        )
    except UniqueViolation as error:
        raise Conflict(
            f"There is a node named {facts.name!r} already. Give this one another name, or mark the old one gone first."
        ) from error
    return _node(row)


def update_facts(tx: Transaction, node_id: str, facts: NodeFacts, now: datetime) -> None:
    """What an agent says of its machine after a restart; the name and the number of GPUs stay as they joined."""
    tx.execute(
        """update nodes set cpus = %(cpus)s, memory_bytes = %(memory_bytes)s, runtime = %(runtime)s,
               agent_version = %(agent_version)s, boot_id = %(boot_id)s, address = %(address)s, last_seen_at = %(now)s
           where id = %(id)s""",
        {"id": node_id, "now": now, **_columns(facts)},
    )


def node(tx: Transaction, node_id: str, *, for_update: bool = False) -> Node | None:
    lock = "for no key update" if for_update else ""
    row = tx.execute(f"select {_NODE} from nodes where id = %s {lock}", [node_id]).fetchone()
    return _node(row) if row else None


def nodes(tx: Transaction, *, with_gone: bool = False) -> list[Node]:
    rows = tx.execute(f"select {_NODE} from nodes where state <> 'gone' or %s order by name, id", [with_gone])
    return [_node(row) for row in rows]


def set_unfit(tx: Transaction, node_id: str, why: str | None, available_until: datetime) -> None:
    """A bought node that has joined takes no work until it has been heard, and none at all if it is unfit."""
    tx.execute(
        "update nodes set state = 'checking', unfit = %s, available_until = %s where id = %s",
        [why, available_until, node_id],
    )


def pass_gate(tx: Transaction, node_id: str) -> bool:
    """A node that is what was bought, and that listens, takes work; True where it did not before."""
    update = "update nodes set state = 'ready' where id = %s and state = 'checking' and unfit is null"
    return tx.execute(update, [node_id]).rowcount == 1


def set_state(tx: Transaction, node_id: str, state: NodeState) -> None:
    tx.execute("update nodes set state = %s where id = %s", [state, node_id])


def seen(tx: Transaction, node_id: str, now: datetime) -> bool:
    """A node called; False where it is gone."""
    update = "update nodes set last_seen_at = %s where id = %s and state <> 'gone'"
    return tx.execute(update, [now, node_id]).rowcount == 1


def desired_version(tx: Transaction, node_id: str) -> int:
    return int(one(tx, "select desired_version from nodes where id = %s", [node_id])["desired_version"])


def desired_versions(tx: Transaction, node_ids: list[str]) -> dict[str, int]:
    rows = tx.execute("select id, desired_version from nodes where id = any(%s)", [node_ids])
    return {row["id"]: row["desired_version"] for row in rows}


def free_nodes(tx: Transaction, seen_since: datetime) -> list[FreeNode]:
    """What each node that takes work has to give now."""
    rows = tx.execute(
        """select n.id, n.gpu_type, n.gpus, n.cpus, n.memory_bytes, n.available_until,
               n.cpus - coalesce(used.cpus, 0) as free_cpus,
               n.memory_bytes - coalesce(used.memory_bytes, 0)::bigint as free_memory,
               coalesce(taken.gpus, '{}') as taken
           from nodes n
           left join (select node_id, sum(cpus) as cpus, sum(memory_bytes) as memory_bytes
                      from run_tasks where state <> 'ended' group by node_id) used on used.node_id = n.id
           left join (select node_id, array_agg(gpu_index) as gpus
                      from gpu_assignments where upper_inf(during) group by node_id) taken on taken.node_id = n.id
           where n.state = 'ready' and n.last_seen_at >= %s order by n.id""",
        [seen_since],
    )
    return [_free(row) for row in rows]


def idle_fleet(tx: Transaction) -> list[FreeNode]:
    """Every node that has not gone, as if it had nothing to do: what the fleet could ever run."""
    rows = tx.execute(
        """select id, gpu_type, gpus, cpus, memory_bytes, available_until, cpus as free_cpus,
               memory_bytes as free_memory, '{}'::int[] as taken from nodes where state <> 'gone' order by id"""
    )
    return [_free(row) for row in rows]


def quotas(tx: Transaction) -> dict[str, int]:
    """GPUs that each organisation with a limit may still take."""
    rows = tx.execute(
        """select o.id, o.max_gpus - coalesce(sum(used.gpus), 0) as left from organisations o
           left join (select j.organisation_id, count(*) as gpus from gpu_assignments a
                      join job_runs r on r.id = a.run_id join jobs j on j.id = r.job_id
                      where upper_inf(a.during) group by j.organisation_id) used on used.organisation_id = o.id
           where o.max_gpus is not null group by o.id, o.max_gpus"""
    )
    return {row["id"]: int(row["left"]) for row in rows}


def assign_gpus(tx: Transaction, node_id: str, gpus: tuple[int, ...], run_id: str, rank: int, now: datetime) -> None:
    tx.execute(
        """insert into gpu_assignments (node_id, gpu_index, run_id, rank, during)
           select %(node)s, gpu, %(run)s, %(rank)s, tstzrange(greatest(%(now)s, (
               select max(upper(a.during)) from gpu_assignments a
               where a.node_id = %(node)s and a.gpu_index = gpu and not upper_inf(a.during))), null)
           from unnest(%(gpus)s::int[]) as gpu""",
        {"node": node_id, "run": run_id, "rank": rank, "now": now, "gpus": list(gpus)},
    )


def assigned_counts(tx: Transaction) -> dict[str, int]:
    """GPUs in use, by node."""
    rows = tx.execute("select node_id, count(*) as n from gpu_assignments where upper_inf(during) group by node_id")
    return {row["node_id"]: row["n"] for row in rows}


LAUNCH_LEASE = timedelta(seconds=20)
"""Longer than asking Dagster for a batch takes; whoever dies meanwhile is taken over from after it."""


def lease_unlaunched(tx: Transaction, now: datetime, *, limit: int) -> list[dict[str, Any]]:
    """Runs that are placed and that no Dagster run has claimed, oldest first, leased to the caller.

    Each row has what their Dagster run is tagged with. The lease keeps the nudge and the sensor from asking for the
    same runs; where one of them dies, or Dagster fails a launch, `launch_tries` makes the next request another one.
    """
    return tx.execute(
        """with leased as (
               update job_runs set launch_leased_until = %(until)s, launch_tries = launch_tries + 1
               where id in (
                   select id from job_runs
                   where dagster_run_id is null and ended_at is null
                     and (launch_leased_until is null or launch_leased_until <= %(now)s)
                   order by placed_at, id limit %(limit)s for update skip locked)
               returning *)
           select r.id as run_id, r.job_id, r.attempt, r.launch_tries, j.name, j.organisation_id,
               o.name as organisation, j.tier,
               (select string_agg(n.name, ',' order by t.rank) from run_tasks t join nodes n on n.id = t.node_id
                where t.run_id = r.id) as nodes
           from leased r join jobs j on j.id = r.job_id join organisations o on o.id = j.organisation_id
           order by r.placed_at, r.id""",
        {"now": now, "until": now + LAUNCH_LEASE, "limit": limit},
    ).fetchall()


def release_launch(tx: Transaction, run_id: str) -> None:
    """Dagster did not take it: the next may ask at once."""
    tx.execute("update job_runs set launch_leased_until = null where id = %s and dagster_run_id is null", [run_id])


def nodes_ending(tx: Transaction, before: datetime) -> list[tuple[str, datetime]]:
    """Nodes whose block ends by then, and when."""
    rows = tx.execute(
        "select id, available_until from nodes where state <> 'gone' and available_until <= %s order by id", [before]
    )
    return [(row["id"], row["available_until"]) for row in rows]


def unfit(tx: Transaction, node_id: str) -> str | None:
    """Why a node may not work: it is not what was bought."""
    row = one(tx, "select unfit from nodes where id = %s", [node_id])
    return None if row["unfit"] is None else str(row["unfit"])


def lock_active_runs_on(tx: Transaction, node_id: str, *, outlasting: datetime | None = None) -> list[str]:
    """The runs that have not ended on a node; their jobs are locked, in the order of their ids.

    `outlasting`: only those that might still run then.
    """
    rows = tx.execute(
        """with locked as (
               select j.id from jobs j where j.id in (
                   select r.job_id from run_tasks t join job_runs r on r.id = t.run_id
                   where t.node_id = %(node)s and r.ended_at is null)
               and (%(outlasting)s::timestamptz is null or j.max_runtime_seconds is null or exists (
                   select from job_runs r where r.job_id = j.id and r.ended_at is null
                   and coalesce(r.started_at, r.placed_at) + make_interval(secs => j.max_runtime_seconds)
                       > %(outlasting)s))
               order by j.id for update)
           select distinct r.id from locked join job_runs r on r.job_id = locked.id
               join run_tasks t on t.run_id = r.id
           where t.node_id = %(node)s and r.ended_at is null order by r.id""",
        {"node": node_id, "outlasting": outlasting},
    )
    return [row["id"] for row in rows]


def wake(tx: Transaction, node_id: str) -> None:
    """The node's desired state has changed."""
    tx.execute("update nodes set desired_version = desired_version + 1 where id = %s", [node_id])
    notify(tx, Channel.NODES, node_id)


def _columns(facts: NodeFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "gpus": len(facts.gpus),
        "gpu_type": facts.gpus[0].type if facts.gpus else "none",
        "gpu_memory_bytes": facts.gpus[0].memory_bytes if facts.gpus else None,
        "cpus": facts.cpus,
        "memory_bytes": facts.memory_bytes,
        "runtime": facts.runtime,
        "agent_version": facts.agent_version,
        "boot_id": facts.boot_id,
        "address": facts.address,
    }


def _node(row: dict[str, Any]) -> Node:
    return Node(**{**row, "state": NodeState(row["state"]), "runtime": RuntimeKind(row["runtime"])})


def _free(row: dict[str, Any]) -> FreeNode:
    taken = set(row["taken"])
    return FreeNode(
        id=row["id"],
        gpu_type=row["gpu_type"],
        gpus_total=row["gpus"],
        free_gpus=tuple(index for index in range(row["gpus"]) if index not in taken),
        cpus_total=row["cpus"],
        free_cpus=row["free_cpus"],
        memory_total=row["memory_bytes"],
        free_memory=row["free_memory"],
        available_until=row["available_until"],
    )
