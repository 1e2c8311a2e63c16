"""The scheduling pass, whole and pure: which waiting job goes where, and why the others wait.

    place(queue, nodes, quotas, now, holds) ─► Decision(placements, refusals)

1. Jobs are taken in the order of the queue: tier, priority, age. One that doesn't fit is left, with the obstacle, and
   the next is tried.
2. A job's nodes are chosen by best fit: the node that has the fewest whole GPUs left afterwards, then the least CPU,
   then the least memory, so that large jobs keep finding whole nodes. Ties go to the lowest id: the same input is
   always the same decision.
3. A gang (`nodes` > 1) takes its nodes all at once or not at all.
4. Nothing is placed on a node whose block ends before the job's `max_runtime_seconds` does, or above its
   organisation's quota.
5. What is reserved stays free: over the time in which a job may run (to the end of its node, if it names no longest
   runtime), every reservation must be left the GPUs that it waits for; its own organisation's jobs take them. Where the
   best fit would break that, the nodes that end soonest are tried: they are in the fewest reservations' way. `holds`
   says how this is counted, and why it suffices.

To stay fast with a thousand jobs in the queue, a requirement that was refused once in a pass is not tried again: free
room only shrinks while a pass goes on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from heapq import nsmallest

from scalar.capacity.holds import FOREVER, Promises
from scalar.capacity.model import Decision, FreeNode, Hold, Obstacle, Placement, Refusal, Share
from scalar.jobs.model import Job, Requirements

SHORTEST_USEFUL = timedelta(minutes=5)
"""What a node must have left for a job that names no longest runtime."""


def place(
    queue: Sequence[Job],
    nodes: Iterable[FreeNode],
    quotas: Mapping[str, int],
    now: datetime,
    holds: Iterable[Hold] = (),
) -> Decision:
    """`queue`: most urgent first. `nodes`: those that take work. `quotas`: GPUs that each limited organisation may
    still take; one that isn't named has no limit. `holds`: what reservations need.
    """
    room = {node.id: node for node in sorted(nodes, key=lambda node: node.id)}
    left = dict(quotas)
    promises = Promises(holds, now)
    suited: dict[Requirements, list[Share]] = {}
    refused: dict[tuple[object, ...], Obstacle] = {}
    placements: list[Placement] = []
    refusals: list[Refusal] = []
    for job in queue:
        wanted, asked = job.spec.requirements, _signature(job)
        if wanted not in suited:
            suited[wanted] = [_share(wanted, node) for node in room.values() if fits_when_idle(wanted, node)]
        outcome = refused.get(asked) or _try(job, suited[wanted], room, left, promises, now)
        if isinstance(outcome, Obstacle):
            refused[asked] = outcome
            refusals.append(Refusal(job_id=job.id, obstacle=outcome, ahead=len(refusals)))
        else:
            placements.append(outcome)
            promises.take(job, [room[share.node_id] for share in outcome.shares])
            _take(outcome, job, room, left)
    return Decision(placements=tuple(placements), refusals=tuple(refusals))


def fits_when_idle(wanted: Requirements, node: FreeNode) -> bool:
    """Could this node run one share of it, if it had nothing else to do?"""
    share = _share(wanted, node)
    return (
        node.gpus_total >= wanted.gpus
        and wanted.gpu_type in (None, node.gpu_type)
        and node.cpus_total >= share.cpus
        and node.memory_total >= share.memory_bytes
    )


def _share(wanted: Requirements, node: FreeNode) -> Share:
    """What a share takes on this node, before it is known which GPUs: as asked, or in proportion to them."""
    part = wanted.gpus / node.gpus_total if node.gpus_total else 1.0
    return Share(
        node_id=node.id,
        gpus=(),
        cpus=wanted.cpus or node.cpus_total * part,
        memory_bytes=wanted.memory_bytes or int(node.memory_total * part),
    )


def _try(
    job: Job,
    suited: Sequence[Share],
    room: Mapping[str, FreeNode],
    left: Mapping[str, int],
    promises: Promises,
    now: datetime,
) -> Placement | Obstacle:
    """`suited`: a share on each node that could run one, were it idle."""
    wanted = job.spec.requirements
    if not room:
        return Obstacle.NO_NODES
    if len(suited) < wanted.nodes:
        return Obstacle.NO_SUCH_NODE
    if wanted.gpus * wanted.nodes > left.get(job.organisation_id, wanted.gpus * wanted.nodes):
        return Obstacle.QUOTA
    free = [share for share in suited if _fits_now(wanted.gpus, share, room[share.node_id])]
    if len(free) < wanted.nodes:
        return Obstacle.BUSY
    lasting = [share for share in free if _lasts(job, room[share.node_id], now)]
    if len(lasting) < wanted.nodes:
        return Obstacle.BLOCK_ENDS
    chosen = _choose(job, lasting, room, promises)
    return Obstacle.RESERVED if chosen is None else _placement(job, chosen, room)


def _choose(
    job: Job, lasting: Sequence[Share], room: Mapping[str, FreeNode], promises: Promises
) -> Sequence[Share] | None:
    """The best fit; where it breaks a promise, the nodes that end soonest; None where every choice breaks one."""
    wanted = job.spec.requirements.nodes
    best = nsmallest(wanted, lasting, key=lambda share: _left_after(share, room[share.node_id]))
    if promises.allow(job, [room[share.node_id] for share in best]):
        return best
    chosen: list[Share] = []
    for share in sorted(lasting, key=lambda share: _soonest_over(share, room[share.node_id])):
        if promises.allow(job, [room[each.node_id] for each in (*chosen, share)]):
            chosen.append(share)
        if len(chosen) == wanted:
            return chosen
    return None


def _placement(job: Job, chosen: Iterable[Share], room: Mapping[str, FreeNode]) -> Placement:
    gpus = job.spec.requirements.gpus
    return Placement(
        job_id=job.id,
        shares=tuple(replace(share, gpus=room[share.node_id].free_gpus[:gpus]) for share in chosen),
    )


def _fits_now(gpus: int, share: Share, node: FreeNode) -> bool:
    # The shares of a full node add up to the whole only within rounding.
    return (
        len(node.free_gpus) >= gpus
        and node.free_cpus >= share.cpus - 1e-6
        and node.free_memory >= share.memory_bytes - node.gpus_total
    )


def _lasts(job: Job, node: FreeNode, now: datetime) -> bool:
    if node.available_until is None:
        return True
    longest = job.spec.max_runtime_seconds
    needed = timedelta(seconds=longest) if longest else SHORTEST_USEFUL
    return now + needed <= node.available_until


def _left_after(share: Share, node: FreeNode) -> tuple[int, float, int, str]:
    """The order of best fit, least left first: GPUs (each takes as many), CPUs, memory; then ids."""
    return len(node.free_gpus), node.free_cpus - share.cpus, node.free_memory - share.memory_bytes, node.id


def _soonest_over(share: Share, node: FreeNode) -> tuple[object, ...]:
    return node.available_until or FOREVER, *_left_after(share, node)


def _take(placement: Placement, job: Job, room: dict[str, FreeNode], left: dict[str, int]) -> None:
    for share in placement.shares:
        node = room[share.node_id]
        room[node.id] = replace(
            node,
            free_gpus=tuple(index for index in node.free_gpus if index not in share.gpus),
            free_cpus=node.free_cpus - share.cpus,
            free_memory=node.free_memory - share.memory_bytes,
        )
    if job.organisation_id in left:
        left[job.organisation_id] -= sum(len(share.gpus) for share in placement.shares)


def _signature(job: Job) -> tuple[object, ...]:
    """Two jobs with the same signature are refused for the same reason in one pass."""
    return (job.organisation_id, job.spec.requirements, job.spec.max_runtime_seconds)
