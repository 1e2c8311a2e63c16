import pytest

from node_agent.docker_log import DockerLog
from node_agent.errors import EngineUnavailable
from scalar.protocol import LogStream

LINES = [(1, b"one\n"), (2, b"problem\n"), (1, b"2026 is no time\n"), (1, b"same\n"), (1, b"same\n")]


class Answer:
    """What the engine sends for one request."""

    def __init__(self, lines):
        self._lines = lines

    def iter_content(self, *, chunk_size):  # noqa: ARG002 - as requests calls it
        for nanosecond, (stream, line) in self._lines:
            data = b"2026-11-21T12:00:00.%09dZ " % nanosecond + line
            yield bytes([stream, 0, 0, 0]) + len(data).to_bytes(4) + data

    def close(self):
        pass


def an_engine(*, follow_ends_after):
    """An engine that leaves the rest out of a followed log."""
    lines, asked = list(enumerate(LINES)), []

    def open_log(query):
        asked.append(query)
        if query.get("tail") == 1:
            return Answer(lines[-1:])
        return Answer(lines[:follow_ends_after] if query["follow"] else lines)

    return open_log, asked


@pytest.mark.parametrize("follow_ends_after", range(len(LINES) + 1))
def test_a_followed_log_is_whole_even_where_the_engine_ended_it_too_soon(follow_ends_after):
    open_log, asked = an_engine(follow_ends_after=follow_ends_after)
    streams = {1: LogStream.STDOUT, 2: LogStream.STDERR}
    log = DockerLog(open_log=open_log, cut=lambda _: None, follow=True)
    assert list(log) == [(streams[number], line) for number, line in LINES]
    assert len(asked) == (2 if follow_ends_after == len(LINES) else 3), "read again only where it has to be"


def test_an_engine_that_cannot_read_its_own_log_is_no_end_of_it():
    lines = [(0, (1, b"one\n")), (1, (3, b"Error grabbing logs: unexpected EOF\n"))]
    log = DockerLog(open_log=lambda _: Answer(lines), cut=lambda _: None, follow=True)
    with pytest.raises(EngineUnavailable, match="Error grabbing logs"):
        list(log)
