"""The HTTP server: the API, the page where a customer pays, and the controls, on one loopback port."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import serving
from sandbox.stripe import control_api, page
from sandbox.stripe.courier import Courier
from sandbox.stripe.desk import Answer, Asked, Desk
from sandbox.stripe.refusals import Refusal
from sandbox.stripe.world import World

_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]
_RAW_SEND = "sandbox.send"


def application(world: World, secret_key: str) -> ASGIApp:
    courier = Courier(world)
    desk = Desk(world, secret_key)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        courier.start()
        yield
        courier.stop()
        world.close()

    async def api(request: Request) -> Response:
        asked = Asked(
            method=request.method,
            path=request.url.path,
            query=request.url.query,
            body=(await request.body()).decode(),
            headers=dict(request.headers),
        )
        return _response(await run_in_threadpool(desk.answer, asked))

    v1 = Route("/v1/{rest:path}", api, methods=_METHODS)
    app = Starlette(
        routes=[v1, *control_api.routes(world, courier), *page.routes(world)],
        exception_handlers={Refusal: _refused, Exception: _broken},
        lifespan=life,
    )
    return _remembering_connection(app)


def serve(world: World, secret_key: str, *, host: str, port: int, port_file: Path | None = None) -> None:
    """Until SIGTERM or SIGINT. `port_file` is written when it answers. Raises: OSError where the port is taken."""
    with socket.create_server((host, port), backlog=256) as listening:
        bound = listening.getsockname()[1]
        world.base_url = f"http://{host}:{bound}"
        serving.serve(application(world, secret_key), listening, port_file=port_file)


def _response(answer: Answer) -> Response:
    if answer.cut:
        return _Cut()
    return JSONResponse(answer.body, answer.status, dict(answer.headers))


class _Cut(Response):
    """No answer: the connection is closed under the server, as a broken network would."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - its own is another
        transport = getattr(getattr(scope[_RAW_SEND], "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError("only a connection of uvicorn's can be cut")
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


def _remembering_connection(app: ASGIApp) -> ASGIApp:
    """The framework wraps `send`; who cuts a connection needs the server's own."""

    async def remembering(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_RAW_SEND] = send
        await app(scope, receive, send)

    return remembering


def _refused(_request: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise refusal
    return JSONResponse(refusal.body, refusal.status)


def _broken(_request: Request, _error: Exception) -> Response:
    error = {"message": "Something went wrong on our side", "type": "api_error"}
    return JSONResponse({"error": error}, 500)
