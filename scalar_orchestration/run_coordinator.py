"""Launches a `gpu_run` at once; queues everything else, as `QueuedRunCoordinator` does.

A GPU run has waited in Scalar's own queue already. Asset runs are limited by the tag `scalar/kind: asset`, and not by
`max_concurrent_runs`: runs in progress of any kind count against that, and ten GPU runs would starve every asset.
"""

from dagster import DagsterRun, QueuedRunCoordinator
from dagster._core.run_coordinator.base import SubmitRunContext

from scalar.jobs.dagster import JOB_NAME

KIND_TAG = "scalar/kind"
MAX_RUNTIME_TAG = "dagster/max_runtime"
_ASSET_SECONDS = "1800"
"""After it run monitoring fails a run whose process is gone, so that it does not hold its place for ever."""


class ScalarRunCoordinator(QueuedRunCoordinator):
    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = context.dagster_run
        if run.job_name == JOB_NAME:
            return self._instance.launch_run(run.run_id, context.workspace)
        self._instance.add_run_tags(run.run_id, {KIND_TAG: "asset", MAX_RUNTIME_TAG: _ASSET_SECONDS})
        return super().submit_run(context)
