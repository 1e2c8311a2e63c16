"""The agents of bought machines, and the containers on them, played: by what the API does when they call.

A machine that runs at the market joins with the token it was started with. Its containers run for as long as the
customers' jobs take, tell of their lives, and stop when they are told to.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import uuid4

from scalar.capacity import store as capacity
from scalar.capacity.placing import run_pass
from scalar.database import Transaction
from scalar.jobs import life, store, tasks
from scalar.jobs.model import JobRun
from scalar.jobs.reports import apply_report
from scalar.market import instances, joining
from scalar.protocol import Gpu, NodeFacts, RuntimeKind, TaskAlive, TaskEnded, TaskEnding, TaskReport, TaskRunning
from scalar_orchestration.demo.sandbox import Running, Sandbox
from scalar_orchestration.resources import PostgresResource

_GIB = 1024**3
_MINUTE = timedelta(minutes=1)


class Agents:
    """`lasts`: how long each job's container runs, by job."""

    def __init__(self, database: PostgresResource, sandbox: Sandbox, lasts: Mapping[str, timedelta]) -> None:
        self._database, self._sandbox, self._lasts = database, sandbox, lasts
        self._ends: dict[str, datetime] = {}
        """By run, of those that run."""
        self._nodes: list[str] = []

    @property
    def next_end(self) -> datetime | None:
        return min(self._ends.values(), default=None)

    def call(self, now: datetime) -> None:
        """Who is up joins, and is heard."""
        up = {each.market_id: each for each in self._sandbox.running()}
        with self._database.transaction() as tx:
            live = {each.market_id: each for each in instances.live_instances(tx) if each.market_id in up}
        for market_id, instance in live.items():
            if instance.node_id is None:
                self._join(up[str(market_id)], now)
        with self._database.transaction() as tx:
            here = [each for each in instances.live_instances(tx) if each.market_id in up]
            self._nodes = [each.node_id for each in here if each.node_id is not None]
            for node_id in self._nodes:
                capacity.seen(tx, node_id, now)
                joining.heard(tx, node_id, now)

    def place(self, now: datetime) -> int:
        """A scheduling pass, as the API makes one at once; what it places runs from now on."""
        with self._database.transaction() as tx:
            for node_id in self._nodes:
                capacity.seen(tx, node_id, now)
            placements = run_pass(tx, now).decision.placements
            for placement in placements:
                self._run(tx, store.runs_of_job(tx, placement.job_id)[-1], now)
        return len(placements)

    def end_due(self, now: datetime) -> int:
        """Containers exit when their time has come: how many."""
        due = [run_id for run_id, end in self._ends.items() if end <= now]
        with self._database.transaction() as tx:
            for run_id in due:
                self._end(tx, run_id, TaskEnding.EXITED, self._ends[run_id], now)
        return len(due)

    def obey(self, now: datetime) -> int:
        """Runs that were told to stop, stop; those whose machine is gone are heard of no more. How many."""
        stopped = 0
        with self._database.transaction() as tx:
            for run_id in list(self._ends):
                run = store.run(tx, run_id)
                if run is None or run.state.ended:
                    del self._ends[run_id]
                elif run.stop_reason is not None:
                    self._end(tx, run_id, TaskEnding.STOPPED, now, now)
                    stopped += 1
        return stopped

    def tell(self, now: datetime) -> None:
        """What runs says so: agents do every minute. Usage is metered up to what was said last."""
        with self._database.transaction() as tx:
            for run_id in self._ends:
                run = store.run(tx, run_id)
                if run is None or run.started_at is None or run.state.ended:
                    continue
                minutes = (now - run.started_at) // _MINUTE
                if minutes:
                    at = run.started_at + minutes * _MINUTE
                    _told(tx, run, TaskAlive(run_id=run.id, token=run.token, at=at, rank=0, sequence=minutes), now)

    def _join(self, machine: Running, now: datetime) -> None:
        environment = machine.environment
        with self._database.transaction() as tx:
            bought = instances.instance(tx, environment["SCALAR_AGENT_NAME"])
            if bought is None or bought.end_asked_at is not None:
                return
            joining.join(tx, environment["SCALAR_AGENT_JOIN_TOKEN"], _facts(bought.id), now, process_runtime=True)

    def _run(self, tx: Transaction, run: JobRun, now: datetime) -> None:
        if not life.launch(tx, run.id, str(uuid4()), now):
            return
        _told(
            tx, run, TaskRunning(run_id=run.id, token=run.token, at=now, rank=0, container_id=f"played/{run.id}"), now
        )
        self._ends[run.id] = now + self._lasts[run.job_id]

    def _end(self, tx: Transaction, run_id: str, how: TaskEnding, at: datetime, now: datetime) -> None:
        del self._ends[run_id]
        run = store.run(tx, run_id)
        if run is None or run.state.ended:
            return
        report = TaskEnded(
            run_id=run.id,
            token=run.token,
            at=at,
            rank=0,
            ending=how,
            started_at=run.started_at,
            exit_code=0 if how is TaskEnding.EXITED else None,
        )
        _told(tx, run, report, now)


def _told(tx: Transaction, run: JobRun, report: TaskReport, now: datetime) -> None:
    """From the node that the container is on."""
    apply_report(tx, tasks.task_rows(tx, run.id)[report.rank].node_id, report, now)


def _facts(name: str) -> NodeFacts:
    """An H100 machine of the sandbox's."""
    return NodeFacts(
        name=name,
        gpus=[Gpu(index=index, type="H100") for index in range(8)],
        cpus=192.0,
        memory_bytes=1800 * _GIB,
        runtime=RuntimeKind.PROCESS,
        agent_version="played",
        boot_id="played",
    )
