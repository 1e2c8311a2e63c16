"""Dagster's webserver, over GraphQL: the one file of this door that speaks to it."""

from typing import Any

import httpx
import structlog

from scalar.jobs.dagster import JOB_NAME, LOCATION_NAME, REPOSITORY_NAME, nudge_tags
from scalar.tls import trusted

log = structlog.get_logger(__name__)

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on UnauthorizedError { message }
  }
}
"""


class DagsterRefusedError(Exception):
    """Dagster didn't start a run: away, still loading, or it said why."""


class Dagster:
    """Thread-safe. Close it, or its connections stay open."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(20, connect=2), verify=trusted())

    def launch(self, run: dict[str, Any]) -> str:
        """Start the Dagster run of a placed run (a row of `lease_unlaunched`); its Dagster run id.

        Raises: `DagsterRefusedError`.
        """
        selector = {
            "repositoryLocationName": LOCATION_NAME,
            "repositoryName": REPOSITORY_NAME,
            "jobName": JOB_NAME,
        }
        tags = [{"key": key, "value": value} for key, value in nudge_tags(run).items()]
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
        answer = self._post({"query": _LAUNCH, "variables": {"params": params}})
        launched = (answer.get("data") or {}).get("launchRun") or {}
        if launched.get("__typename") != "LaunchRunSuccess":
            raise DagsterRefusedError(str(launched.get("message") or launched or answer.get("errors"))[:500])
        return str(launched["run"]["runId"])

    def close(self) -> None:
        self._client.close()

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._client.post("/graphql", json=body)
            answer.raise_for_status()
            return dict(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterRefusedError(f"{type(error).__name__}: {error}") from error
