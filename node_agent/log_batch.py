"""Output on its way into one request: frames that know where in their stream they stand. No I/O."""

import base64
from dataclasses import dataclass, field

from scalar.protocol import LOG_BATCH_BYTES, LogFrame, LogOffsets, LogStream

MOST_FRAMES = 1000


def as_positions(offsets: LogOffsets) -> dict[LogStream, int]:
    return {LogStream.STDOUT: offsets.stdout, LogStream.STDERR: offsets.stderr}


@dataclass
class _Frame:
    stream: LogStream
    start: int
    data: bytearray

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass
class OpenBatch:
    """At most `LOG_BATCH_BYTES` in at most `MOST_FRAMES` frames; neighbours of one stream become one frame."""

    size: int = 0
    _frames: list[_Frame] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return self.size >= LOG_BATCH_BYTES or len(self._frames) >= MOST_FRAMES

    def take(self, stream: LogStream, start: int, data: bytes) -> int:
        """Takes what there is room for, and returns how many bytes of `data` that is."""
        taken = data[: LOG_BATCH_BYTES - self.size]
        last = self._frames[-1] if self._frames else None
        if last and last.stream is stream and last.end == start:
            last.data += taken
        elif len(self._frames) < MOST_FRAMES:
            self._frames.append(_Frame(stream, start, bytearray(taken)))
        else:
            return 0
        self.size += len(taken)
        return len(taken)

    def frames(self) -> list[LogFrame]:
        return [
            LogFrame(stream=each.stream, start=each.start, data=base64.b64encode(each.data)) for each in self._frames
        ]
