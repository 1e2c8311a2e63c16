"""A door to the real Docker engine that can be shut: how an engine goes away without anybody's containers going too."""

import shutil
import socket
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

ENGINE = "/var/run/docker.sock"


class EngineProxy:
    def __init__(self, directory: Path) -> None:
        self._path = directory / "engine.sock"
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._changing = Lock()

    @property
    def docker_host(self) -> str:
        return f"unix://{self._path}"

    def open(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Nobody answers any more, and every connection breaks off."""
        with self._changing:
            listener, self._listener = self._listener, None
            broken, self._connections = self._connections, []
        self._path.unlink(missing_ok=True)
        for each in [*broken, *([listener] if listener else [])]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                asking, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                with self._changing:
                    shut = self._listener is not listener
                    if not shut:
                        self._connections += [asking, engine]
                if shut:
                    asking.close()
                    engine.close()
                    return
                engine.connect(ENGINE)
                for source, target in ((asking, engine), (engine, asking)):
                    Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source.makefile("rb", buffering=0) as reader:
            shutil.copyfileobj(reader, target.makefile("wb", buffering=0))
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
