"""SQL of plans, and of what they look at: one statement a function."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from scalar.capacity.model import SILENT_AFTER
from scalar.database import Transaction, one
from scalar.ids import new_id
from scalar.jobs.model import JobState, Tier
from scalar.market.model import Rectangle
from scalar.planning.model import (
    Action,
    ActionKind,
    Claim,
    FleetNode,
    Machine,
    Plan,
    PlanState,
    Policy,
    Situation,
    Wish,
    Work,
)
from scalar.planning.outlook import Outlook

_PLAN = "id, policy, made_at, dry_run, inputs, notes, state, follows, executed_at"


@dataclass(frozen=True, kw_only=True)
class Due:
    """A job whose deadline has come."""

    job_id: str
    state: JobState
    deadline: datetime
    ended_at: datetime | None

    def late(self, now: datetime) -> bool:
        return (self.ended_at or now) > self.deadline


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that a plan is decided from."""

    situation: Situation
    policy: Policy
    outlook: Outlook | None = None
    """Of a policy that looks ahead."""


@dataclass(frozen=True, kw_only=True)
class StoredAction:
    """`order_id`, `outcome`: what became of it, once it was carried out."""

    position: int
    action: Action
    order_id: str | None
    outcome: str | None


@dataclass(frozen=True, kw_only=True)
class StoredPlan:
    id: str
    policy: str
    made_at: datetime
    dry_run: bool
    inputs: Inputs
    notes: tuple[str, ...]
    state: PlanState
    follows: str | None
    executed_at: datetime | None
    actions: tuple[StoredAction, ...]

    @property
    def plan(self) -> Plan:
        return Plan(actions=tuple(each.action for each in self.actions), notes=self.notes)


_INPUTS = TypeAdapter(Inputs)


def insert_plan(tx: Transaction, plan: Plan, inputs: Inputs, *, policy: str, follows: str | None, dry_run: bool) -> str:
    """The new plan's id. It was made at the moment of its situation."""
    row = one(
        tx,
        """insert into capacity_plans (id, policy, made_at, dry_run, inputs, notes, state, follows)
           values (%s, %s, %s, %s, %s, %s, %s, %s) returning id""",
        [
            new_id("plan"),
            policy,
            inputs.situation.now,
            dry_run,
            Jsonb(_INPUTS.dump_python(inputs, mode="json")),
            list(plan.notes),
            PlanState.SHOWN if dry_run else PlanState.PROPOSED,
            follows,
        ],
    )
    for position, action in enumerate(plan.actions):
        _insert_action(tx, row["id"], position, action)
    return str(row["id"])


def supersede_others(tx: Transaction, plan_id: str) -> None:
    """Of the plans that nobody executed yet, only the last counts."""
    tx.execute(
        "update capacity_plans set state = 'superseded' where state = 'proposed' and id <> %s",
        [plan_id],
    )


def expire(tx: Transaction, made_before: datetime) -> int:
    """How many plans nobody executed in time."""
    update = "update capacity_plans set state = 'expired' where state = 'proposed' and made_at < %s"
    return tx.execute(update, [made_before]).rowcount


def last_executed(tx: Transaction) -> str | None:
    query = "select id from capacity_plans where state = 'executed' order by executed_at desc, id desc limit 1"
    row = tx.execute(query).fetchone()
    return str(row["id"]) if row else None


def proposed(tx: Transaction) -> StoredPlan | None:
    """The latest plan that is to be executed."""
    query = f"select {_PLAN} from capacity_plans where state = 'proposed' order by made_at desc, id desc limit 1"
    row = tx.execute(query).fetchone()
    return _plan(tx, row) if row else None


def plan(tx: Transaction, plan_id: str) -> StoredPlan | None:
    row = tx.execute(f"select {_PLAN} from capacity_plans where id = %s", [plan_id]).fetchone()
    return _plan(tx, row) if row else None


def plans(tx: Transaction, *, before: str | None = None, limit: int = 50) -> list[StoredPlan]:
    """Newest first, from the one after `before` on."""
    rows = tx.execute(
        f"""select {_PLAN} from capacity_plans
            where %(before)s::text is null
               or (made_at, id) < (select made_at, id from capacity_plans where id = %(before)s)
            order by made_at desc, id desc limit %(limit)s""",
        {"before": before, "limit": limit},
    ).fetchall()
    return [_plan(tx, row) for row in rows]


def settle(tx: Transaction, plan_id: str, state: PlanState, now: datetime) -> None:
    """It is executed, or never will be."""
    executed_at = now if state is PlanState.EXECUTED else None
    tx.execute(
        "update capacity_plans set state = %s, executed_at = %s where id = %s and state = 'proposed'",
        [state, executed_at, plan_id],
    )


def record_outcome(tx: Transaction, plan_id: str, position: int, outcome: str, order_id: str | None) -> None:
    tx.execute(
        "update plan_actions set outcome = %s, order_id = %s where plan_id = %s and position = %s",
        [outcome, order_id, plan_id, position],
    )


