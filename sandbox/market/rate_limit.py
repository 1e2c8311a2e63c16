"""A limit to how often one token may ask, laid round the whole application; the real one's numbers are not published.

By the rule `requests_per_minute`. A request counts for a minute of wall time, since that is what a client waits; one
that was refused doesn't.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.market.faulty import is_behind
from sandbox.market.refusals import Refusal, rendered

_MINUTE = 60.0


class RateLimited:
    """`per_minute` gives the limit, 0: none; `shape` the shape of an error under a path."""

    def __init__(self, app: ASGIApp, per_minute: Callable[[], int], shape: Callable[[str], str]) -> None:
        self._app = app
        self._per_minute = per_minute
        self._shape = shape
        self._asked: dict[bytes, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait = 0.0 if is_behind(scope) else self._wait(dict(scope["headers"]).get(b"authorization", b""))
        if not wait:
            await self._app(scope, receive, send)
            return
        answer = rendered(
            Refusal(429, "too many requests"), self._shape(scope["path"]), {"Retry-After": str(math.ceil(wait))}
        )
        await answer(scope, receive, send)

    def _wait(self, caller: bytes) -> float:
        """Seconds until this caller may ask again; 0: it may now, and has."""
        limit, now = self._per_minute(), time.monotonic()
        if not limit:
            return 0.0
        asked = self._asked[caller]
        while asked and asked[0] <= now - _MINUTE:
            asked.popleft()
        if len(asked) >= limit:
            return asked[len(asked) - limit] + _MINUTE - now
        asked.append(now)
        return 0.0
