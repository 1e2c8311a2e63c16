"""What both doors call a run's Dagster run: names and tags, no framework.

The tags lead from a Dagster run to the job, its organisation and its node. Together with Dagster's own `run_key` and
`sensor_name`, they also let the sensor see that the nudge has already asked for a run, and the reverse.
"""

from collections.abc import Mapping
from typing import Any

LOCATION_NAME = "scalar"
REPOSITORY_NAME = "__repository__"
JOB_NAME = "gpu_run"
SENSOR_NAME = "job_queue"
STEP_KEY = "container"

RUN_TAG = "scalar/run_id"
JOB_TAG = "scalar/job_id"


def run_tags(run: Mapping[str, Any]) -> dict[str, str]:
    """`run`: a row of `capacity.store.lease_unlaunched`."""
    return {
        RUN_TAG: run["run_id"],
        JOB_TAG: run["job_id"],
        "scalar/job_name": run["name"],
        "scalar/attempt": str(run["attempt"]),
        "scalar/organisation": run["organisation"],
        "scalar/organisation_id": run["organisation_id"],
        "scalar/node": run["nodes"],
        "scalar/tier": run["tier"],
    }


def run_key(run: Mapping[str, Any]) -> str:
    """The run's id; with the number of the try, where Dagster was asked before and nothing came of it."""
    tries = run["launch_tries"]
    return str(run["run_id"]) if tries == 1 else f"{run['run_id']}/{tries}"


def nudge_tags(run: Mapping[str, Any]) -> dict[str, str]:
    """As if the sensor had asked, so that it does not ask again."""
    return {**run_tags(run), "dagster/run_key": run_key(run), "dagster/sensor_name": SENSOR_NAME}
