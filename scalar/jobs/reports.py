"""A node's reports, applied: state, metering and the end of runs change together, in the caller's transaction."""

from datetime import datetime, timedelta
from typing import assert_never

from scalar.billing.exhaustion import look_after
from scalar.database import Transaction
from scalar.jobs import life, store, tasks
from scalar.jobs.model import JobRun, TaskState
from scalar.metering.model import UsageKind
from scalar.metering.store import record_event
from scalar.protocol import (
    LogBatch,
    ReportOutcome,
    TaskAlive,
    TaskEnded,
    TaskReport,
    TaskRunning,
    TaskStarting,
)

_CLOCK_SLACK = timedelta(minutes=5)


def apply_report(tx: Transaction, node_id: str, report: TaskReport, now: datetime) -> ReportOutcome:
    """One report of one node: applied once, however often it comes.

    The job is locked before its run, as everywhere.
    """
    run = store.run(tx, report.run_id)
    if run is None or run.token.get_secret_value() != report.token.get_secret_value():
        return ReportOutcome.STALE
    job = store.job(tx, run.job_id, for_update=True)
    run = store.run(tx, report.run_id, for_update=True)
    task = next((row for row in tasks.task_rows(tx, report.run_id) if row.rank == report.rank), None)
    if job is None or run is None or task is None or task.node_id != node_id:
        return ReportOutcome.STALE
    if task.state is TaskState.ENDED:
        repeated = isinstance(report, TaskEnded) and report.ending is task.ending
        return ReportOutcome.DUPLICATE if repeated else ReportOutcome.STALE
    outcome = _apply(tx, run, task, _in_its_time(report, run, now), now)
    if outcome is ReportOutcome.ACCEPTED and isinstance(report, TaskRunning | TaskAlive):
        look_after(tx, job, run, now)
    return outcome


def _in_its_time(report: TaskReport, run: JobRun, now: datetime) -> TaskReport:
    """Nothing happened before the run was placed, or in the future: a clock that is far out is bounded.

    Within the slack its own times stand, to the microsecond.
    """

    def bounded(moment: datetime) -> datetime:
        return min(max(moment, run.placed_at - _CLOCK_SLACK), now + _CLOCK_SLACK)

    changes = {"at": bounded(report.at)}
    if isinstance(report, TaskEnded) and report.started_at is not None:
        changes["started_at"] = bounded(report.started_at)
    return report.model_copy(update=changes)


def _apply(tx: Transaction, run: JobRun, task: tasks.TaskRow, report: TaskReport, now: datetime) -> ReportOutcome:
    match report:
        case TaskStarting():
            tasks.start_task(tx, run.id, report.rank, report.detail)
            life.task_starting(tx, run)
        case TaskRunning():
            if task.state is TaskState.RUNNING:
                return ReportOutcome.DUPLICATE
            life.task_started(tx, run, report.rank, report.container_id, report.at)
            record_event(tx, run.id, report.rank, UsageKind.STARTED, report.at)
        case TaskAlive():
            if not record_event(tx, run.id, report.rank, UsageKind.ALIVE, report.at, sequence=report.sequence):
                return ReportOutcome.DUPLICATE
        case TaskEnded():
            _end(tx, run, task, report, now)
        case _:
            assert_never(report)
    return ReportOutcome.ACCEPTED


def _end(tx: Transaction, run: JobRun, task: tasks.TaskRow, report: TaskEnded, now: datetime) -> None:
    """A container that started is metered from its start to its end, whichever reports were seen before."""
    tasks.end_task(
        tx,
        run.id,
        report.rank,
        report.ending,
        started_at=report.started_at,
        ended_at=report.at,
        exit_code=report.exit_code,
        message=report.message,
    )
    started_at = task.started_at or report.started_at
    if started_at is not None:
        record_event(tx, run.id, report.rank, UsageKind.STARTED, started_at)
        record_event(tx, run.id, report.rank, UsageKind.ENDED, max(report.at, started_at))
    life.task_ended(tx, run, report.rank, now)


def may_append(tx: Transaction, node_id: str, batch: LogBatch) -> bool:
    """Whether this node may add to the log of this task: its own, with the run's token, and not yet ended."""
    return (
        tx.execute(
            """select from run_tasks t join job_runs r on r.id = t.run_id
               where t.run_id = %s and t.rank = %s and t.node_id = %s and r.token = %s and t.state <> 'ended'""",
            [batch.run_id, batch.rank, node_id, batch.token.get_secret_value()],
        ).fetchone()
        is not None
    )
