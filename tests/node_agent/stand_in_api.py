"""The node half of the API over real HTTP, in memory: what the agent's tests talk to. Every body is the protocol's."""

import json
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from scalar.protocol import (
    LOG_BATCH_BYTES,
    DesiredState,
    DesiredTask,
    JoinReply,
    JoinRequest,
    LogBatch,
    LogOffsets,
    LogReceipt,
    NodeFacts,
    ReportBatch,
    ReportOutcome,
    ReportReceipt,
    TaskEnded,
    TaskKey,
    TaskReport,
    Want,
)

JOIN_TOKEN = "join-secret"


class StandInApi:
    def __init__(self) -> None:
        self.changed = Condition()
        self.nodes: dict[str, str] = {}
        self.all_nodes: list[str] = []
        self.afterwards: list[Callable[[], None]] = []
        self.facts: list[NodeFacts] = []
        self.tasks: dict[TaskKey, DesiredTask] = {}
        self.version = 0
        self.reports: list[TaskReport] = []
        self.received_at: dict[tuple[str, int, str], float] = {}
        self.logs: dict[TaskKey, dict[str, bytearray]] = defaultdict(lambda: defaultdict(bytearray))
        self.requests: Counter[str] = Counter()
        self.keep_ended = False
        self.garble_desired = False
        self.stale = False
        self.taken_names: set[str] = set()
        self.lose_join_reply = False
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens; after `stop`, on the same port again."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more, as when the API is down."""
        server, self._server = self._server, None
        if server:
            with self.changed:
                self.changed.notify_all()
            server.shutdown()
            server.server_close()

    @property
    def listens(self) -> bool:
        return self._server is not None

    def want(self, *tasks: DesiredTask) -> None:
        """Adds tasks to the desired state, or replaces them."""
        with self.changed:
            self.tasks |= {task.key: task for task in tasks}
            self._new_version()

    def want_stopped(self, key: TaskKey) -> None:
        self.want(self.tasks[key].model_copy(update={"want": Want.STOP}))

    def drop(self, key: TaskKey) -> None:
        with self.changed:
            self.tasks.pop(key, None)
            self._new_version()

    def kinds(self, key: TaskKey) -> list[str]:
        """The kinds of all reports of one task, as they came in."""
        return [report.kind for report in list(self.reports) if (report.run_id, report.rank) == key]

    def ended(self, key: TaskKey) -> TaskEnded | None:
        ends = [each for each in list(self.reports) if isinstance(each, TaskEnded) and (each.run_id, each.rank) == key]
        assert len(ends) <= 1, "an end reported twice"
        return ends[0] if ends else None

    def answer(self, method: str, path: str, query: dict[str, list[str]], bearer: str, body: bytes) -> tuple[int, str]:
        self.requests[f"{method} {path}"] += 1
        if (method, path) == ("POST", "/v1/nodes/join"):
            return self._join(bearer, JoinRequest.model_validate_json(body))
        if bearer not in self.nodes:
            return 401, "{}"
        answers: dict[tuple[str, str], Callable[[], tuple[int, str]]] = {
            ("PUT", "/v1/node/facts"): lambda: self._take_facts(NodeFacts.model_validate_json(body)),
            ("GET", "/v1/node/desired"): lambda: self._desired(int(query["version"][0]), float(query["wait"][0])),
            ("POST", "/v1/node/reports"): lambda: self._take_reports(ReportBatch.model_validate_json(body)),
            ("POST", "/v1/node/logs"): lambda: self._take_log(LogBatch.model_validate_json(body)),
        }
        return answers[method, path]()

    def _join(self, bearer: str, request: JoinRequest) -> tuple[int, str]:
        if bearer != JOIN_TOKEN:
            return 401, "{}"
        if self.lose_join_reply:
            return 504, "{}"
        if request.facts.name in self.taken_names:
            return 409, json.dumps({"detail": f"There is a node named {request.facts.name!r} already."})
        self.facts.append(request.facts)
        credential, node_id = f"credential-{uuid.uuid4()}", f"node-{uuid.uuid4().hex[:12]}"
        self.nodes[credential] = node_id
        self.all_nodes.append(node_id)
        return _ok(JoinReply(node_id=node_id, credential=credential))

    def _take_facts(self, facts: NodeFacts) -> tuple[int, str]:
        self.facts.append(facts)
        return 204, ""

    def _desired(self, version: int, wait: float) -> tuple[int, str]:
        if self.garble_desired:
            return 200, json.dumps({"version": self.version + 1})
        with self.changed:
            deadline = time.monotonic() + wait
            while self.version == version and self.listens and time.monotonic() < deadline:
                self.changed.wait(deadline - time.monotonic())
            if not self.listens:
                return 503, "{}"
            tasks = [self._with_offsets(task) for task in self.tasks.values()]
            return _ok(DesiredState(version=self.version, tasks=tasks, server_time=datetime.now(UTC)))

    def _with_offsets(self, task: DesiredTask) -> DesiredTask:
        return task.model_copy(update={"log_offsets": self._offsets(task.key)})

    def _offsets(self, key: TaskKey) -> LogOffsets:
        return LogOffsets(stdout=len(self.logs[key]["stdout"]), stderr=len(self.logs[key]["stderr"]))

    def _take_reports(self, batch: ReportBatch) -> tuple[int, str]:
        with self.changed:
            outcomes = [self._take_report(report) for report in batch.reports]
            return _ok(ReportReceipt(outcomes=outcomes))

    def _take_report(self, report: TaskReport) -> ReportOutcome:
        task = self.tasks.get((report.run_id, report.rank))
        if task is None or task.token.get_secret_value() != report.token.get_secret_value():
            return ReportOutcome.STALE
        if report in self.reports:
            return ReportOutcome.DUPLICATE
        self.reports.append(report)
        self.received_at[report.run_id, report.rank, report.kind] = time.time()
        if isinstance(report, TaskEnded) and not self.keep_ended:
            del self.tasks[task.key]
            self._new_version()
        return ReportOutcome.ACCEPTED

    def _take_log(self, batch: LogBatch) -> tuple[int, str]:
        assert sum(len(frame.data) for frame in batch.frames) <= LOG_BATCH_BYTES
        key = (batch.run_id, batch.rank)
        with self.changed:
            for frame in batch.frames:
                have = self.logs[key][frame.stream.value]
                if frame.start <= len(have):
                    again = bytes(have[frame.start : frame.start + len(frame.data)])
                    assert frame.data.startswith(again), "other bytes at the same offset"
                    have += frame.data[len(again) :]
            return _ok(LogReceipt(offsets=self._offsets(key), stale=self.stale))

    def _new_version(self) -> None:
        self.version += 1
        self.changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _ok(reply: BaseModel) -> tuple[int, str]:
    return 200, reply.model_dump_json()


def _handler(api: StandInApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def _respond(self) -> None:
            where = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, text = (
                api.answer(self.command, where.path, parse_qs(where.query), bearer, body)
                if api.listens
                else (503, "{}")
            )
            # A connection kept alive would outlive `stop`.
            self.close_connection = not api.listens
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            # An agent that was killed doesn't wait for its answer.
            with suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _respond  # noqa: N815 - the names that http.server calls

    return Handler
