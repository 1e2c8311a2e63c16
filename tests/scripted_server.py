"""A real HTTP server on 127.0.0.1 that gives the answers it was told to, in order: the outside world for a gateway."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Fault(Enum):
    """How an answer can fail to come."""

    DROPPED_UNREAD = auto()
    """The connection is reset before the request is read."""
    DROPPED = auto()
    """The request is read, and the connection reset."""
    CUT = auto()
    """Half of the answer comes."""
    HANGS = auto()
    """Nothing comes until the server stops."""


@dataclass(frozen=True, kw_only=True)
class Scripted:
    status: int = 200
    body: Any = None
    """bytes go as they are, anything else as JSON; None: nothing."""
    headers: dict[str, str] = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class ScriptedServer:
    """`seen`: the requests so far. A request that no answer is left for gets 418, which no test expects."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.dropped_unread = 0
        self._answers: list[Scripted] = []
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def answers(self, *answers: Scripted) -> None:
        self._answers.extend(answers)

    def next(self) -> Scripted:
        with self._lock:
            return self._answers.pop(0) if self._answers else Scripted(status=418)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Handler(BaseHTTPRequestHandler):
    server_state: ScriptedServer

    def handle(self) -> None:
        self.close_connection = True
        self.answer = self.server_state.next()
        if self.answer.fault is Fault.DROPPED_UNREAD:
            # Once it was sent: a reset before that would be a connection that never was.
            self.connection.recv(1, socket.MSG_PEEK)
            self.server_state.dropped_unread += 1
            self._reset()
            return
        self.handle_one_request()

    def _respond(self) -> None:
        self._remember()
        match self.answer.fault:
            case Fault.DROPPED:
                self._reset()
            case Fault.HANGS:
                self.server_state.stopping.wait()
            case fault:
                self._send(cut=fault is Fault.CUT)

    do_GET = do_POST = do_PATCH = do_DELETE = _respond  # noqa: N815 - the names that the class above calls

    def _remember(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        seen = Seen(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(raw) if raw else None,
        )
        self.server_state.seen.append(seen)

    def _send(self, *, cut: bool) -> None:
        said = self.answer.body
        body = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
        self.send_response_only(self.answer.status)
        for name, value in {"Content-Type": "application/json", **self.answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def finish(self) -> None:
        if self.connection.fileno() != -1:
            super().finish()

    def log_message(self, *_: object) -> None:
        pass
