"""One try to pull an image, followed so that it can be given up at any moment.

The engine answers a pull only once the registry has, and then says nothing while a download stands still: so a thread
of its own reads, and whoever waits looks at the clock. Giving up closes the stream, and the engine then stops pulling.
"""

import json
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from requests import Response

from node_agent.errors import EngineUnavailable

_LOOK_SECONDS = 0.1

Step = dict[str, Any]
"""One progress message of the engine."""


class DockerPull:
    """To be followed once."""

    def __init__(self, *, open_pull: Callable[[], Response], cut: Callable[[Response], None]) -> None:
        self._open = open_pull
        self._cut = cut
        self._response: Response | None = None
        self._given_up = Event()
        self._read: SimpleQueue[Step | Exception | None] = SimpleQueue()

    def steps(self, *, cancelled: Event, silence_seconds: float) -> Iterator[Step]:
        """The progress up to the pull's end, or until `cancelled`.

        Raises `TimeoutError` when nothing was heard for so long, `EngineUnavailable`, and what `open_pull` raises.
        """
        Thread(target=self._follow, name="image-pull", daemon=True).start()
        try:
            while (step := self._next(cancelled, silence_seconds)) is not None:
                yield step
        finally:
            self._give_up()

    def _next(self, cancelled: Event, silence_seconds: float) -> Step | None:
        silent_until = time.monotonic() + silence_seconds
        while not cancelled.is_set():
            try:
                heard = self._read.get(timeout=_LOOK_SECONDS)
            except Empty:
                if time.monotonic() >= silent_until:
                    raise TimeoutError(f"No progress for {silence_seconds:g} seconds.") from None
                continue
            if isinstance(heard, Exception):
                raise heard
            return heard
        return None

    def _give_up(self) -> None:
        # In this order, and read in the other one: a stream that opens just now is closed by one of the two.
        self._given_up.set()
        if self._response:
            self._cut(self._response)

    def _follow(self) -> None:
        try:
            with self._open() as self._response:
                for line in self._response.iter_lines(chunk_size=None):
                    if self._given_up.is_set():
                        return
                    if line:
                        self._read.put(json.loads(line))
        except json.JSONDecodeError as error:
            self._read.put(EngineUnavailable(f"progress of a pull that can't be read: {error}"))
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            self._read.put(error)
        else:
            self._read.put(None)
