"""Every open question of the real market's papers, as a setting with its meaning: the engine's rules and the server's.

Given by `--rules file.toml` (a flat table) or `--rule name=value`, shown by GET /sandbox/rules, and changed while the
market runs by PATCH /sandbox/rules (the server's alone: the engine's are fixed when it starts).
"""

import ast
import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sandbox.market.rules import Rules


def _rule(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class ServerRules:
    id: str = field(default="server", init=False)
    fill_latency: float = _rule(
        0.0, "seconds an order stays pending before it is matched; 0: only its 201 says pending"
    )
    cancel_latency: float = _rule(0.0, "seconds between the 204 of a cancellation and the order being cancelled")
    boot_seconds: float = _rule(5.0, "seconds between an instance getting its node and running")
    ssh_seconds: float = _rule(0.0, "seconds between an instance running and its SSH details being known")
    idempotency_conflict: Literal[400, 409] = _rule(
        400, "status for an Idempotency-Key that comes back with another body"
    )
    idempotency_hours: float = _rule(24.0, "how long an Idempotency-Key is remembered; 0: for ever")
    error_shape: Literal["auto", "wrapped", "flat", "coded"] = _rule(
        "auto", "shape of error bodies; auto: wrapped, and flat under /v0"
    )
    amount_sign: Literal["magnitude", "signed"] = _rule("magnitude", "whether amount_cents of a purchase is negative")
    cents: Literal["half_up", "half_even"] = _rule("half_up", "how exact micro-dollars are rounded to cents")
    transactions_per: Literal["fill", "order"] = _rule(
        "fill", "one transaction for each fill, or one for all that an order fills at a moment"
    )
    fills_window: Literal["within", "overlap", "exact"] = _rule(
        "within", "which public fills are for a window: delivered within it, partly in it, or exactly then"
    )
    preview_seconds: float = _rule(
        0.0, "how long a preview's answer is repeated for the same question, whatever the book does; 0: always fresh"
    )
    requests_per_minute: int = _rule(
        0, "requests of one token within a minute of wall time; more is a 429 with Retry-After; 0: no limit"
    )
    repeat_fills: bool = _rule(False, "whether an order's fills are all listed twice")
    overage_limit_cents: int = _rule(0, "shown as the balance's overage_limit_cents; not spendable here")
    instance_limit: int = _rule(100, "live instances of one customer; more is a 422")
    token_days: int = _rule(90, "lifetime of a token made by POST /sandbox/tokens without expires_in_seconds")
    keep_closed_days: int = _rule(30, "how long terminated instances are listed; 0: for ever")


_ENGINE = {
    "windows": "may an order match one whose window only overlaps its own (cover), or must both be the same (exact)",
    "depth": "whether quote and depth of a window count orders whose window is wider (cover) or not (exact)",
    "execution": "the price of a trade: the resting order's, half-way between the two, or the newcomer's own limit",
    "priority": "who goes first at one price: the older, or the bigger and then the older",
    "self_trade": "what a newcomer does on meeting a resting order of its own account",
    "fee_flat": "fee on a resale, in micro-dollars per node-minute",
    "fee_bps": "fee on a resale, in hundredths of a percent of the proceeds; on top of the flat one",
    "partial_ioc_end": "status of an immediate-or-cancel order with allow_partial that got something, but not all",
    "allow_partial_default": "allow_partial of an order that doesn't say",
    "min_seconds": "the shortest order",
    "max_range_days": "the longest order",
    "history_days": "how long the engine keeps what is over; customers' own orders and transactions are kept for ever",
    "pool_history_days": "how much of a pool's past schedule is kept",
}


class UnknownRule(ValueError):
    """There is no such setting, or it cannot have that value; the message says which."""


def read(file: Path | None, assignments: Iterable[str]) -> tuple[Rules, ServerRules]:
    """Assignments (`name=value`) win over the file. Raises: `UnknownRule`, OSError."""
    given: dict[str, Any] = tomllib.loads(file.read_text()) if file else {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UnknownRule(f"{assignment!r} is not name=value")
        given[name.strip()] = _value(text.strip())
    engine = {name: value for name, value in given.items() if name in Rules.__dataclass_fields__}
    server = {name: value for name, value in given.items() if name not in engine}
    return changed(Rules(), engine), changed(ServerRules(), server)


def changed(rules: Any, values: Mapping[str, Any]) -> Any:
    """The rules with other values, each checked against its type. Raises: `UnknownRule`."""
    hints = get_type_hints(type(rules))
    for name, value in values.items():
        if name not in hints or name == "id":
            raise UnknownRule(f"there is no rule {name!r}")
        if not _fits(value, hints[name]):
            raise UnknownRule(f"{name} cannot be {value!r}: {_kind(hints[name])}")
    return dataclasses.replace(rules, **{name: _as(hints[name], value) for name, value in values.items()})


def explained(engine: Rules, server: ServerRules) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for rules in (engine, server):
        hints = get_type_hints(type(rules))
        rows += [
            {
                "name": one.name,
                "value": getattr(rules, one.name),
                "default": one.default,
                "allowed": _kind(hints[one.name]),
                "meaning": one.metadata.get("meaning") or _ENGINE.get(one.name, ""),
                "can_change_while_running": isinstance(rules, ServerRules),
            }
            for one in dataclasses.fields(rules)
            if one.init
        ]
    return rows


def _value(text: str) -> Any:
    """Python's and TOML's numbers and truths; anything else is text."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, hint)


def _as(hint: Any, value: Any) -> Any:
    return float(value) if hint is float else value


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(str(value) for value in get_args(hint))
    return {float: "a number, 0 or more", int: "a whole number, 0 or more", bool: "true | false"}.get(hint, str(hint))
