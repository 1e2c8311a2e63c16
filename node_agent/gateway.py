"""The API as this node sees it: five requests. The only module that speaks HTTP to it."""

from typing import TypeVar

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from node_agent.errors import (
    ApiError,
    ApiRejected,
    ApiUnavailable,
    ApiUnreachable,
    CredentialRefused,
    NameTaken,
)
from scalar.protocol import (
    DesiredState,
    JoinReply,
    JoinRequest,
    LogBatch,
    LogReceipt,
    Message,
    NodeFacts,
    ReportBatch,
    ReportReceipt,
)

POLL_SECONDS = 25
"""How long the API may hold the question for the desired state; load balancers cut at 30 or 60."""

_ANSWER_SECONDS = 15.0
_MALFORMED = frozenset({400, 413, 422})

Reply = TypeVar("Reply", bound=Message)


class _Problem(BaseModel):
    detail: str


class Api:
    """One connection pool and one bearer token; safe to use from any thread.

    Every method raises `ApiUnavailable`, `ApiRejected` or `CredentialRefused`.
    """

    def __init__(self, url: str, bearer: SecretStr) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {bearer.get_secret_value()}", "User-Agent": "scalar-node-agent"},
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=5.0),
            # Every running task ships its log on a connection of its own.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=60.0),
        )

    def join(self, request: JoinRequest) -> JoinReply:
        """Raises `NameTaken` as well."""
        return self._ask(JoinReply, "POST", "/v1/nodes/join", body=request, conflict=NameTaken)

    def tell_facts(self, facts: NodeFacts) -> None:
        self._send("PUT", "/v1/node/facts", body=facts)

    def desired(self, version: int) -> DesiredState:
        """Waits until the version is another than this one, or `POLL_SECONDS` have passed; -1: answers at once."""
        query = {"version": version, "wait": POLL_SECONDS}
        return self._ask(DesiredState, "GET", "/v1/node/desired", query=query, answer_seconds=POLL_SECONDS + 10.0)

    def report(self, batch: ReportBatch) -> ReportReceipt:
        """The outcomes are as many as the reports."""
        receipt = self._ask(ReportReceipt, "POST", "/v1/node/reports", body=batch)
        if len(receipt.outcomes) != len(batch.reports):
            raise ApiUnavailable(f"{len(receipt.outcomes)} outcomes for {len(batch.reports)} reports")
        return receipt

    def ship(self, batch: LogBatch) -> LogReceipt:
        return self._ask(LogReceipt, "POST", "/v1/node/logs", body=batch)

    def close(self) -> None:
        self._http.close()

    def _ask(
        self,
        reply: type[Reply],
        method: str,
        path: str,
        *,
        body: Message | None = None,
        query: dict[str, int] | None = None,
        answer_seconds: float = _ANSWER_SECONDS,
        conflict: type[ApiError] = ApiUnavailable,
    ) -> Reply:
        response = self._send(method, path, body=body, query=query, answer_seconds=answer_seconds, conflict=conflict)
        try:
            return reply.model_validate_json(response.content)
        except ValidationError:
            # Not the error itself: it quotes its input, and that may be a secret.
            raise ApiUnavailable(f"{method} {path}: an answer that isn't a {reply.__name__}") from None

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Message | None = None,
        query: dict[str, int] | None = None,
        answer_seconds: float = _ANSWER_SECONDS,
        conflict: type[ApiError] = ApiUnavailable,
    ) -> httpx.Response:
        try:
            response = self._http.request(
                method,
                path,
                params=query,
                content=body.model_dump_json() if body else None,
                headers={"Content-Type": "application/json"} if body else None,
                timeout=httpx.Timeout(answer_seconds, connect=5.0),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ApiUnreachable(f"{method} {path}: {type(error).__name__}: {error}") from error
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        if response.is_success:
            return response
        problem = _detail(response) or f"{method} {path}: {response.status_code}"
        match response.status_code:
            case 401:
                raise CredentialRefused(problem)
            case 409:
                raise conflict(problem)
            case status:
                raise (ApiRejected if status in _MALFORMED else ApiUnavailable)(problem)


def _detail(response: httpx.Response) -> str | None:
    """What the API itself says is wrong (RFC 9457)."""
    try:
        return _Problem.model_validate_json(response.content).detail[:2000]
    except ValidationError:
        return None
