"""The platform from outside: a customer over REST, an operator in Dagster, and what the Docker engine tells."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import docker
import httpx

from scalar.jobs.dagster import JOB_NAME, LOCATION_NAME, REPOSITORY_NAME
from scalar.tls import trusted
from scalar_api.up.platform import Platform

IMAGE = "busybox:local"
PATIENCE_SECONDS = 30.0
Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen | None], within_seconds: float = PATIENCE_SECONDS, what: str = "") -> Seen:
    """What `look` returns once that is true."""
    deadline = time.monotonic() + within_seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s: {what or look}")
        time.sleep(0.05)
    return seen


def counting(lines: int, pause: float = 0.1) -> list[str]:
    """A command that prints `line 1` to `line N`; `counted` is what its whole log is."""
    return ["sh", "-c", f"for i in $(seq {lines}); do echo line $i; sleep {pause}; done"]


def counted(lines: int) -> str:
    return "".join(f"line {i}\n" for i in range(1, lines + 1))


class Caller:
    """One key's requests. One that the API doesn't answer is sent again: it may just be restarting."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10, verify=trusted()
        )

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer, whatever its status is, unless that is 503."""
        return eventually(lambda: self._try(method, path, **more), what=f"{method} {path} is answered")

    def get(self, path: str, **query: Any) -> Any:
        return self.ask("GET", path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.ask("POST", path, json=body).raise_for_status().json()

    def close(self) -> None:
        self._http.close()

    def _try(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            answer = self._http.request(method, path, **more)
        except httpx.TransportError:
            return None
        return None if answer.status_code == 503 else answer


class Customer(Caller):
    def submit(self, command: list[str] | str | None = None, **more: Any) -> str:
        """A job's id. A string is a shell's script; `gpus`, `memory_gib`, … go to the resources."""
        answer = self.try_submit(command, **more)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def try_submit(
        self, command: list[str] | str | None = None, *, key: str | None = None, **more: Any
    ) -> httpx.Response:
        names = ("gpus", "gpu_type", "nodes", "cpus", "memory_gib")
        resources = {"gpus": 1, **{name: more.pop(name) for name in names if name in more}}
        body = {
            "image": IMAGE,
            "tier": "fast",
            "command": ["sh", "-c", command] if isinstance(command, str) else command or ["true"],
            "resources": resources,
            **more,
        }
        return self.ask("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/jobs/{job_id}"))

    def when(self, job_id: str, *states: str, within_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The job, once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in states else None

        return eventually(look, within_seconds, f"{job_id} is {' or '.join(states)}")

    def ended(self, job_id: str, within_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        return self.when(job_id, "succeeded", "failed", "cancelled", "dead_letter", within_seconds=within_seconds)

    def running(self, job_id: str) -> dict[str, Any]:
        return self.when(job_id, "running")

    def log(self, job_id: str, **query: Any) -> str:
        return self.ask("GET", f"/v1/jobs/{job_id}/logs", params=query).raise_for_status().text

    def has_printed(self, job_id: str, text: str) -> None:
        eventually(lambda: text in self.log(job_id), what=f"{job_id} has printed {text!r}")

    def explanation(self, job_id: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/jobs/{job_id}/explanation"))

    def cancel(self, job_id: str) -> Any:
        return self.post(f"/v1/jobs/{job_id}/cancel")

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any], float]]:
        """(event, data, when it came) of the live log, to its end; resumed where it breaks off."""
        last_id, over = None, False
        while not over:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                for name, data, event_id in self._stream(f"/v1/jobs/{job_id}/logs?follow=true", headers):
                    last_id, over = event_id or last_id, name == "end"
                    yield name, data, time.time()
            except httpx.TransportError:
                time.sleep(0.1)

    def _stream(self, path: str, headers: dict[str, str]) -> Iterator[tuple[str, dict[str, Any], str | None]]:
        with self._http.stream("GET", path, headers=headers, timeout=40) as answer:
            if answer.status_code != 200:
                raise httpx.ReadError(f"the API answered {answer.status_code}")
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(":")
                    fields[name] = value.strip()
                elif not line and fields:
                    yield fields["event"], json.loads(fields["data"]), fields.get("id")
                    fields = {}


RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    ... on Run { status tags { key value } stepStats { stepKey status } canTerminate }
    ... on RunNotFoundError { message }
  }
}
"""
EVENTS = """
query Events($id: ID!) {
  logsForRun(runId: $id) {
    ... on EventConnection {
      events { __typename ... on MessageEvent { message eventType timestamp } ... on LogsCapturedEvent { fileKey } }
    }
  }
}
"""
OUTPUT = """
query Output($key: [String!]!, $cursor: String) {
  capturedLogs(logKey: $key, cursor: $cursor) { stdout stderr cursor }
}
"""
RUNS = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter) { ... on Runs { results { runId status tags { key value } } } }
}
"""
BUILT = """
query Built($asset: AssetKeyInput!) {
  assetOrError(assetKey: $asset) { ... on Asset { assetMaterializations(limit: 20) { runId partition } } }
}
"""
CHECKED = """
query Checked($asset: AssetKeyInput!, $check: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, limit: 5) { runId status evaluation { success } }
}
"""
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
RE_EXECUTE = """
mutation Again($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
TERMINATE = """
mutation Terminate($id: String!) {
  terminateRun(runId: $id) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message }
  }
}
"""


class Dagster:
    """What its UI asks for and shows, over the same GraphQL."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=20, verify=trusted())

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = eventually(lambda: self._try({"query": query, "variables": variables}), what="Dagster answers")
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    def run(self, run_id: str) -> dict[str, Any]:
        """Its status, its tags (as a dict) and its steps' statuses."""
        run = self.ask(RUN, id=run_id)["runOrError"]
        run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        run["steps"] = {step["stepKey"]: step["status"] for step in run["stepStats"]}
        return dict(run)

    def run_in(self, run_id: str, *statuses: str, within_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The run, once it is in one of these."""

        def look() -> dict[str, Any] | None:
            run = self.run(run_id)
            return run if run["status"] in statuses else None

        return eventually(look, within_seconds, f"Dagster run {run_id} is {' or '.join(statuses)}")

    def finished(self, run_id: str) -> dict[str, Any]:
        return self.run_in(run_id, "SUCCESS", "FAILURE", "CANCELED")

    def events(self, run_id: str) -> list[dict[str, Any]]:
        return list(self.ask(EVENTS, id=run_id)["logsForRun"]["events"])

    def messages(self, run_id: str) -> str:
        return "\n".join(str(event["message"]) for event in self.events(run_id))

    def event_types(self, run_id: str) -> list[str]:
        return [event["eventType"] for event in self.events(run_id) if event["eventType"]]

    def output(self, run_id: str, file_key: str = "container") -> dict[str, Any]:
        """What the stdout and stderr tabs of the run page show."""
        return dict(self.ask(OUTPUT, key=[run_id, "compute_logs", file_key])["capturedLogs"])

    def runs_tagged(self, key: str, value: str) -> list[dict[str, Any]]:
        return list(self.ask(RUNS, filter={"tags": [{"key": key, "value": value}]})["runsOrError"]["results"])

    def materializations(self, asset: str) -> list[dict[str, Any]]:
        """(runId, partition) of each, the newest first."""
        return list(self.ask(BUILT, asset={"path": [asset]})["assetOrError"].get("assetMaterializations", []))

    def checks(self, asset: str, check: str) -> list[dict[str, Any]]:
        return list(self.ask(CHECKED, asset={"path": [asset]}, check=check)["assetCheckExecutions"])

    def launch(self, job_name: str = JOB_NAME, tags: dict[str, str] | None = None) -> str:
        """As the launchpad does; the new run's id."""
        selector = {
            "repositoryLocationName": LOCATION_NAME,
            "repositoryName": REPOSITORY_NAME,
            "jobName": job_name,
        }
        pairs = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": pairs}}
        return _launched(self.ask(LAUNCH, params=params)["launchRun"])

    def re_execute(self, run_id: str) -> str:
        answer = self.ask(RE_EXECUTE, params={"parentRunId": run_id, "strategy": "ALL_STEPS"})
        return _launched(answer["launchRunReexecution"])

    def terminate(self, run_id: str) -> str:
        """The answer's type."""
        return str(self.ask(TERMINATE, id=run_id)["terminateRun"]["__typename"])

    def close(self) -> None:
        self._http.close()

    def _try(self, body: dict[str, Any]) -> dict[str, Any] | None:
        try:
            answer = self._http.post("/graphql", json=body)
        except httpx.TransportError:
            return None
        said = dict(answer.json())
        # A mutation that was refused is a 500 with data. One without: its own Postgres may just be restarting.
        return said if said.get("data") or not answer.is_server_error else None


def _launched(answer: dict[str, Any]) -> str:
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


@dataclass
class Container:
    """What the engine told of one container."""

    id: str
    labels: dict[str, str]
    actions: list[str] = field(default_factory=list)
    started_at: float | None = None
    died_at: float | None = None
    exit_code: int | None = None

    @property
    def ran_seconds(self) -> float:
        assert self.started_at is not None, self
        assert self.died_at is not None, self
        return self.died_at - self.started_at


class Engine:
    """Remembers every container that the engine has made since this began to listen."""

    def __init__(self, client: docker.APIClient) -> None:
        self.client = client
        self._seen: dict[str, Container] = {}
        self._stream = client.events(since=datetime.now(UTC), decode=True, filters={"type": "container"})
        self._thread = threading.Thread(target=self._listen, name="docker-events", daemon=True)
        self._thread.start()

    def of_job(self, job_id: str) -> list[Container]:
        """All that were ever made for it, oldest first."""
        return [each for each in list(self._seen.values()) if each.labels.get("scalar.job_id") == job_id]

    def the_one_of(self, job_id: str) -> Container:
        """The only one that was ever made for it, once it is gone."""
        eventually(lambda: any("destroy" in each.actions for each in self.of_job(job_id)), what="it is removed")
        (only,) = self.of_job(job_id)
        return only

    def left_of(self, node_id: str) -> list[str]:
        """Names of the containers of a node that are there now, running or not."""
        there = self.client.containers(all=True, filters={"label": f"scalar.node_id={node_id}"})
        return [each["Names"][0] for each in there]

    def close(self) -> None:
        self._stream.close()
        self._thread.join(timeout=5)

    def _listen(self) -> None:
        for event in self._stream:
            attributes = event["Actor"]["Attributes"]
            if "scalar.job_id" in attributes:
                self._note(event, attributes)

    def _note(self, event: dict[str, Any], attributes: dict[str, str]) -> None:
        container = self._seen.setdefault(event["id"], Container(event["id"], attributes))
        action, at = event["Action"], event["timeNano"] / 1e9
        if action == "start":
            container.started_at = at
        elif action == "die":
            container.died_at, container.exit_code = at, int(attributes["exitCode"])
        container.actions.append(action)


@dataclass(frozen=True)
class World:
    """A platform that is up, and everybody who looks at it."""

    platform: Platform
    customer: Customer
    operator: Customer
    dagster: Dagster
    engine: Engine
    restarts: list[str]
    """Names of services that died and were started again."""

    @property
    def node(self) -> dict[str, Any]:
        nodes = self.operator.get("/v1/nodes")["data"]
        return next(node for node in nodes if node["name"] == self.platform.options.node_name)

    def dagster_run_of(self, job_id: str) -> str:
        """The id of the Dagster run of the job's last run, once there is one."""

        def look() -> str | None:
            runs = self.customer.job(job_id)["runs"]
            return runs[-1]["dagster_run_id"] if runs else None

        return eventually(look, what=f"{job_id} has a Dagster run")

    def ran_once(self, job_id: str, log: str) -> dict[str, Any]:
        """The job, which succeeded in one try and one container, with its whole log, metered as its container ran, and
        with a Dagster run that says so.
        """
        job = self.customer.ended(job_id, within_seconds=60)
        assert (job["state"], job["exit_code"]) == ("succeeded", 0), self.customer.explanation(job_id)
        assert [run["attempt"] for run in job["runs"]] == [1]
        assert self.customer.log(job_id) == log
        container = self.engine.the_one_of(job_id)
        assert container.actions.count("start") == 1
        # In time, not in GPU time: the engine tells its moments by events, and the node by the container's own record.
        assert abs(job["gpu_seconds"] / job["resources"]["gpus"] - container.ran_seconds) < 1.0
        run = self.dagster.finished(job["runs"][0]["dagster_run_id"])
        assert (run["status"], run["steps"]) == ("SUCCESS", {"container": "SUCCESS"})
        ends = [kind for kind in self.dagster.event_types(job["runs"][0]["dagster_run_id"]) if kind == "RUN_SUCCESS"]
        assert len(ends) == 1
        return job


def processes_of(data: Path) -> list[str]:
    """What still runs with this folder in its command line or its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(data).encode() in known:
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found
