"""Ids and secrets as Stripe's look."""

import secrets
import string

_LETTERS = string.ascii_letters + string.digits
API_VERSION = "2026-10-28.endive"
ACCOUNT = "acct_1Sandbox00000000"


def new_id(prefix: str) -> str:
    return f"{prefix}_{random_text(24)}"


def random_text(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def new_secret(prefix: str) -> str:
    return f"{prefix}_{random_text(32)}"
