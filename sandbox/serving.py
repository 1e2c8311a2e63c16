"""An HTTP server on a loopback port, until it is told to stop."""

import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp


def serve(app: ASGIApp, listening: socket.socket, *, port_file: Path | None = None) -> None:
    """Until SIGTERM or SIGINT. `port_file` is written when it answers, and can be stopped."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5
    )
    _Server(config, port_file).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, port_file: Path | None) -> None:
        super().__init__(config)
        self._port_file = port_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._port_file is not None and sockets:
            part = self._port_file.with_name(self._port_file.name + ".part")
            part.write_text(str(sockets[0].getsockname()[1]))
            part.replace(self._port_file)
