"""Every error as `application/problem+json` (RFC 9457), rendered here and nowhere else.

`type` is stable: `https://scalar.dev/problems/<type of the error class>`. Nothing of a body's values or of a
key is echoed, since they may be secrets.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from scalar.errors import Conflict, Forbidden, InvalidRequest, NotAuthenticated, NotFound, ScalarError, TooLarge

TYPES = "https://scalar.dev/problems/"
log = structlog.get_logger(__name__)


class Problem(BaseModel):
    """What every error looks like."""

    type: str = Field(examples=[TYPES + "not-found"])
    title: str = Field(examples=["There is no such thing"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such job."])
    errors: list[dict[str, str]] | None = Field(default=None, description="Of an invalid request: each field's fault.")


def responses(*errors: type[ScalarError]) -> dict[int | str, dict[str, Any]]:
    """For a route's OpenAPI: the errors that it may answer with."""
    every: tuple[type[ScalarError], ...] = (*errors, NotAuthenticated, Forbidden, InvalidRequest)
    return {
        error.status: {"description": error.title, "content": {"application/problem+json": {"schema": _REF}}}
        for error in every
    }


_REF = {"$ref": "#/components/schemas/Problem"}
OF_A_JOB = responses(NotFound, Conflict)
OF_A_SUBMISSION = responses(Conflict, TooLarge)


def install(app: FastAPI) -> None:
    """Have the app render every error as a problem."""
    app.add_exception_handler(ScalarError, _scalar_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int, type_: str, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    body = {"type": TYPES + type_, "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=headers)


def of_error(error: ScalarError) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, NotAuthenticated) else None
    return problem(error.status, error.type, error.title, error.message, headers=headers, **error.details)


async def _scalar_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ScalarError)  # noqa: S101 - what it is registered for
    return of_error(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Which field is wrong and why; never its value."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    faults = [{"field": _field(each["loc"]), "message": str(each["msg"])} for each in error.errors()]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults[:5])
    return problem(422, InvalidRequest.type, InvalidRequest.title, detail, errors=faults)


async def _http(_: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: no such route, method not allowed."""
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    title = HTTPStatus(error.status_code).phrase
    return problem(error.status_code, title.lower().replace(" ", "-"), title, str(error.detail), headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return problem(500, ScalarError.type, ScalarError.title, "It has been logged. Trying again may help.")


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part != "body") or "body"
