"""Every answer that is not what was asked for, and the three shapes the market has written it in.

wrapped   {"error": {"type", "message", "details"?}}                      all but v0
flat      {"type", "message", "details"}                                  v0
coded     {"object": "error", "code", "message", "details"}               v0 as it was until 2025
"""

from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    405: "invalid_request_error",
    409: "conflict",
    410: "gone",
    422: "unprocessable_entity",
    429: "rate_limit_exceeded",
    500: "api_error",
    501: "not_implemented",
    503: "service_unavailable",
}
_WITH_DETAILS = {400, 409, 422}


@dataclass(frozen=True, kw_only=True)
class Detail:
    field: str | None
    code: str
    message: str


class Refusal(Exception):
    """A route raises it; it is rendered in one place."""

    def __init__(self, status: int, message: str, *details: Detail, type: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.type = type or _TYPES[status]
        self.message = message
        self.details = details


def invalid(field: str, message: str) -> Refusal:
    return Refusal(422, message, Detail(field=field, code="invalid", message=message))


def missing(what: str, name: str) -> Refusal:
    return Refusal(404, f"no such {what}: {name}")


def rendered(refusal: Refusal, shape: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(_SHAPES[shape](refusal), status_code=refusal.status, headers=headers)


def _wrapped(refusal: Refusal) -> dict[str, Any]:
    error: dict[str, Any] = {"type": refusal.type, "message": refusal.message}
    if refusal.details and refusal.status in _WITH_DETAILS:
        error["details"] = _details(refusal)
    return {"error": error}


def _flat(refusal: Refusal) -> dict[str, Any]:
    return {"type": refusal.type, "message": refusal.message, "details": _details(refusal)}


def _coded(refusal: Refusal) -> dict[str, Any]:
    return {
        "object": "error",
        "code": _CODES.get(refusal.status, "invalid_request"),
        "message": refusal.message,
        "details": {detail.field or "": detail.message for detail in refusal.details},
    }


def _details(refusal: Refusal) -> list[dict[str, Any]]:
    return [{"field": detail.field, "code": detail.code, "message": detail.message} for detail in refusal.details]


_CODES = {401: "not_authenticated", 403: "account.frozen", 404: "order.not_found", 503: "trading_engine.is_halted"}
_SHAPES = {"wrapped": _wrapped, "flat": _flat, "coded": _coded}