def fleet(tx: Transaction, now: datetime) -> list[FleetNode]:
    """Nodes that work, or finish what they run."""
    work = _work(tx)
    rows = tx.execute(
        """select n.id, n.gpu_type, n.gpus, n.cpus, n.memory_bytes, n.available_until as until,
               n.last_seen_at >= %(seen)s as heard, n.state = 'ready' and n.last_seen_at >= %(seen)s as takes_work,
               n.gpus - (select count(*) from gpu_assignments a
                         where a.node_id = n.id and upper_inf(a.during))::int as free_gpus,
               n.cpus - coalesce(used.cpus, 0) as free_cpus,
               n.memory_bytes - coalesce(used.memory, 0)::bigint as free_memory,
               case when used.node_id is null then greatest(coalesce(i.ready_at, n.joined_at),
                   (select max(upper(a.during)) from gpu_assignments a
                    where a.node_id = n.id and not upper_inf(a.during))) end as idle_since
           from nodes n
           left join instances i on i.node_id = n.id
           left join (select node_id, sum(cpus) as cpus, sum(memory_bytes) as memory
                      from run_tasks where state <> 'ended' group by node_id) used on used.node_id = n.id
           where n.state in ('ready', 'draining') and n.gpus > 0 order by n.id""",
        {"seen": now - SILENT_AFTER},
    )
    return [FleetNode(**row, work=tuple(work.get(row["id"], ()))) for row in rows]


def machines(tx: Transaction) -> list[Machine]:
    """Live ones; `node_id` of those that have become a node."""
    rows = tx.execute(
        """select i.id, i.sku, i.until, n.id as node_id,
               (select b.order_id from seatings s join blocks b on b.id = s.block_id
                where s.instance_id = i.id order by lower(s.during) limit 1) as order_id
           from instances i
           left join nodes n on n.id = i.node_id and n.state in ('ready', 'draining')
           where i.state <> 'ended' order by i.id"""
    )
    return [Machine(**row) for row in rows]


def claims(tx: Transaction, now: datetime) -> list[Claim]:
    """Of orders that may fill yet, or whose blocks have not ended: newest first."""
    rows = tx.execute(
        """select o.id as order_id, o.nodes, a.jobs from orders o join plan_actions a on a.order_id = o.id
           where a.jobs <> '{}' and o.ends_at > %s and (o.ended_at is null or o.amount > 0)
           order by o.created_at desc, o.id""",
        [now],
    )
    return [Claim(**{**row, "jobs": tuple(row["jobs"])}) for row in rows]


def sizes(tx: Transaction) -> dict[str, tuple[float, int]]:
    """By kind of machine: CPUs and memory of the smallest that was seen of late."""
    rows = tx.execute(
        """select i.sku, min(n.cpus) as cpus, min(n.memory_bytes) as memory from instances i
           join nodes n on n.id = i.node_id where n.gpus > 0 and n.unfit is null
             and i.id in (select id from instances where node_id is not null order by joined_at desc limit 200)
           group by i.sku"""
    )
    return {row["sku"]: (row["cpus"], row["memory"]) for row in rows}


def _work(tx: Transaction) -> dict[str, list[Work]]:
    """By node: the runs on it that nobody is stopping."""
    rows = tx.execute(
        """select t.node_id, j.id as job_id, j.tier, j.max_price_per_gpu_hour as price_limit, j.gpus,
               coalesce(r.started_at, r.placed_at) + make_interval(secs => j.max_runtime_seconds) as over_by
           from run_tasks t join job_runs r on r.id = t.run_id join jobs j on j.id = r.job_id
           where t.state <> 'ended' and r.ended_at is null and r.stop_reason is null order by j.id, t.rank"""
    )
    found: dict[str, list[Work]] = {}
    for row in rows:
        wish = Wish(tier=Tier(row["tier"]), price_limit=row["price_limit"])
        work = Work(job_id=row["job_id"], wish=wish, over_by=row["over_by"], gpus=row["gpus"])
        found.setdefault(row["node_id"], []).append(work)
    return found


def _insert_action(tx: Transaction, plan_id: str, position: int, action: Action) -> None:
    tx.execute(
        """insert into plan_actions (plan_id, position, kind, sku, nodes, starts_at, ends_at, limit_price, whole,
               jobs, reason)
           values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            plan_id,
            position,
            action.kind,
            action.sku,
            action.window.nodes,
            action.window.start,
            action.window.end,
            action.limit_price,
            action.whole,
            list(action.jobs),
            action.reason,
        ],
    )


def _plan(tx: Transaction, row: dict[str, Any]) -> StoredPlan:
    actions = tx.execute(
        """select position, kind, sku, nodes, starts_at, ends_at, limit_price, whole, jobs, reason, order_id, outcome
           from plan_actions where plan_id = %s order by position""",
        [row["id"]],
    )
    return StoredPlan(
        **{
            **row,
            "inputs": _INPUTS.validate_python(row["inputs"]),
            "notes": tuple(row["notes"]),
            "state": PlanState(row["state"]),
        },
        actions=_actions(list(actions)),
    )


def _actions(rows: Sequence[dict[str, Any]]) -> tuple[StoredAction, ...]:
    return tuple(
        StoredAction(
            position=row["position"],
            action=Action(
                kind=ActionKind(row["kind"]),
                sku=row["sku"],
                window=Rectangle(start=row["starts_at"], end=row["ends_at"], nodes=row["nodes"]),
                limit_price=row["limit_price"],
                whole=row["whole"],
                jobs=tuple(row["jobs"]),
                reason=row["reason"],
            ),
            order_id=row["order_id"],
            outcome=row["outcome"],
        )
        for row in rows
    )


def due_between(tx: Transaction, start: datetime, end: datetime) -> list[Due]:
    """Jobs whose deadline was in [start, end), less those that failed by themselves or were cancelled."""
    rows = tx.execute(
        """select id as job_id, state, deadline, ended_at from jobs
           where deadline >= %s and deadline < %s and state not in ('failed', 'cancelled') order by deadline, id""",
        [start, end],
    )
    return [Due(**{**row, "state": JobState(row["state"])}) for row in rows]
