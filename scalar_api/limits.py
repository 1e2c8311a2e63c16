"""Refuses what no route should have to think of: a body over the limit, before it is in memory and whether or not it
says how long it is; and a NUL character in a path or query, which Postgres' text can't hold.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalar.errors import InvalidRequest, TooLarge
from scalar_api.problems import of_error

MAX_BODY_BYTES = 1024 * 1024
LARGER_BODIES = {"/v1/usage-events": 4 * MAX_BODY_BYTES}
"""By path: ten thousand events, however they are spaced."""


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = LARGER_BODIES.get(scope["path"], self._limit)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        body = _Body(receive, limit)

        async def send_within_limit(message: Message) -> None:
            # A framework that caught the error while it read the body would answer in its own words.
            if body.over:
                raise _OverLimitError
            await send(message)

        if announced.isdigit() and int(announced) > limit:
            await _refuse(limit, scope, receive, send)
            return
        try:
            await self._app(scope, body.receive, send_within_limit)
        except _OverLimitError:
            await _refuse(limit, scope, receive, send)


class NoNul:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\x00" in scope["path"] or b"%00" in scope["query_string"]):
            error = InvalidRequest("A NUL character can't be part of a path or query.")
            await of_error(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    error = TooLarge(f"The body of this request may have {limit // 1024} KiB at most.")
    await of_error(error)(scope, receive, send)


class _OverLimitError(Exception):
    pass


class _Body:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    @property
    def over(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self.over:
            raise _OverLimitError
        return message
