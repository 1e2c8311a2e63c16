"""Ships the logs of containers to the API, each byte at its offset in its stream.

The engine keeps a container's whole log until the container is removed, and always shows it from the start. So nothing
is kept here: after any interruption the log is read again, and what the API already has is skipped. The API's receipt
is the authority on that, backwards too.
"""

import time
from collections.abc import Callable
from contextlib import closing
from queue import Empty, Queue
from threading import Event, Thread

import structlog

from node_agent.backoff import Backoff
from node_agent.errors import AgentError, ApiRejected, ApiUnavailable, ContainerGone, EngineError, EngineUnavailable
from node_agent.gateway import Api
from node_agent.log_batch import OpenBatch, as_positions
from node_agent.runtime import ContainerRuntime, Output
from scalar.protocol import DesiredTask, LogBatch, LogStream

_BATCH_AGE_SECONDS = 0.1
_LINGER_SECONDS = 1.0
"""How long a followed log may stay silent after its container has ended, before it is read without following."""
_AGAIN_SECONDS = 0.2
_PIECES_AHEAD = 32

_Piece = tuple[LogStream, bytes]
_log = structlog.get_logger()


class LogShipper:
    """Ships one container's log in a thread of its own, until the API has all of it or doesn't want it."""

    def __init__(
        self,
        *,
        api: Api,
        runtime: ContainerRuntime,
        task: DesiredTask,
        container_id: str,
        when_done: Callable[[], None],
    ) -> None:
        self._api = api
        self._runtime = runtime
        self._task = task
        self._container_id = container_id
        self._when_done = when_done
        self._wanted = as_positions(task.log_offsets)
        self._closed = Event()
        self._container_ended = Event()
        self._done = Event()
        self._log = _log.bind(run_id=task.run_id, rank=task.rank)

    @property
    def done(self) -> bool:
        """The API has everything, or doesn't want it, or it can't be had any more."""
        return self._done.is_set()

    def container_ended(self) -> None:
        """Says that no output can come any more, should the engine forget to end the log it shows."""
        self._container_ended.set()

    def close(self) -> None:
        """Gives up: nobody wants the rest."""
        self._closed.set()

    def run(self) -> None:
        """Raises `CredentialRefused`."""
        backoff = Backoff()
        while not self._closed.is_set():
            try:
                if self._ship():
                    break
                backoff.reset()
                self._closed.wait(_AGAIN_SECONDS)
            except (ContainerGone, ApiRejected) as problem:
                self._log.error("the rest of the log is given up", problem=str(problem))
                break
            except (ApiUnavailable, EngineError) as problem:
                self._log.warning("log interrupted", problem=str(problem))
                self._closed.wait(backoff.next())
        self._done.set()
        self._when_done()

    def _ship(self) -> bool:
        """One reading of the log from its first byte. True: nothing is left to do."""
        follow = not self._container_ended.is_set()
        with closing(_Reading(self._runtime.output(self._container_id, follow=follow))) as reading:
            if not self._ship_all(reading):
                return self._closed.is_set()
        # A followed log also ends where the engine cuts it off.
        return not follow or self._runtime.ended(self._container_id, _LINGER_SECONDS)

    def _ship_all(self, reading: "_Reading") -> bool:
        """False: not all, read again from the start."""
        position = dict.fromkeys(LogStream, 0)
        while not self._closed.is_set():
            batch = OpenBatch()
            more = self._fill(batch, reading, position)
            if batch.size and not self._send(batch, position):
                return False
            if not more:
                return not reading.abandoned
        return False

    def _fill(self, batch: OpenBatch, reading: "_Reading", position: dict[LogStream, int]) -> bool:
        """Fills the batch until it is full or old enough. False: the log has ended."""
        send_at = None
        while not batch.full and (send_at is None or time.monotonic() < send_at):
            piece = reading.next(_LINGER_SECONDS if send_at is None else max(0.0, send_at - time.monotonic()))
            if piece:
                self._take(batch, reading, piece, position)
                if batch.size and send_at is None:
                    send_at = time.monotonic() + _BATCH_AGE_SECONDS
            elif reading.over:
                return False
            elif self._container_ended.is_set() and reading.silent_seconds >= _LINGER_SECONDS:
                reading.abandoned = True
                return False
            elif self._closed.is_set():
                break
        return True

    def _take(self, batch: OpenBatch, reading: "_Reading", piece: _Piece, position: dict[LogStream, int]) -> None:
        stream, data = piece
        known = min(max(0, self._wanted[stream] - position[stream]), len(data))
        position[stream] += known
        if known == len(data):
            return
        taken = batch.take(stream, position[stream], data[known:])
        position[stream] += taken
        if known + taken < len(data):
            reading.put_back((stream, data[known + taken :]))

    def _send(self, batch: OpenBatch, position: dict[LogStream, int]) -> bool:
        """True: the API wants what comes next. False: it wants something earlier, or nothing."""
        body = LogBatch(run_id=self._task.run_id, rank=self._task.rank, token=self._task.token, frames=batch.frames())
        backoff = Backoff()
        while True:
            try:
                receipt = self._api.ship(body)
                break
            except ApiUnavailable as problem:
                self._log.warning("log waits", problem=str(problem))
                if self._closed.wait(backoff.next()):
                    return False
        if receipt.stale:
            self._log.info("the API doesn't want this log")
            self._closed.set()
            return False
        self._wanted = as_positions(receipt.offsets)
        return all(self._wanted[stream] >= position[stream] for stream in LogStream)


class _Reading:
    """An output read ahead by a thread, a little: the engine waits when the API does."""

    def __init__(self, output: Output) -> None:
        self.over = False
        self.abandoned = False
        self._output = output
        self._pieces: Queue[_Piece | AgentError | None] = Queue(_PIECES_AHEAD)
        self._again: _Piece | None = None
        self._last_heard = time.monotonic()
        self._reader = Thread(target=self._read, name="log-reader", daemon=True)
        self._reader.start()

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._last_heard

    def next(self, within_seconds: float) -> _Piece | None:
        """The next piece; None: nothing came in that time, or it is over. Raises what broke the output off."""
        if again := self._again:
            self._again = None
            return again
        try:
            piece = self._pieces.get(timeout=within_seconds)
        except Empty:
            return None
        self._last_heard = time.monotonic()
        if isinstance(piece, AgentError):
            raise piece
        self.over = piece is None
        return piece

    def put_back(self, piece: _Piece) -> None:
        """The next piece is this one."""
        self._again = piece

    def close(self) -> None:
        self._output.close()
        while self._reader.is_alive():
            try:
                self._pieces.get(timeout=0.05)
            except Empty:
                continue

    def _read(self) -> None:
        end: AgentError | None = None
        try:
            for piece in self._output:
                self._pieces.put(piece)
        except AgentError as error:
            end = error
        except Exception as error:  # noqa: BLE001 - raised again by `next`
            # Whatever it was: the one who waits for the next piece must hear of it.
            end = EngineUnavailable(f"{type(error).__name__}: {error}")
        self._pieces.put(end)
