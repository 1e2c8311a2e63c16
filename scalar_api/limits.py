"""Refuses bodies over the limit before they are in memory, whether or not they say how long they are."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalar.errors import TooLarge
from scalar_api.problems import of_error

MAX_BODY_BYTES = 1024 * 1024


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        body = _Body(receive, self._limit)
        if announced.isdigit() and int(announced) > self._limit:
            await self._refuse(scope, receive, send)
            return
        try:
            await self._app(scope, body.receive, send)
        except _OverLimitError:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = TooLarge(f"A request's body may have {self._limit // 1024} KiB at most.")
        await of_error(error)(scope, receive, send)


class _OverLimitError(Exception):
    pass


class _Body:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _OverLimitError
        return message
