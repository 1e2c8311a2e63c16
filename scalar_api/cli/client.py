"""The API as the command line sees it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from scalar_api.up.folder import DataFolder

REFUSED, UNREACHABLE = 3, 4
_PATIENCE_SECONDS = 60
error_console = Console(stderr=True, highlight=False)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a message for people on standard error."""
    error_console.print(f"[red]scalar:[/red] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


class Client:
    """Every failure ends the command, with a message and the exit code for it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=httpx.Timeout(30, connect=5)
        )

    def get(self, path: str, **query: Any) -> Any:
        return self._ask("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self._ask("POST", path, json=body, headers=headers)

    def put(self, path: str, body: Any) -> Any:
        return self._ask("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path)

    def text(self, path: str, **query: Any) -> httpx.Response:
        return self._answer("GET", path, params={name: value for name, value in query.items() if value is not None})

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(event, data) of a stream of server-sent events; one that breaks is resumed where it broke."""
        last_id: str | None = None
        failing_since: float | None = None
        while True:
            headers: dict[str, str] = {"Last-Event-ID": last_id} if last_id else {}
            trouble = "it ended"
            try:
                with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(45, connect=5)) as answer:
                    answer.is_success or answer.read()
                    if answer.is_client_error:
                        _refused(answer)
                    answer.raise_for_status()
                    failing_since = None
                    for event, data, event_id in _parse(answer.iter_lines()):
                        last_id = event_id or last_id
                        yield event, data
                        if event == "end":
                            return
            except httpx.HTTPError as error:
                trouble = str(error)
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > _PATIENCE_SECONDS:
                fail(f"lost the stream from {self.url}: {trouble}", UNREACHABLE)
            time.sleep(0.5)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        return self._answer(method, path, **more).json()

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            fail(f"can't reach the API at {self.url} ({error}). Is it up? `scalar up` starts one here.", UNREACHABLE)
        if not answer.is_success:
            _refused(answer)
        return answer


def connect(*, operator: bool = False) -> Client:
    """With the settings of the environment, or those of a `scalar up` in this folder."""
    url, key = os.environ.get("SCALAR_API_URL"), os.environ.get("SCALAR_API_KEY")
    local = DataFolder(Path(os.environ.get("SCALAR_DATA", ".scalar"))).read_credentials()
    if local is not None:
        url = url or local.api_url
        key = key or (local.operator_key if operator else local.customer_key)
    if key is None:
        fail("no API key: set SCALAR_API_KEY (and SCALAR_API_URL), or run where a `scalar up` has its `.scalar/`.", 2)
    return Client(url or "http://127.0.0.1:8000", key)


def _refused(answer: httpx.Response) -> NoReturn:
    try:
        problem = answer.json()
        message = f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        message = f"the API answered {answer.status_code}"
    fail(message, REFUSED)


def _parse(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield fields.get("event", "message"), json.loads(fields["data"]), fields.get("id")
            fields = {}
