"""Form-encoded bodies and queries with Stripe's brackets, and typed reading of them.

`metadata[job]=j_1&lines[0][amount]=100&expand[]=customer` is {"metadata": {"job": "j_1"}, "lines": [{"amount": "100"}],
"expand": ["customer"]}. Every parameter that was never read is an error: a misspelt one is not passed over.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

from sandbox.stripe.refusals import Refusal, invalid, malformed

_KEY = re.compile(r"\[([^\]]*)\]")
_LARGEST = 99_999_999
_KEYS, _KEY_LENGTH, _VALUE_LENGTH = 50, 40, 500


def parse(text: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        path = [name.partition("[")[0], *_KEY.findall(name)]
        at = root
        for part, following in zip(path, [*path[1:], None], strict=True):
            key = part or str(len(at))
            if following is None:
                at[key] = value
            else:
                inner = at.setdefault(key, {})
                if not isinstance(inner, dict):
                    raise malformed(name, f"Invalid parameter: {name}")
                at = inner
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    """Where all keys are numbers, a list."""
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int)]
    return {key: _listed(inner) for key, inner in value.items()}


class Params:
    """The parameters of one request, or those nested in one of them. `finish` refuses what nobody read."""

    def __init__(self, given: Any, path: str = "") -> None:
        if not isinstance(given, dict):
            raise malformed(path, f"Invalid {path}: must be an object")
        self._given: dict[str, Any] = given
        self._path = path
        self._read: set[str] = set()
        self._children: list[Params] = []

    def finish(self) -> None:
        """Raises: `Refusal` parameter_unknown."""
        for name in self.unread():
            raise malformed(self.named(name), f"Received unknown parameter: {self.named(name)}", "parameter_unknown")
        for child in self._children:
            child.finish()

    def unread(self) -> list[str]:
        return sorted(self._given.keys() - self._read)

    def named(self, name: str) -> str:
        return f"{self._path}[{name}]" if self._path else name

    def has(self, name: str) -> bool:
        return name in self._given

    def text(self, name: str) -> str | None:
        """None also for an empty one, which is how a value is taken away."""
        self._read.add(name)
        value = self._given.get(name)
        if isinstance(value, dict | list):
            raise malformed(self.named(name), f"Invalid string: {value}")
        return value or None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise self.lacks(name)
        return value

    def lacks(self, name: str) -> Refusal:
        return malformed(self.named(name), f"Missing required param: {self.named(name)}.", "parameter_missing")

    def integer(self, name: str) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        if not re.fullmatch(r"-?\d{1,18}", text):
            raise malformed(self.named(name), f"Invalid integer: {text}", "parameter_invalid_integer")
        return int(text)

    def cents(self, name: str, *, least: int = 0) -> int | None:
        value = self.integer(name)
        if value is not None and value < least:
            raise invalid(self.named(name), f"This value must be greater than or equal to {least}.")
        if value is not None and abs(value) > _LARGEST:
            raise invalid(self.named(name), "Amount must be no more than $999,999.99", "amount_too_large")
        return value

    def decimal(self, name: str) -> Decimal | None:
        text = self.text(name)
        try:
            value = None if text is None else Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if value is not None and not value.is_finite():
            raise malformed(self.named(name), f"Invalid decimal: {text}", "parameter_invalid_empty")
        return value

    def flag(self, name: str) -> bool | None:
        text = self.text(name)
        if text not in {None, "true", "false"}:
            raise malformed(self.named(name), f"Invalid boolean: {text}")
        return None if text is None else text == "true"

    def choice(self, name: str, *allowed: str) -> str | None:
        text = self.text(name)
        if text is not None and text not in allowed:
            raise malformed(self.named(name), f"Invalid {self.named(name)}: must be one of {', '.join(allowed)}")
        return text

    def currency(self) -> str:
        """Raises: `Refusal` for any other than usd."""
        given = self.text("currency") or "usd"
        if given.lower() != "usd":
            raise invalid("currency", f"This account takes usd alone, not {given}")
        return "usd"

    def is_nested(self, name: str) -> bool:
        return isinstance(self._given.get(name), dict)

    def nested(self, name: str) -> "Params | None":
        self._read.add(name)
        if self._given.get(name) in (None, ""):
            return None
        child = Params(self._given[name], self.named(name))
        self._children.append(child)
        return child

    def rows(self, name: str) -> list["Params"] | None:
        values = self._list(name)
        if values is None:
            return None
        children = [Params(value, f"{self.named(name)}[{i}]") for i, value in enumerate(values)]
        self._children += children
        return children

    def texts(self, name: str) -> list[str] | None:
        values = self._list(name)
        if values is not None and not all(isinstance(value, str) for value in values):
            raise malformed(self.named(name), "Invalid array of strings")
        return values

    def _list(self, name: str) -> list[Any] | None:
        self._read.add(name)
        values = self._given.get(name)
        if values is None or isinstance(values, list):
            return values
        if values == "":
            return []
        raise malformed(self.named(name), "Invalid array")

    def metadata(self, before: dict[str, str] | None = None) -> dict[str, str]:
        """What the object's metadata is now: keys are added or changed, those that come empty are dropped."""
        self._read.add("metadata")
        given = self._given.get("metadata", {})
        if given == "":
            return {}
        if not isinstance(given, dict):
            raise malformed("metadata", "Invalid metadata: must be an object")
        after = {key: value for key, value in {**(before or {}), **given}.items() if value != ""}
        if len(after) > _KEYS:
            raise invalid("metadata", f"Metadata can have up to {_KEYS} keys")
        for key, value in after.items():
            if len(key) > _KEY_LENGTH or not isinstance(value, str) or len(value) > _VALUE_LENGTH:
                raise invalid(f"metadata[{key}]", "Metadata keys have up to 40 characters and values up to 500")
        return after

    def ignore(self, *names: str) -> None:
        """Stripe's, and of no meaning here."""
        self._read.update(names)
