"""The market's "no", in any of the three shapes that it has had over the years.

{"error": {"type": ..., "message": ..., "details": [{"field": ..., "code": ..., "message": ...}]}}
{"type": ..., "message": ..., "details": [...]}
{"object": "error", "code": "order.not_found", "message": ..., "details": {...}}
"""

from typing import Any

from pydantic import AliasChoices, Field, ValidationError

from scalar.market.answers.fields import Answer
from scalar.market.errors import (
    Fault,
    InsufficientFunds,
    MarketAnswerMalformed,
    MarketNotAuthenticated,
    MarketNotFound,
    MarketRefused,
)

_KINDS: dict[int, type[MarketRefused]] = {401: MarketNotAuthenticated, 402: InsufficientFunds, 404: MarketNotFound}
_LONGEST = 500


class _Said(Answer):
    type: str = Field(validation_alias=AliasChoices("type", "code"))
    message: str
    details: Any = None


class _Wrapped(Answer):
    error: _Said


def refusal(
    status: int, body: bytes, secrets: tuple[str, ...] = (), *, about: str = ""
) -> MarketRefused | MarketAnswerMalformed:
    """The error to raise, about this operation. A message that quotes one of these secrets is left out."""
    about = about and f"{about}: "
    said = _said(body)
    if said:
        message = f"{about}{status} {_safe(said.type, secrets)}: {_safe(said.message, secrets)}"
        details = tuple(_faults(said.details, secrets))
        kind = _KINDS.get(status, MarketRefused)
        return kind(message, status=status, type=_safe(said.type, secrets), details=details)
    if status == 401:
        # Whoever says it, market or gateway: it takes another token.
        return MarketNotAuthenticated(f"{about}401, and nothing more", status=401, type="authentication_error")
    return MarketAnswerMalformed(f"{about}{status} without the market's reason")


def _said(body: bytes) -> _Said | None:
    for shape in (_Wrapped, _Said):
        try:
            answer = shape.model_validate_json(body)
        except ValidationError:
            continue
        return answer.error if isinstance(answer, _Wrapped) else answer
    return None


def _faults(details: Any, secrets: tuple[str, ...]) -> list[Fault]:
    if isinstance(details, dict):
        details = [{"field": key, "message": value} for key, value in details.items()]
    rows = details if isinstance(details, list) else []
    return [_fault(row, secrets) for row in rows if isinstance(row, dict)]


def _fault(row: dict[str, Any], secrets: tuple[str, ...]) -> Fault:
    text = {key: _safe(str(row[key]), secrets) for key in ("field", "code", "message") if row.get(key) is not None}
    return Fault(field=text.get("field"), code=text.get("code", ""), message=text.get("message", ""))


def _safe(text: str, secrets: tuple[str, ...]) -> str:
    text = text[:_LONGEST]
    return "(left out: it quotes a secret)" if any(quotes(text, secret) for secret in secrets) else text


def quotes(text: str, secret: str, run: int = 12) -> bool:
    """Whether so many characters of the secret in a row stand in the text, or all where it is shorter."""
    run = min(run, len(secret))
    return run > 0 and any(text[at : at + run] in secret for at in range(len(text) - run + 1))
