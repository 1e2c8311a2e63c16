"""One container's log as the Docker engine shows it, made whole.

A followed log can end too soon: when a container exits while its reader lags behind, engines (seen with 20.10, one time
in thirty) now and then leave out the rest. So the last line is asked for again at the end, and where it isn't the one
that was read, the log is read once more without following, from where it broke off.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from requests import Response

from node_agent.docker_answers import frames, without_time
from node_agent.errors import EngineUnavailable
from scalar.protocol import LogStream

OpenLog = Callable[[dict[str, str | int]], Response]
"""Asks the engine for the container's log with this query, and answers with the open stream."""


class DockerLog:
    """Iterating raises `EngineUnavailable` where the stream broke off."""

    def __init__(self, *, open_log: OpenLog, cut: Callable[[Response], None], follow: bool) -> None:
        self._open = open_log
        self._cut = cut
        self._follow = follow
        self._closed = False
        # At once, so that a container that is gone is told to whoever asks for its log.
        self._response = open_log({"follow": int(follow)})

    def __iter__(self) -> Iterator[tuple[LogStream, bytes]]:
        seen, last = 0, None
        for last in self._frames(self._response):
            seen += 1
            yield last[0], without_time(last[1])
        if self._follow and not self._closed and self._last_frame() != last:
            self._response = self._open({"follow": 0})
            for stream, line in islice(self._frames(self._response), seen, None):
                yield stream, without_time(line)

    def close(self) -> None:
        """Ends the iteration, from any thread."""
        self._closed = True
        self._cut(self._response)

    def _last_frame(self) -> tuple[LogStream, bytes] | None:
        return next(iter(list(self._frames(self._open({"follow": 0, "tail": 1})))[-1:]), None)

    def _frames(self, response: Response) -> Iterator[tuple[LogStream, bytes]]:
        try:
            yield from frames(response.iter_content(chunk_size=None))
        except OSError as error:
            raise EngineUnavailable(str(error)) from error
        finally:
            response.close()
