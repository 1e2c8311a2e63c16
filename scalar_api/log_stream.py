"""A job's output as server-sent events.

    event: log   data: {"stream": "stdout", "text": "…"}       id: <run>:<next byte>
    event: run   data: {"run": …, "attempt": …}                 a try begins: what follows is its output
    event: end   data: {"state": …, "reason": …, "exit_code": …}

An id names the byte that comes next, so that a client which sends the last one back gets all that it has not had and
nothing twice. Text is JSON, since a bare carriage return would end a line of an event.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from scalar.database import Database
from scalar.errors import InvalidRequest
from scalar.jobs import logs, store
from scalar.jobs.model import Job, JobRun
from scalar_api.notifications import Notifications

_EVENT_BYTES = 64 * 1024
_KEEP_ALIVE_SECONDS = 15.0


@dataclass(frozen=True)
class Position:
    run_id: str | None
    offset: int

    @classmethod
    def parse(cls, event_id: str) -> "Position":
        """Raises: `InvalidRequest` where it is no id of ours."""
        run_id, colon, offset = event_id.rpartition(":")
        if not colon or not (offset.isascii() and offset.isdigit()) or len(offset) > 18:
            raise InvalidRequest(f"Last-Event-ID: {event_id!r} is not an id of this stream.")
        return cls(run_id, int(offset))

    def __str__(self) -> str:
        return f"{self.run_id}:{self.offset}"


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One look at the database: the run that is being followed, what it wrote, and whether another came after it."""

    job: Job
    run: JobRun | None
    chunks: list[logs.Chunk]
    next_run: JobRun | None

    @property
    def run_is_over(self) -> bool:
        """Or there is none (yet)."""
        return self.run is None or self.run.state.ended


async def follow_job(
    database: Database, hub: Notifications, job_id: str, position: Position, *, rank: int, only_run: bool
) -> AsyncIterator[str]:
    """Events until the job has ended (or the run, with `only_run`), or this process is about to: the client resumes."""
    with hub.subscribe(job_id, *([position.run_id] if position.run_id else [])) as waiter:
        while True:
            look = await run_in_threadpool(_look, database, job_id, position, rank)
            for chunk in _whole_characters(look):
                position = Position(position.run_id, chunk.end)
                text = chunk.data.decode(errors="replace")
                yield _event("log", {"stream": chunk.stream, "text": text}, position)
            if _more_at_once(look):
                continue
            if look.run_is_over and look.next_run is not None and not only_run:
                break
            if look.run_is_over and (only_run or look.job.state.ended):
                yield _end(look)
                return
            if hub.closing:
                return
            if not look.chunks:
                yield ": still there\n\n"
            await waiter.wait(_KEEP_ALIVE_SECONDS)
    assert look.next_run is not None  # noqa: S101 - the only way out of the loop
    position = Position(look.next_run.id, 0)
    yield _event("run", {"run": look.next_run.id, "attempt": look.next_run.attempt}, position)
    async for event in follow_job(database, hub, job_id, position, rank=rank, only_run=only_run):
        yield event


def _look(database: Database, job_id: str, position: Position, rank: int) -> _Look:
    """The run is read before its output: one that had ended then has all its output there."""
    with database.transaction() as tx:
        job = store.job(tx, job_id)
        runs = store.runs_of_job(tx, job_id)
    if job is None:
        raise InvalidRequest("The job is not there any more.")
    index = next((i for i, each in enumerate(runs) if each.id == position.run_id), None)
    if index is None and position.run_id is not None:
        raise InvalidRequest(f"Last-Event-ID: this job has no run {position.run_id!r}.")
    run = runs[index] if index is not None else None
    following = runs[index + 1 :] if index is not None else runs
    chunks: list[logs.Chunk] = []
    if run is not None:
        with database.transaction() as tx:
            chunks = logs.read(tx, run.id, rank, offset=position.offset, limit=_EVENT_BYTES)
    return _Look(job=job, run=run, chunks=chunks, next_run=following[0] if following else None)


def _more_at_once(look: _Look) -> bool:
    return sum(len(chunk.data) for chunk in look.chunks) >= _EVENT_BYTES


def _whole_characters(look: _Look) -> list[logs.Chunk]:
    """The chunks, less the beginning of a character at the very end whose rest is still to come."""
    chunks = _joined(look.chunks)
    if not chunks or (look.run is not None and look.run.state.ended and not _more_at_once(look)):
        return chunks
    *rest, last = chunks
    kept = last.data[: len(last.data) - _dangling(last.data)]
    return [*rest, logs.Chunk(start=last.start, stream=last.stream, data=kept)] if kept else rest


def _joined(chunks: list[logs.Chunk]) -> list[logs.Chunk]:
    """Neighbours of one stream become one: a character may lie across them."""
    joined: list[logs.Chunk] = []
    for chunk in chunks:
        if joined and joined[-1].stream is chunk.stream:
            before = joined.pop()
            chunk = logs.Chunk(start=before.start, stream=chunk.stream, data=before.data + chunk.data)  # noqa: PLW2901
        joined.append(chunk)
    return joined


def _dangling(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character that isn't complete (0 to 3)."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
        if byte < 0x80:
            return 0
    return 0


def _end(look: _Look) -> str:
    body = {
        "state": look.job.state,
        "reason": look.job.reason,
        "exit_code": look.run.exit_code if look.run else None,
        "message": look.run.message if look.run else None,
    }
    return f"event: end\ndata: {json.dumps(body)}\n\n"


def _event(kind: str, body: dict[str, object], position: Position) -> str:
    return f"event: {kind}\nid: {position}\ndata: {json.dumps(body)}\n\n"
