"""A container registry over real HTTP that serves one image of the local engine, and tells of two kinds of failure."""

import gzip
import hashlib
import io
import json
import tarfile
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import docker


class Registry:
    """`served:<any tag>` can be pulled, `broken` answers 500, everything else isn't there.

    `silent` is asked and never answers; `stalled` sends its manifest, and then nothing.
    """

    def __init__(self, client: docker.APIClient, image: str) -> None:
        with tarfile.open(fileobj=io.BytesIO(b"".join(client.get_image(image)))) as saved:
            listing = json.loads(saved.extractfile("manifest.json").read())[0]
            config = saved.extractfile(listing["Config"]).read()
            layers = [gzip.compress(saved.extractfile(layer).read(), mtime=0) for layer in listing["Layers"]]
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self._entry("application/vnd.docker.container.image.v1+json", config),
            "layers": [self._entry("application/vnd.docker.image.rootfs.diff.tar.gzip", layer) for layer in layers],
        }
        self.manifest_kind = kind
        self.manifest = json.dumps(manifest).encode()
        # Of blobs that no engine has yet, each time others.
        elsewhere = {**manifest, "config": self._entry(manifest["config"]["mediaType"], uuid.uuid4().bytes)}
        self.stalled_manifest = json.dumps(elsewhere).encode()
        self.blobs = {self.digest(blob): blob for blob in [config, *layers]}
        self.requests: list[str] = []
        self._closing = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @staticmethod
    def digest(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        self.requests.append(path)
        match path.strip("/").split("/"):
            case ["v2"]:
                return 200, "application/json", b"{}"
            case ["v2", "broken", *_]:
                return 500, "application/json", b"{}"
            case ["v2", "silent", *_] | ["v2", "stalled", "blobs", _]:
                self._closing.wait()
            case ["v2", "stalled", "manifests", _]:
                return 200, self.manifest_kind, self.stalled_manifest
            case ["v2", "served", "manifests", _]:
                return 200, self.manifest_kind, self.manifest
            case ["v2", "served", "blobs", digest]:
                return 200, "application/octet-stream", self.blobs[digest]
        unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
        return 404, "application/json", json.dumps(unknown).encode()

    def _entry(self, kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "size": len(data), "digest": self.digest(data)}


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _respond(self) -> None:
            status, kind, body = registry.answer(self.path)
            self.send_response(status)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if kind == registry.manifest_kind:
                self.send_header("Docker-Content-Digest", registry.digest(body))
            # Who gave up waiting isn't there any more.
            with suppress(ConnectionError):
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        do_GET = do_HEAD = _respond  # noqa: N815 - the names that http.server calls

    return Handler
