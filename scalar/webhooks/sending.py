"""One POST to a customer's server: the only file that talks to it.

A name is looked up once, every address that it leads to is checked, and the connection goes to exactly such an
address: a name that leads elsewhere when it is asked a second time (DNS rebinding) is never asked a second time. TLS
and the Host header still know the name. No redirect is followed, no proxy used, no connection kept; all of it together
has ten seconds, however slowly the other side writes.
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpcore

from scalar.tls import trusted
from scalar.webhooks.addresses import why_not_address, why_not_url
from scalar.webhooks.model import Outcome

SECONDS = 10.0
MAX_BODY = 16 * 1024
"""Of an answer that is read at all."""
_MAX_SHOWN = 500

Resolve = Callable[[str, int], list[str]]
"""The addresses of a host. Raises: `OSError`."""


def system_resolver(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class NotSent(Exception):
    """The message is for whoever has the endpoint."""


class Sender:
    """Safe to use from any thread."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = system_resolver,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._tls = tls or trusted()
        self._seconds = seconds

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """What became of it: an answer of 2xx counts, nothing else does."""
        try:
            return self._post(url, headers, body)
        except NotSent as error:
            return _failed(str(error))
        except httpcore.TimeoutException:
            return _failed(f"no answer within {self._seconds:g} seconds")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            return _failed(f"{_NAMES.get(type(error), 'it could not be sent')}: {error}")

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        why = why_not_url(url, allow_private=self._allow_private)
        if why is not None:
            raise NotSent(f"nothing can be sent to this url: {why}")
        network = _CheckedNetwork(self._resolve, _Deadline(self._seconds), allow_private=self._allow_private)
        sent = [("Host", urlsplit(url).netloc), ("Content-Type", "application/json"), *headers.items()]
        with (
            httpcore.ConnectionPool(
                ssl_context=self._tls, max_connections=1, max_keepalive_connections=0, network_backend=network
            ) as pool,
            pool.stream("POST", url, headers=sent, content=body) as answer,
        ):
            return _outcome(answer.status, _beginning(answer))


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, error: type[httpcore.TimeoutException]) -> float:
        """Raises: the error where nothing is."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise error
        return left


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to addresses that may be sent to, and to no others."""

    def __init__(self, resolve: Resolve, deadline: _Deadline, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._deadline = deadline
        self._allow_private = allow_private
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline holds instead
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._checked(host, port):
            left = self._deadline.left(httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _checked(self, host: str, port: int) -> list[str]:
        """Raises: `NotSent` if any of its addresses is refused: who mixes them is up to something."""
        addresses = self._addresses(host, port)
        for address in addresses:
            why = None if self._allow_private else why_not_address(address)
            if why is not None:
                raise NotSent(f"{host} leads to {address}, which is not public ({why})")
            # What is connected to must be an address, lest it be looked up again.
            ipaddress.ip_address(address)
        return addresses

    def _addresses(self, host: str, port: int) -> list[str]:
        """The system's resolver knows no time limit: it is asked in a thread, which is left behind if it hangs."""
        answers: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=ask, name="webhook-resolver", daemon=True).start()
        try:
            answer = answers.get(timeout=self._deadline.left(httpcore.ConnectTimeout))
        except queue.Empty:
            raise NotSent(f"{host} could not be looked up in time") from None
        if isinstance(answer, Exception):
            raise NotSent(f"{host} could not be looked up: {answer}")
        return answer


class _TimedStream(httpcore.NetworkStream):
    """Each wait lasts until the deadline at most, so that many short waits don't add up to more."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline holds instead
        return self._stream.read(max_bytes, self._deadline.left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - likewise
        self._stream.write(buffer, self._deadline.left(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - likewise
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


_NAMES: dict[type[Exception], str] = {
    httpcore.ConnectError: "no connection",
    httpcore.ReadError: "the connection broke",
    httpcore.WriteError: "the connection broke",
    httpcore.RemoteProtocolError: "the answer is no HTTP",
}


def _beginning(answer: httpcore.Response) -> bytes:
    """An answer whose body breaks off, hangs or never ends has been given all the same: its status counts."""
    read = b""
    try:
        for part in answer.iter_stream():
            read += part
            if len(read) >= MAX_BODY:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        pass
    return read[:MAX_BODY]


def _outcome(status: int, body: bytes) -> Outcome:
    said = body.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")[:_MAX_SHOWN]
    return Outcome(status=status, message=_why(status), response=said or None)


def _why(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"it answered {status}: redirects are not followed"
    return f"it answered {status}"


def _failed(message: str) -> Outcome:
    return Outcome(status=None, message=message[:_MAX_SHOWN])
