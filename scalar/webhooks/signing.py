"""Signatures as https://www.standardwebhooks.com has them, and the secrets that make them. Pure, but for `new_seed`.

A secret is HMAC-SHA256 of a random seed, which the database keeps, under a key of the platform's settings, which it
doesn't: the database alone can't sign where that key is set. A signature is HMAC-SHA256 of `id.timestamp.body` under
the secret. After a rotation there are two of them, so that the customer can change over at leisure.
"""

import base64
import hashlib
import hmac
import secrets as random
from collections.abc import Sequence
from datetime import datetime, timedelta

ROTATION = timedelta(days=1)
"""How long a former secret still signs."""
PREFIX = "whsec_"


def new_seed() -> bytes:
    return random.token_bytes(32)


def secret_of(seed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"webhook secret:" + seed, "sha256")


def key_check(key: bytes) -> str:
    """Tells keys apart, and nothing else about them: what one key made, another can't sign with."""
    return hmac.digest(key, b"webhook key check", "sha256")[:8].hex()


def shown(secret: bytes) -> str:
    """As the customer gets it, once: `whsec_…`."""
    return PREFIX + base64.b64encode(secret).decode()


def signature(secret: bytes, *, id: str, timestamp: int, body: bytes) -> str:
    content = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def signed_headers(secrets: Sequence[bytes], *, id: str, at: datetime, body: bytes) -> dict[str, str]:
    """`secrets`: newest first. `at`: when it is sent, so that the receiver can refuse what is old."""
    timestamp = int(at.timestamp())
    signatures = [signature(secret, id=id, timestamp=timestamp, body=body) for secret in secrets]
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}
