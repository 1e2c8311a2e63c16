"""Sends Dagster runs where they run: a `gpu_run` to its nodes, every other one where Dagster would.

A GPU run needs no process here: `launch_run` claims the run's row, which makes its nodes want the container, and that
is all. What becomes of it is told by `run_mirror`.

    launch_run                  placed ─► launched: the first Dagster run to claim it wins, a second one ends as a skip
    launch_run (re-execution)   the job starts again; this Dagster run waits for its next placement
    terminate                   the nodes are told to stop it; the run is cancelled when they have
    check_run_worker_health     reads the run's row

Asset runs go to a container (`asset_runs: docker`, as `DockerRunLauncher` sends them) or to a local process
(`asset_runs: process`, the default: one machine).
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun, DefaultRunLauncher, Field, StringSource
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_docker import DockerRunLauncher
from dagster_docker.utils import DOCKER_CONFIG_SCHEMA

from scalar.errors import InvalidRequest, ScalarError, Unavailable
from scalar.jobs import life, store
from scalar.jobs.dagster import JOB_NAME, JOB_TAG, RUN_TAG
from scalar.jobs.endings import TerminationReason
from scalar.jobs.mirroring import Mirrored, told
from scalar.jobs.model import RunState
from scalar.settings import settings
from scalar_orchestration import run_events
from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import shared_database
from scalar_orchestration.run_mirror import RunFollower

log = logging.getLogger(__name__)


class ScalarRunLauncher(DockerRunLauncher):
    def __init__(self, *, asset_runs: str = "process", **docker: Any) -> None:
        super().__init__(**docker)
        if asset_runs not in ("process", "docker"):
            raise ValueError(f"asset_runs: {asset_runs!r} is neither `process` nor `docker`.")
        self._asset_runs = DefaultRunLauncher() if asset_runs == "process" else None
        self._follower: RunFollower | None = None
        self._follower_lock = threading.Lock()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        where = Field(StringSource, is_required=False, default_value="process", description="`process` or `docker`.")
        return {**DOCKER_CONFIG_SCHEMA, "asset_runs": where}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: Any) -> None:
        super().register_instance(instance)
        if self._asset_runs is not None:
            self._asset_runs.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        if _is_gpu_run(context.dagster_run):
            self._launch_gpu_run(context.dagster_run)
        elif self._asset_runs is not None:
            self._asset_runs.launch_run(context)
        else:
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is not None and _is_gpu_run(run):
            return self._terminate_gpu_run(run)
        if self._asset_runs is not None:
            return bool(self._asset_runs.terminate(run_id))  # type: ignore[no-untyped-call]
        return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]

    @property
    def supports_resume_run(self) -> bool:
        return False

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        if _is_gpu_run(run):
            return self._gpu_run_health(run)
        if self._asset_runs is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return super().check_run_worker_health(run)  # type: ignore[no-any-return]

    def dispose(self) -> None:
        if self._follower is not None:
            self._follower.stop()

    def _launch_gpu_run(self, run: DagsterRun) -> None:
        """Raises: `Unavailable`; Dagster then fails the run, and another is asked for."""
        self._follow()
        run_id = run.tags.get(RUN_TAG)
        try:
            if run_id is None:
                raise InvalidRequest("A gpu_run belongs to a customer's job: submit one with POST /v1/jobs.")
            if run.parent_run_id is not None:
                self._re_execute(run)
            else:
                self._claim(run, run_id)
        except Unavailable:
            raise
        except ScalarError as error:
            run_events.run_refused(self._instance, run, error)

    def _claim(self, run: DagsterRun, run_id: str) -> None:
        now = utc_now()
        with self._database.transaction() as tx:
            claimed = life.launch(tx, run_id, run.run_id, now)
            row = store.run(tx, run_id)
        if claimed:
            self._tell_began(run, run_id)
        elif row is None or row.dagster_run_id != run.run_id:
            why = f"Dagster run {row.dagster_run_id} runs it" if row and row.dagster_run_id else "it has ended"
            run_events.run_skipped(self._instance, run, f"Nothing to do: {run_id} was not waiting any more ({why}).")

    def _tell_began(self, run: DagsterRun, run_id: str) -> None:
        """Once claimed, the run goes on whatever happens here: what Dagster wasn't told now, the mirror tells it."""
        try:
            run_events.run_began(self._instance, run, f"{run_id} is on its way to {run.tags.get('scalar/node')}.")
            with self._database.transaction() as tx:
                told(tx, run_id, Mirrored.STARTED)
        except Exception:
            log.exception("%s is launched, but Dagster could not be told at once.", run_id)

    def _re_execute(self, run: DagsterRun) -> None:
        """Asked for in Dagster's UI: the job starts again, and its next run is this one."""
        job_id = run.tags.get(JOB_TAG, "")
        run_events.run_began(self._instance, run, f"{job_id} is asked to run again; this run is its next.")
        with self._database.transaction() as tx:
            life.re_execute(tx, job_id, run.run_id, utc_now())

    def _terminate_gpu_run(self, run: DagsterRun) -> bool:
        """False where it had ended. A run that no node was told of ends here and now."""
        if run.is_finished:
            return False
        self._follow()
        with self._database.transaction() as tx:
            row = store.run_of_dagster(tx, run.run_id)
        if row is not None and row.state.ended:
            return False
        # Before the stop: told after it, it might come after the end.
        self._instance.report_run_canceling(run)
        with self._database.transaction() as tx:
            withdrawn = life.withdraw(tx, run.run_id, utc_now())
            row = store.run_of_dagster(tx, run.run_id)
            if row is not None:
                store.job(tx, row.job_id, for_update=True)
                life.stop_run(tx, row, TerminationReason.TERMINATED, utc_now())
        if withdrawn:
            self._instance.report_run_canceled(run, "It was stopped before it was placed.")
        return row is not None or withdrawn

    def _gpu_run_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Only a run that Scalar does not know at all is lost; one that has ended is about to be mirrored."""
        try:
            with self._database.transaction() as tx:
                # In this order: what waited may be placed in between, and never the other way round.
                waits = store.is_requested(tx, run.run_id)
                row = store.run_of_dagster(tx, run.run_id)
        except ScalarError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, error.message, transient=True)
        if row is None and not waits:
            return CheckRunHealthResult(
                WorkerStatus.NOT_FOUND, "Its job was cancelled before it was placed, or Scalar never had such a run."
            )
        ended = row is not None and row.state is RunState.SUCCEEDED
        return CheckRunHealthResult(WorkerStatus.SUCCESS if ended else WorkerStatus.RUNNING)

    def _follow(self) -> None:
        """From its first GPU run on, a process follows what becomes of them."""
        with self._follower_lock:
            if self._follower is None:
                url = settings().direct_url
                self._follower = RunFollower(self._instance, self._database.transaction, url)

    @property
    def _database(self) -> Any:
        return shared_database(settings().database_url.get_secret_value())


def _is_gpu_run(run: DagsterRun) -> bool:
    return run.job_name == JOB_NAME
