"""Identifiers: `job_01k3…`, a prefix that names the kind and 26 characters that sort by time of making.

Crockford's base 32 of 48 bits of milliseconds and 80 random bits (a ULID), in lower case. Newer ids sort after older
ones, so that a list pages by id alone: always for those of one process, to the millisecond between processes.
"""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_one_at_a_time = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    global _last  # noqa: PLW0603 - what makes the ids of a process one sequence
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    with _one_at_a_time:
        if number >> 80 <= _last >> 80:
            # The same millisecond, or a clock that was set back. A random step: a forked process has the same last one.
            number = _last + 1 + secrets.randbits(48)
        _last = number
    return f"{prefix}_{''.join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))}"
