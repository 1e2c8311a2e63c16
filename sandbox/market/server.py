"""The HTTP door: every part of the API on one application, and errors rendered in one place."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from sandbox import serving
from sandbox.market import (
    account_api,
    control_api,
    images_api,
    instances_api,
    orderbook_api,
    orders_api,
    pools_api,
    procurements_api,
    quote_api,
    skus_api,
)
from sandbox.market.desk import as_refusal
from sandbox.market.errors import MarketError
from sandbox.market.faulty import Faulty
from sandbox.market.rate_limit import RateLimited
from sandbox.market.refusals import Detail, Refusal, rendered
from sandbox.market.world import World

PREVIEW = "/preview/v2"
_PARTS = (orders_api, orderbook_api, pools_api, instances_api, skus_api, procurements_api, images_api, account_api)

_log = logging.getLogger("sandbox.market")


def application(world: World) -> ASGIApp:
    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        world.start()
        yield
        world.close()

    app = FastAPI(title="Sandbox market", lifespan=life, openapi_url="/sandbox/openapi.json", docs_url="/sandbox/docs")
    app.state.world = world
    for part in _PARTS:
        app.include_router(part.router, prefix=PREVIEW)
    for router in (account_api.money_router, quote_api.router, control_api.router):
        app.include_router(router)
    _render_errors(app, world)
    faulty = Faulty(app, world.faults, world.clock.now, lambda path: _shape(world, path))
    return RateLimited(faulty, lambda: world.rules.requests_per_minute, lambda path: _shape(world, path))


def serve(world: World, *, host: str, port: int, port_file: Path | None = None) -> None:
    """Until SIGTERM or SIGINT. `port_file` is written when it answers. Raises: OSError where the port is taken."""
    with socket.create_server((host, port), backlog=256) as listening:
        serving.serve(application(world), listening, port_file=port_file)


def _shape(world: World, path: str) -> str:
    chosen = world.rules.error_shape
    if chosen != "auto":
        return chosen
    return "flat" if path.startswith("/v0/") else "wrapped"


def _render_errors(app: FastAPI, world: World) -> None:
    def answer(request: Request, refusal: Refusal) -> JSONResponse:
        return rendered(refusal, _shape(world, request.url.path))

    @app.exception_handler(Refusal)
    def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return answer(request, refusal)

    @app.exception_handler(MarketError)
    def refused_by_engine(request: Request, error: MarketError) -> JSONResponse:
        return answer(request, as_refusal(error))

    @app.exception_handler(RequestValidationError)
    def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, _unreadable(request.url.path, error))

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return answer(request, Refusal(error.status_code, str(error.detail), type=_type(error.status_code)))

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s broke", request.method, request.url.path, exc_info=error)
        return answer(request, Refusal(500, "something went wrong on our side"))


def _type(status: int) -> str:
    return "not_found" if status == 404 else "invalid_request_error"


def _unreadable(path: str, error: RequestValidationError) -> Refusal:
    """What isn't JSON is a 400; what isn't what was asked for a 422, or a 400 in the older generations."""
    details = [_detail(problem) for problem in error.errors()]
    not_json = any(detail.code == "json_invalid" for detail in details)
    status = 400 if not_json or path.startswith(("/v0/", "/v1/")) else 422
    return Refusal(status, details[0].message if details else "the request cannot be read", *details)


def _detail(problem: dict[str, Any]) -> Detail:
    field = ".".join(str(part) for part in problem["loc"][1:]) or None
    return Detail(field=field, code=str(problem["type"]), message=str(problem["msg"]))
