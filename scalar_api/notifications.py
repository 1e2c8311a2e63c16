"""What waits for something to change in Postgres: long polls, log streams, the nudge.

One direct connection of its own listens; a waiter registers first, looks second and waits third, so that a change in
between is not missed. While the connection is down, waiters look every second instead: later, never wrong.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
import structlog
from psycopg import sql

from scalar.database import Channel

log = structlog.get_logger(__name__)
_CHANNELS = (Channel.NODES, Channel.RUNS, Channel.LOGS, Channel.QUEUE)


class Notifications:
    """Run `listen` as a task of the event loop; everything else belongs to the same loop."""

    def __init__(self, url: str, on_queue: Callable[[], None]) -> None:
        self._url = url
        self._on_queue = on_queue
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.connected = False
        self.closing = False
        """The process is about to end: whoever waits should answer now."""

    def close(self) -> None:
        """Let everybody who waits go."""
        self.closing = True
        self._wake_all()

    @contextmanager
    def subscribe(self, *subjects: str) -> Iterator["Waiter"]:
        """`subjects`: ids of nodes, jobs or runs."""
        event = asyncio.Event()
        for subject in subjects:
            self._waiters[subject].add(event)
        try:
            yield Waiter(self, event)
        finally:
            for subject in subjects:
                self._waiters[subject].discard(event)
                if not self._waiters[subject]:
                    del self._waiters[subject]

    async def listen(self) -> None:
        """Until cancelled; comes back by itself when the connection is lost."""
        while True:
            try:
                await self._listen_once()
            except psycopg.Error as error:
                log.warning("notifications.lost", error=type(error).__name__)
            self.connected = False
            self._wake_all()
            await asyncio.sleep(1)

    async def _listen_once(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, application_name="scalar-api-listener"
        )
        async with connection:
            for channel in _CHANNELS:
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            self.connected = True
            self._wake_all()
            async for note in connection.notifies():
                self._tell(note.channel, note.payload)

    def _tell(self, channel: str, subject: str) -> None:
        if channel == Channel.QUEUE:
            self._on_queue()
        for event in self._waiters.get(subject, ()):
            event.set()

    def _wake_all(self) -> None:
        """What was notified while nobody listened is unknown: everybody looks."""
        self._on_queue()
        for events in list(self._waiters.values()):
            for event in events:
                event.set()


class Waiter:
    def __init__(self, notifications: Notifications, event: asyncio.Event) -> None:
        self._notifications = notifications
        self._event = event

    async def wait(self, seconds: float) -> None:
        """Until something may have changed, at most so long."""
        if self._notifications.closing:
            return
        patience = seconds if self._notifications.connected else min(seconds, 1.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), patience)
        self._event.clear()
