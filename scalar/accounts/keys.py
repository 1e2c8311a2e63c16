"""API keys: `sk_customer_<prefix>_<secret>`. Pure, but for the randomness.

The prefix (8 characters) is shown in lists and logs and finds the row; the secret is 160 random bits, so that one
SHA-256 is enough to store it by.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_SHAPE = re.compile(r"^sk_(customer|operator|node|join)_([a-z2-9]{8})_([a-z2-9]{32})$")


class Role(StrEnum):
    CUSTOMER = "customer"
    """Sees and changes what belongs to its organisation."""
    OPERATOR = "operator"
    """Sees everything, and runs the fleet."""
    NODE = "node"
    """One machine's agent: its own desired state, reports and logs."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key at the one moment when its secret is known."""

    prefix: str
    secret: str = field(repr=False)

    @property
    def hash(self) -> bytes:
        return key_hash(self.secret)


def new_key(kind: str) -> Key:
    """`kind`: a role's value, or `join`."""
    prefix, rest = _random(8), _random(32)
    return Key(prefix=prefix, secret=f"sk_{kind}_{prefix}_{rest}")


def key_hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def looks_like_a_key(secret: str) -> bool:
    """So that a typing error is refused without a query."""
    return _SHAPE.match(secret) is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
