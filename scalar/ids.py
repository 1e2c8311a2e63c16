"""Identifiers: `job_01k3…`, a prefix that names the kind and 26 characters that sort by time of making.

Crockford's base 32 of 48 bits of milliseconds and 80 random bits (a ULID), in lower case. Newer ids sort after older
ones, so that a list pages by id alone.
"""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_{''.join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))}"
