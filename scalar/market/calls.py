"""One request to the market, as often as it takes: token, retries, circuit breaker, measuring.

    admitted by the breaker? ─► send ─► read ─┬─► value
            ▲                                 ├─► refused, malformed: raised at once
            └──────── wait ◄──────────────────┴─► unavailable: again, where sending it twice does no harm

A request does no harm when it is a question, carries an idempotency key, or asks for a state (this order cancelled,
that machine gone). Any other is sent once; if it was sent and no readable answer came, that is `OutcomeUnknown`.
"""

import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

import httpx
import structlog
from pydantic import SecretStr

from scalar.errors import InvalidRequest
from scalar.market.answers import Read, refusal
from scalar.market.answers.refusals import quotes
from scalar.market.errors import (
    MarketAnswerMalformed,
    MarketError,
    MarketNotAuthenticated,
    MarketNotFound,
    MarketUnavailable,
    Outcome,
    OutcomeUnknown,
)
from scalar.market.patience import Backoff, CircuitBreaker, retry_after
from scalar.tls import trusted

Value = TypeVar("Value")
Query = Mapping[str, str | int | bool | list[str] | None]

_CONNECT_SECONDS = 5.0
_LARGEST_ANSWER = 32 * 1024 * 1024
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt, for whoever measures. `status` is None where no answer came."""

    operation: str
    method: str
    status: int | None
    outcome: Outcome
    seconds: float
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Request:
    operation: str
    """What it is called in figures and logs."""
    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: object = field(default=None, repr=False)
    idempotency_key: str | None = None
    repeatable: bool = False
    """Sending it twice does what sending it once does."""
    removes: bool = False
    """"Not found" after an attempt whose answer was lost: that attempt did it."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What no error may quote."""


@dataclass(frozen=True, kw_only=True)
class _Received:
    status: int
    headers: httpx.Headers
    body: bytes


def ignore(_: Call) -> None:
    """Measures nothing."""


