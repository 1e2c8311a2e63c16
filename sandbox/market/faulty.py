"""The faults of answers, laid round the whole application.

It stands outside of the framework, since one fault cuts the connection under it.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.market.faults import Fault, Faults
from sandbox.market.refusals import Refusal, rendered

_BEHIND = b"x-sandbox-no-faults"
"""A header: whoever tests wants to see what is really there."""
_INSTEAD = ("rate_limited", "server_error", "halted", "expired_token", "html")
_CHANGING = ("empty_list", "renamed_field", "repeated_cursor", "repeated_fill")
_PAGE = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def is_behind(scope: Scope) -> bool:
    """No customer's request: nothing goes wrong with it."""
    return scope["type"] != "http" or scope["path"].startswith("/sandbox") or _BEHIND in dict(scope["headers"])


class Faulty:
    """`now` gives the market's time, `shape` the shape of an error under a path."""

    def __init__(self, app: ASGIApp, faults: Faults, now: Callable[[], float], shape: Callable[[str], str]) -> None:
        self._app = app
        self._faults = faults
        self._now = now
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_behind(scope):
            await self._app(scope, receive, send)
            return
        for fault in self._hitting(scope, ("delay",)):
            await asyncio.sleep(fault.seconds)
        instead = self._hitting(scope, _INSTEAD)
        if instead:
            await self._instead(instead[0], scope)(scope, receive, send)
            return
        answer = _Answer()
        await self._app(scope, receive, answer.take)
        if self._hitting(scope, ("dropped",)):
            await _cut(receive, send)
            return
        answer.change(scope, self._hitting(scope, _CHANGING) if answer.is_json else ())
        await answer.give(send)

    def _hitting(self, scope: Scope, kinds: Iterable[str]) -> list[Fault]:
        return self._faults.hitting(tuple(kinds), self._now(), method=scope["method"], path=scope["path"])

    def _instead(self, fault: Fault, scope: Scope) -> Response:
        shape = self._shape(scope["path"])
        if fault.kind == "rate_limited":
            refusal = Refusal(429, "too many requests")
            return rendered(refusal, shape, {"Retry-After": str(fault.retry_after)})
        if fault.kind == "halted":
            return rendered(Refusal(503, "trading is halted"), shape, {"Retry-After": str(fault.retry_after)})
        if fault.kind == "expired_token":
            return rendered(Refusal(401, "the token has expired"), shape)
        if fault.kind == "html":
            return HTMLResponse(_PAGE)
        return rendered(Refusal(fault.status, "something went wrong on our side", type="api_error"), shape)


class _Answer:
    """An answer that is held back until it is whole."""

    def __init__(self) -> None:
        self._start: MutableMapping[str, Any] = {}
        self._body = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    @property
    def is_json(self) -> bool:
        return any(name == b"content-type" and b"json" in value for name, value in self._start.get("headers", ()))

    def change(self, scope: Scope, faults: Iterable[Fault]) -> None:
        for fault in faults:
            body = _CHANGES[fault.kind](json.loads(self._body), fault, Request(scope).url.query)
            self._body = json.dumps(body).encode()
        kept = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        status = self._start["status"]
        length = [] if status == 204 else [(b"content-length", str(len(self._body)).encode())]
        self._start = {**self._start, "headers": kept + length}

    async def give(self, send: Send) -> None:
        await send(self._start)
        await send({"type": "http.response.body", "body": self._body})


async def _cut(receive: Receive, send: Send) -> None:
    """Close the connection under the server, as a broken network would."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise RuntimeError("only a connection of uvicorn's can be cut")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _empty_list(body: Any, _fault: Fault, _query: str) -> Any:
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        return body
    return {**body, "data": [], "has_more": False, "cursor": None}


def _renamed_field(body: Any, fault: Fault, query: str) -> Any:
    if isinstance(body, list):
        return [_renamed_field(one, fault, query) for one in body]
    if isinstance(body, dict):
        return {fault.to if k == fault.field else k: _renamed_field(v, fault, query) for k, v in body.items()}
    return body


def _repeated_cursor(body: Any, _fault: Fault, query: str) -> Any:
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        return body
    asked = parse_qs(query).get("starting_after", [body.get("cursor")])[0]
    return {**body, "has_more": True, "cursor": asked}


def _repeated_fill(body: Any, fault: Fault, query: str) -> Any:
    if isinstance(body, list):
        return [_repeated_fill(one, fault, query) for one in body]
    if not isinstance(body, dict):
        return body
    fills = body.get("fills")
    if isinstance(fills, list) and fills:
        return {**body, "fills": [*fills, fills[-1]]}
    return {k: _repeated_fill(v, fault, query) for k, v in body.items()}


_CHANGES: dict[str, Callable[[Any, Fault, str], Any]] = {
    "empty_list": _empty_list,
    "renamed_field": _renamed_field,
    "repeated_cursor": _repeated_cursor,
    "repeated_fill": _repeated_fill,
}
