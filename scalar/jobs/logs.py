"""The output of a task: appended by byte offset, read by byte offset.

A node sends frames (stream, offset in that stream, bytes); what is known already is skipped, what leaves a gap is
refused by answering the offset that is wanted. Readers see one text, in order of arrival, and each stream by itself.

At most `MAX_LOG_BYTES` a task are kept; what comes after them is counted and thrown away, and a last line says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scalar.database import Channel, Transaction, notify, one
from scalar.protocol import LogFrame, LogOffsets, LogReceipt, LogStream

MAX_LOG_BYTES = 64 * 1024 * 1024
_NOTICE = b"\n[scalar] The log is longer than 64 MiB: the rest is not kept.\n"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Bytes of a task's output, from `start` of the whole text on."""

    start: int
    stream: LogStream
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)


def append(tx: Transaction, run_id: str, rank: int, frames: Sequence[LogFrame]) -> LogReceipt:
    """Keep what is new. The caller has checked the run's token; the task's row is locked, so that frames line up."""
    row = one(
        tx,
        "select stdout_bytes, stderr_bytes from run_tasks where run_id = %s and rank = %s for update",
        [run_id, rank],
    )
    have = {LogStream.STDOUT: row["stdout_bytes"], LogStream.STDERR: row["stderr_bytes"]}
    fresh = _fresh(frames, have)
    if fresh:
        _keep(tx, run_id, rank, fresh)
        _count(tx, run_id, rank, have)
        notify(tx, Channel.LOGS, run_id)
    return LogReceipt(
        offsets=LogOffsets(stdout=have[LogStream.STDOUT], stderr=have[LogStream.STDERR]),
        truncated=sum(have.values()) > MAX_LOG_BYTES,
    )


def read(tx: Transaction, run_id: str, rank: int, *, offset: int, limit: int) -> list[Chunk]:
    """The text from byte `offset` on, at most `limit` bytes of it."""
    rows = tx.execute(
        """select start, stream, data from log_chunks
           where run_id = %(run)s and rank = %(rank)s and start < %(end)s
             and start >= coalesce((select max(start) from log_chunks
                                    where run_id = %(run)s and rank = %(rank)s and start <= %(offset)s), 0)
           order by start""",
        {"run": run_id, "rank": rank, "offset": offset, "end": offset + limit},
    )
    chunks = [Chunk(start=row["start"], stream=LogStream(row["stream"]), data=bytes(row["data"])) for row in rows]
    return [each for chunk in chunks if (each := _cut(chunk, offset, offset + limit)).data]


def read_stream(tx: Transaction, run_id: str, rank: int, stream: LogStream, *, offset: int, limit: int) -> bytes:
    """One stream by itself, from byte `offset` of it on, at most `limit` bytes."""
    rows = tx.execute(
        """select stream_start, data from log_chunks
           where run_id = %(run)s and rank = %(rank)s and stream = %(stream)s and stream_start < %(end)s
             and stream_start >= coalesce((
                 select max(stream_start) from log_chunks where run_id = %(run)s and rank = %(rank)s
                 and stream = %(stream)s and stream_start <= %(offset)s), 0)
           order by stream_start""",
        {"run": run_id, "rank": rank, "stream": stream, "offset": offset, "end": offset + limit},
    )
    chunks = (Chunk(start=row["stream_start"], stream=stream, data=bytes(row["data"])) for row in rows)
    return b"".join(_cut(chunk, offset, offset + limit).data for chunk in chunks)


@dataclass(kw_only=True)
class _Piece:
    """Neighbouring frames of one stream, kept as one row."""

    start: int
    stream: LogStream
    stream_start: int
    data: bytes


def _fresh(frames: Sequence[LogFrame], have: dict[LogStream, int]) -> list[_Piece]:
    """What the frames add; `have` is counted on."""
    pieces: list[_Piece] = []
    for frame in frames:
        known = have[frame.stream]
        data = frame.data[known - frame.start :] if frame.start <= known else b""
        if not data:
            continue
        if pieces and pieces[-1].stream is frame.stream:
            pieces[-1].data += data
        else:
            pieces.append(_Piece(start=sum(have.values()), stream=frame.stream, stream_start=known, data=data))
        have[frame.stream] += len(data)
    return pieces


def _keep(tx: Transaction, run_id: str, rank: int, pieces: list[_Piece]) -> None:
    """Up to the limit, with a last line where it was reached."""
    rows = []
    for piece in pieces:
        room = MAX_LOG_BYTES - piece.start
        if room >= 0:
            data = piece.data if len(piece.data) <= room else piece.data[:room] + _NOTICE
            rows.append([run_id, rank, piece.start, piece.stream, piece.stream_start, data])
    if rows:
        tx.cursor().executemany(
            "insert into log_chunks (run_id, rank, start, stream, stream_start, data) values (%s, %s, %s, %s, %s, %s)",
            rows,
        )


def _count(tx: Transaction, run_id: str, rank: int, have: dict[LogStream, int]) -> None:
    tx.execute(
        "update run_tasks set stdout_bytes = %s, stderr_bytes = %s where run_id = %s and rank = %s",
        [have[LogStream.STDOUT], have[LogStream.STDERR], run_id, rank],
    )


def _cut(chunk: Chunk, start: int, end: int) -> Chunk:
    first, last = max(start - chunk.start, 0), max(end - chunk.start, 0)
    return Chunk(start=chunk.start + first, stream=chunk.stream, data=chunk.data[first:last])