class Calls:
    """One connection pool; safe to use from any thread."""

    def __init__(
        self,
        url: str,
        token: Callable[[], SecretStr],
        *,
        observe: Callable[[Call], None] = ignore,
        timeout: float = 20,
        attempts: int = 4,
        backoff: Backoff | None = None,
        breaker: CircuitBreaker | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._token = token
        self._observe = observe
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff or Backoff()
        self._breaker = breaker
        self._sleep, self._clock, self._random = sleep, clock, random
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"Accept": "application/json", "User-Agent": "scalar"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            transport=transport,
            verify=trusted(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ask(self, request: Request, read: Read[Value]) -> Value:
        """What the answer says. Raises what `scalar.market.errors` draws."""
        attempt, maybe_done = 1, False
        while True:
            self._admit(request, attempt)
            try:
                return self._attempt(request, read, attempt)
            except MarketAnswerMalformed as error:
                if request.repeatable:
                    raise
                # It was done or it was not: the answer that would have told is lost to us.
                raise OutcomeUnknown(str(error), maybe_done=True) from error
            except MarketNotFound:
                if not (request.removes and maybe_done):
                    raise
                return read(b"")
            except MarketUnavailable as error:
                wait = self._wait(request, error, attempt)
                if wait is None:
                    raise
                maybe_done |= error.maybe_done
            log.info("market.retry", operation=request.operation, attempt=attempt, wait=round(wait, 3))
            self._sleep(wait)
            attempt += 1

    def _admit(self, request: Request, attempt: int) -> None:
        wait = self._breaker.admit(self._clock()) if self._breaker else 0.0
        if wait:
            self._tell(request, attempt, None, Outcome.CIRCUIT_OPEN, 0.0)
            raise MarketUnavailable(f"{request.operation}: not sent, the circuit is open", retry_after=wait)

    def _wait(self, request: Request, error: MarketUnavailable, attempt: int) -> float | None:
        """Seconds until it is tried again; None: it is not."""
        if not request.repeatable or attempt >= self._attempts:
            return None
        return self._backoff.wait(attempt, self._random(), error.retry_after)

    def _attempt(self, request: Request, read: Read[Value], attempt: int) -> Value:
        started, status, outcome = self._clock(), None, Outcome.UNAVAILABLE
        try:
            token = self._bearer()
            received = self._send(request, token)
            status = received.status
            value = _understood(request, received, read, _untold(request, token))
        except MarketError as error:
            outcome = error.outcome
            raise
        else:
            outcome = Outcome.OK
            return value
        finally:
            # Whatever ended it: a probe that is never reported would hold the circuit open.
            self._settle(outcome, answered=status is not None)
            self._tell(request, attempt, status, outcome, self._clock() - started)

    def _bearer(self) -> SecretStr:
        token = SecretStr(self._token().get_secret_value().strip())
        if not _VISIBLE.fullmatch(token.get_secret_value()):
            # Not sent: the error of a header that can't be sent would quote it.
            raise MarketNotAuthenticated("there is no usable token", status=401, type="authentication_error")
        return token

    def _send(self, request: Request, token: SecretStr) -> _Received:
        key = request.idempotency_key
        headers = {} if key is None else {"Idempotency-Key": _key(key)}
        query = {name: value for name, value in request.query.items() if value is not None}
        started = self._clock()
        try:
            with self._http.stream(
                request.method, request.path, params=query, json=request.body, headers=headers, auth=_Bearer(token)
            ) as response:
                body = self._body(response, until=started + self._timeout)
                return _Received(status=response.status_code, headers=response.headers, body=body)
        except httpx.HTTPError as error:
            lost = _lost(request, error, _untold(request, token))
        # Here, not above: the library's error holds the request, and with it the token.
        raise lost

    def _body(self, response: httpx.Response, *, until: float) -> bytes:
        """All of it, if it is of a size and comes in a time that make sense."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                raise MarketAnswerMalformed(f"an answer of more than {_LARGEST_ANSWER} bytes")
            if self._clock() > until:
                raise httpx.ReadTimeout("the answer took too long")
        return bytes(body)

    def _settle(self, outcome: Outcome, *, answered: bool) -> None:
        if self._breaker is None:
            return
        if outcome is Outcome.UNAVAILABLE:
            self._breaker.failed(self._clock())
        elif answered:
            self._breaker.succeeded()

    def _tell(self, request: Request, attempt: int, status: int | None, outcome: Outcome, seconds: float) -> None:
        call = Call(
            operation=request.operation,
            method=request.method,
            status=status,
            outcome=outcome,
            seconds=seconds,
            attempt=attempt,
        )
        try:
            self._observe(call)
        except Exception:
            # A figure that can't be counted must not lose the answer to a purchase.
            log.exception("market.observe_failed", operation=request.operation)


class _Bearer(httpx.Auth):
    """Writes the token where no traceback that shows variables finds it."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        yield request


def _untold(request: Request, token: SecretStr) -> tuple[str, ...]:
    return (token.get_secret_value(), *request.secrets)


def _understood(request: Request, received: _Received, read: Read[Value], secrets: tuple[str, ...]) -> Value:
    status = received.status
    if 200 <= status < 300:
        try:
            return read(received.body)
        except MarketAnswerMalformed as error:
            fault, path = str(error), error.path
        raise MarketAnswerMalformed(f"{request.operation}: {fault}", path=path)
    reason = refusal(status, received.body, secrets)
    message = f"{request.operation}: {reason}"
    if status in (408, 429) or status >= 500:
        asked = retry_after(received.headers.get("Retry-After"), received.headers.get("Date"))
        raise _unavailable(request, message, maybe_done=status != 429, retry_after=asked)
    if status >= 400:
        raise refusal(status, received.body, secrets, about=request.operation)
    # Redirects are not followed: the token goes to no other address.
    raise MarketAnswerMalformed(f"{request.operation}: {status}, which is no answer")


def _lost(request: Request, error: httpx.HTTPError, secrets: tuple[str, ...]) -> MarketUnavailable:
    """No answer. Where nothing can have been sent, nothing can have happened."""
    said = str(error)
    said = "" if any(quotes(said, secret) for secret in secrets) else f": {said}"
    message = f"{request.operation}: {type(error).__name__}{said}"
    return _unavailable(request, message, maybe_done=not isinstance(error, _NOT_SENT))


def _unavailable(
    request: Request, message: str, *, maybe_done: bool, retry_after: float | None = None
) -> MarketUnavailable:
    kind = OutcomeUnknown if maybe_done and not request.repeatable else MarketUnavailable
    return kind(message, retry_after=retry_after, maybe_done=maybe_done)


def _key(idempotency_key: str) -> str:
    if not _VISIBLE.fullmatch(idempotency_key):
        raise InvalidRequest("An idempotency key is visible ASCII characters.")
    return idempotency_key
