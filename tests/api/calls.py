"""What customers and nodes send, with defaults; and how an answer's events read."""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from scalar.jobs.model import JobRun
from scalar.protocol import TaskEnding

TYPES = "https://scalar.dev/problems/"


def a_body(**changes: Any) -> dict[str, Any]:
    """A submission; `gpus`, `nodes`, `gpu_type`, `cpus`, `memory_gib` go to its resources."""
    resources = {k: changes.pop(k) for k in ("gpus", "nodes", "gpu_type", "cpus", "memory_gib") if k in changes}
    return {"image": "busybox:local", "tier": "fast", "resources": {"gpus": 1, **resources}, **changes}


def assert_problem(answer: httpx.Response, status: int, type_: str) -> dict[str, Any]:
    """The body of an error, which has the one shape that all have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == TYPES + type_
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return dict(body)


@dataclass
class NodeAgent:
    """A node as the API sees one."""

    id: str
    client: httpx.Client

    def desired(self, version: int = -1, wait: float = 0) -> dict[str, Any]:
        answer = self.client.get("/v1/node/desired", params={"version": version, "wait": wait})
        return dict(answer.raise_for_status().json())

    def report(self, run: JobRun, kind: str, *, rank: int = 0, **fields: Any) -> str:
        """The outcome."""
        body = {"reports": [a_report(run, kind, rank=rank, **fields)]}
        answer = self.client.post("/v1/node/reports", json=body).raise_for_status().json()
        return str(answer["outcomes"][0])

    def runs(self, run: JobRun, *, rank: int = 0) -> None:
        """Its container is up."""
        assert self.report(run, "running", rank=rank) == "accepted"

    def ends(self, run: JobRun, *, rank: int = 0, exit_code: int | None = 0, **fields: Any) -> str:
        started = datetime.now(UTC).isoformat()
        return self.report(run, "ended", rank=rank, exit_code=exit_code, **{"started_at": started, **fields})

    def writes(self, run: JobRun, *frames: tuple[str, int, bytes], rank: int = 0, **fields: Any) -> dict[str, Any]:
        """The receipt. `frames`: (stream, start, bytes)."""
        body = {
            "run_id": run.id,
            "rank": rank,
            "token": run.token.get_secret_value(),
            "frames": [
                {"stream": stream, "start": start, "data": base64.b64encode(data).decode()}
                for stream, start, data in frames
            ],
            **fields,
        }
        return dict(self.client.post("/v1/node/logs", json=body).raise_for_status().json())


def a_report(run: JobRun, kind: str, *, rank: int = 0, **fields: Any) -> dict[str, Any]:
    more = {"running": {"container_id": "c"}, "ended": {"ending": TaskEnding.EXITED, "started_at": None}}
    return {
        "kind": kind,
        "run_id": run.id,
        "rank": rank,
        "token": run.token.get_secret_value(),
        "at": datetime.now(UTC).isoformat(),
        **more.get(kind, {}),
        **fields,
    }


@dataclass(frozen=True)
class Event:
    kind: str
    id: str | None
    data: dict[str, Any]


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Server-sent events from a stream's lines; comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield Event(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def text_of(seen: Iterable[Event]) -> str:
    return "".join(event.data["text"] for event in seen if event.kind == "log")
