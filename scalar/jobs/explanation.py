"""Why a job waits, runs or ended, in words that a customer understands. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scalar.capacity.model import Obstacle
from scalar.jobs.endings import Fault, TerminationReason
from scalar.jobs.model import Job, JobRun, JobState, RunState, Task


@dataclass(frozen=True, kw_only=True)
class Explanation:
    summary: str
    """One sentence: what is going on."""
    details: tuple[str, ...] = ()
    """What else is worth knowing, most important first."""
    advice: str | None = None
    """What the customer can do."""


def explain(
    job: Job, runs: Sequence[JobRun], tasks: Sequence[Task], silent_nodes: frozenset[str], now: datetime
) -> Explanation:
    """`runs`: oldest first. `tasks`: of the last run. `silent_nodes`: ids of nodes that have not called for a while."""
    last = runs[-1] if runs else None
    if job.state.ended:
        return _ended(job, runs)
    if last is not None and not last.state.ended:
        return _active(last, tasks, silent_nodes)
    return _waiting(job, last, now)


def _waiting(job: Job, last: JobRun | None, now: datetime) -> Explanation:
    before = (_how_it_ended(last, "The last try"),) if last else ()
    if job.not_before and job.not_before > now:
        wait = int((job.not_before - now).total_seconds()) + 1
        return Explanation(summary=f"It failed and will be tried again in {wait} s.", details=before)
    if job.waiting is None:
        return Explanation(summary="It is in the queue and will be looked at within seconds.", details=before)
    obstacle, ahead = Obstacle(str(job.waiting["obstacle"])), int(str(job.waiting.get("ahead", 0)))
    summary, advice = _obstacle(obstacle, job)
    queue = (f"{ahead} job(s) ahead of it wait too.",) if ahead else ()
    return Explanation(summary=summary, details=queue + _due(job, now) + before, advice=advice)


def _due(job: Job, now: datetime) -> tuple[str, ...]:
    start_by = job.spec.start_by
    if start_by is None:
        return ()
    when = f"{start_by:%Y-%m-%d %H:%M} UTC to be done by its deadline"
    if start_by <= now:
        return (f"It had to start by {when}: it starts as soon as there is room at all.",)
    wait = "Until shortly before, it may wait for an idle GPU or a cheaper hour."
    return (f"It has to start by {when}. {wait}",)


def _obstacle(obstacle: Obstacle, job: Job) -> tuple[str, str | None]:  # noqa: PLR0911 - one an obstacle
    wanted = job.spec.requirements
    size = f"{wanted.gpus} {wanted.gpu_type or ''} GPU(s)".replace("  ", " ")
    each = f"{wanted.nodes} nodes with {size} each" if wanted.nodes > 1 else f"a node with {size}"
    match obstacle:
        case Obstacle.NO_NODES:
            return "It waits: no node takes work at the moment.", "Nothing: it starts by itself when one does."
        case Obstacle.NO_SUCH_NODE:
            return f"It waits for {each}; the nodes that take work now are not like that.", (
                "Ask for fewer GPUs a node, another gpu_type, or less CPU and memory, if that would do."
            )
        case Obstacle.BUSY:
            return f"It waits for {each}: those that would do are taken.", (
                None if job.spec.tier == "fast" else "tier: fast goes before flex in the queue."
            )
        case Obstacle.QUOTA:
            return "It waits: your organisation uses all the GPUs that its quota allows.", (
                "It starts when one of your running jobs ends; ask us for a higher quota if you need it."
            )
        case Obstacle.BLOCK_ENDS:
            return "It waits: the free nodes are only there for a shorter time than it may run.", (
                "A shorter max_runtime_seconds would let it start now."
            )
        case Obstacle.RESERVED:
            shorter = "A shorter" if job.spec.max_runtime_seconds else "A"
            return "It waits: the GPUs that are free are reserved for others within the time that it may run.", (
                f"{shorter} max_runtime_seconds lets it start if it is over before they are needed: GET /v1/capacity"
                " shows when that is. POST /v1/reservations keeps GPUs for you."
            )
        case Obstacle.CREDIT:
            return "It waits: your organisation's credit is used up.", (
                "It starts by itself once there is credit again: GET /v1/balance shows what is missing."
            )


def _active(run: JobRun, tasks: Sequence[Task], silent_nodes: frozenset[str]) -> Explanation:
    where = ", ".join(sorted({task.node_name for task in tasks})) or "a node"
    silent = sorted({task.node_name for task in tasks if task.node_id in silent_nodes})
    lost = (
        f"We have lost contact with {', '.join(silent)}. It may well be running on: it is not started elsewhere until"
        " we know that it has stopped, and you pay only for time that the node reports."
    )
    details = tuple(task.detail for task in tasks if task.detail) + ((lost,) if silent else ())
    if run.stop_reason:
        reason = TerminationReason(run.stop_reason).text().removesuffix(".")
        return Explanation(summary=f"It is being stopped on {where}. ({reason})", details=details)
    if run.state is RunState.RUNNING:
        return Explanation(summary=f"It runs on {where} (try {run.attempt}).", details=details)
    if run.state is RunState.STARTING:
        return Explanation(summary=f"{where} prepares its container.", details=details)
    return Explanation(summary=f"GPUs on {where} are reserved for it; its container is being started.", details=details)


def _ended(job: Job, runs: Sequence[JobRun]) -> Explanation:
    if not runs:
        return Explanation(summary="It was cancelled before it started.")
    last = runs[-1]
    if job.state is JobState.CANCELLED and last.state is not RunState.CANCELLED:
        details = tuple(_how_it_ended(run, f"Try {run.attempt}") for run in runs)
        return Explanation(summary="It was cancelled while it waited for its next try.", details=details)
    summary = _how_it_ended(last, "It")
    details = tuple(_how_it_ended(run, f"Try {run.attempt}") for run in runs[:-1])
    return Explanation(summary=summary, details=details, advice=_advice(job, last))


def _advice(job: Job, last: JobRun) -> str | None:
    reason = TerminationReason(last.reason) if last.reason else None
    if job.state is JobState.DEAD_LETTER:
        return f"It is out of tries. POST /v1/jobs/{job.id}/requeue starts it again once the cause is mended."
    if job.state is JobState.FAILED and reason is not None and reason.fault is Fault.JOB:
        return f"GET /v1/jobs/{job.id}/logs shows its output; `retries` would have it tried again."
    return None


def _how_it_ended(run: JobRun, subject: str) -> str:
    reason = TerminationReason(run.reason) if run.reason else None
    if reason is None:
        return f"{subject} has not ended."
    text = reason.text(exit_code=run.exit_code)
    verb = {RunState.SUCCEEDED: "succeeded", RunState.CANCELLED: "was cancelled"}.get(run.state, "failed")
    said = f" ({run.message})" if run.message else ""
    return f"{subject} {verb}. {text}{said}"
