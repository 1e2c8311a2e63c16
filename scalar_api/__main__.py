"""`python -m scalar_api`: the API on one address; settings from the environment."""

import argparse
import asyncio
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from scalar.logging import configure
from scalar_api.app import create_app


class _Server(uvicorn.Server):
    """Lets long polls and streams go as soon as it is asked to stop, so that they don't hold it up."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        app = self.config.app
        if isinstance(app, FastAPI) and self._loop is not None:
            self._loop.call_soon_threadsafe(app.state.notifications.close)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    _loop: asyncio.AbstractEventLoop | None = None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scalar_api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    configure()
    config = uvicorn.Config(
        create_app(),
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
