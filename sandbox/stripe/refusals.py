"""What is refused, and the bodies that say so: `{"error": {"type": ..., "code": ..., "message": ..., ...}}`."""

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A resource as it is on the wire."""


class Refusal(Exception):
    """`kept`: what was done until here stays done. `remembered`: an Idempotency-Key is answered with it again."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        kept: bool = False,
        remembered: bool = True,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        self.remembered = remembered
        self.headers = headers or {}
        self.error = {"message": message, "type": type, **{name: value for name, value in more.items() if value}}

    @property
    def body(self) -> Object:
        return {"error": self.error}


def invalid(param: str | None, message: str, code: str | None = None) -> Refusal:
    """A request that makes no sense as things are."""
    return Refusal(400, message, param=param, code=code)


def malformed(param: str, message: str, code: str | None = None) -> Refusal:
    """A parameter that cannot be read: nothing was begun, so no key remembers it."""
    return Refusal(400, message, param=param, code=code, remembered=False)


def missing(kind: str, id: str, param: str | None = None) -> Refusal:
    """`param` is the parameter that named it; without one the address did, and it is a 404."""
    status = 404 if param is None else 400
    return Refusal(status, f"No such {kind}: '{id}'", param=param or "id", code="resource_missing")
