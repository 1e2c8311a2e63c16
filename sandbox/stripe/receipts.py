"""Idempotency-Key: a request that comes again is given the first one's answer, and does nothing.

A key that comes with other parameters, or for another address, is an error; so is one whose first request is still
under way. What was refused before anything began is not remembered.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from sandbox.stripe.refusals import Object, Refusal
from sandbox.stripe.world import World

_LONGEST = 255


class Receipts:
    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    @contextmanager
    def using(self, key: str | None) -> Iterator[None]:
        """Raises: `Refusal` 409 where another request has the key."""
        if key is None:
            yield
            return
        if len(key) > _LONGEST:
            raise Refusal(400, f"Idempotency-Keys have up to {_LONGEST} characters", remembered=False)
        with self._lock:
            if key in self._under_way:
                message = (
                    "There is currently another in-progress request using this Idempotent Key (that probably means you"
                    f" submitted twice, and the other request is still going through): {key}."
                )
                raise Refusal(409, message, type="idempotency_error", code="idempotency_key_in_use", remembered=False)
            self._under_way.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(key)

    def recall(self, key: str | None, digest: str) -> tuple[int, Object] | None:
        """Within a turn. Raises: `Refusal` where the key came with another request."""
        if key is None:
            return None
        since = self._world.now - self._world.options.idempotency_hours * 3600
        row = self._world.store.connection.execute(
            "select digest, status, body from receipts where key = ? and at > ?", (key, since)
        ).fetchone()
        if row is None:
            return None
        if row[0] != digest:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with."
                f" Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise Refusal(400, message, type="idempotency_error", remembered=False)
        return int(row[1]), json.loads(row[2])

    def keep(self, key: str | None, digest: str, status: int, body: Object) -> None:
        """Within a turn."""
        if key is not None:
            self._world.store.connection.execute(
                "insert or replace into receipts values (?, ?, ?, ?, ?)",
                (key, digest, status, json.dumps(body), self._world.now),
            )


def digest_of(path: str, params: dict[str, Any]) -> str:
    return sha256(json.dumps([path, params], sort_keys=True).encode()).hexdigest()
