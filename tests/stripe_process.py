"""The sandbox Stripe as a process of its own and an endpoint for its webhooks, for tests of what talks to Stripe."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import requests
import stripe

from tests.served_sandbox import ServedSandbox


class SandboxStripe(ServedSandbox):
    """Started with the default a test wants: a clock that the test moves.

        with SandboxStripe(tmp_path / "stripe") as sandbox:
            customer = sandbox.client().v1.customers.create({"name": "Ada"})
            sandbox.advance(3600)

    `options` are the command line's, `{"retry-days": "1,1", "webhook-url": inbox.url}`. With `clock="real"` it runs in
    real time.
    """

    module = "sandbox.stripe"

    def __init__(
        self, data: Path, *, clock: str = "manual", start: str | None = "2026-11-02T00:00Z", **options: Any
    ) -> None:
        super().__init__(data, clock=clock, start=start, **options)
        self._sessions: list[requests.Session] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for one in self._sessions:
            one.close()

    @property
    def key(self) -> str:
        """The secret key."""
        return (self.data / "key").read_text().strip()

    @property
    def webhook_secret(self) -> str:
        """Of the endpoint that `webhook-url` named."""
        return (self.data / "webhook_secret").read_text().strip()

    def client(self, *, key: str | None = None, retries: int = 0, timeout: float = 30.0) -> stripe.StripeClient:
        """The real library, at this address."""
        session = requests.Session()
        session.trust_env = False
        self._sessions.append(session)
        http = stripe.RequestsClient(timeout=timeout, session=session)
        return stripe.StripeClient(
            key or self.key, base_addresses={"api": self.url}, http_client=http, max_network_retries=retries
        )

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """As the library asks, but by hand: `path` from the root, `data` form-encoded. No fault hits it."""
        headers = {"Authorization": f"Bearer {self.key}", "X-Sandbox-No-Faults": "1", **more.pop("headers", {})}
        return self._http.request(method, self.url + path, headers=headers, **more)

    def control(self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST") -> Any:
        """A control's JSON: `control("/disputes", {"charge": id})`. It must be a success."""
        answer = self._http.request(method, f"{self.url}/sandbox/v1{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def advance(self, seconds: float) -> float:
        """Move the clock; the server's time then. What falls due on the way is done, and its webhooks delivered."""
        return float(self.control("/advance", {"seconds": seconds})["now"])

    def advance_to(self, at: float) -> float:
        """As `advance`, to a time in epoch seconds."""
        return float(self.control("/advance", {"to": at})["now"])

    @property
    def now(self) -> float:
        return float(self.control("/clock", method="GET")["now"])

    def fault(self, kind: str, **more: Any) -> dict[str, Any]:
        return dict(self.control("/faults", {"kind": kind, **more}))

    def no_faults(self) -> None:
        self.control("/faults", method="DELETE")

    def card(self, payment_method: str, **does: Any) -> None:
        """Change what an attached card does: `declines="insufficient_funds"`, or `declines=None` to pay again."""
        self.control(f"/payment_methods/{payment_method}", does)

    def customer_pays(self, invoice: str, payment_method: str = "pm_card_visa") -> dict[str, Any]:
        """As the customer does on the hosted page."""
        return dict(self.control(f"/invoices/{invoice}/pay", {"payment_method": payment_method}))

    def authenticate(self, intent: str, *, succeeds: bool = True) -> dict[str, Any]:
        """The customer's answer to `requires_action`."""
        return dict(self.control(f"/payment_intents/{intent}/authenticate", {"succeeds": succeeds}))

    def dispute(self, charge: str, **more: Any) -> str:
        """The id of a new dispute; `amount` and `reason` may be given."""
        return str(self.control("/disputes", {"charge": charge, **more})["id"])

    def close_dispute(self, dispute: str, outcome: str) -> None:
        """`outcome` is won or lost."""
        self.control(f"/disputes/{dispute}/close", {"outcome": outcome})

    def event(self, type: str, **more: Any) -> str:
        """The id of a made-up event, of an invoice that isn't anybody's unless `object` is given."""
        return str(self.control("/events", {"type": type, **more})["id"])

    def deliver_again(self, event: str, times: int = 1) -> None:
        """An event once more, however old it is."""
        self.control("/webhooks/deliver", {"event": event, "times": times})

    def hold_webhooks(self) -> None:
        self.control("/webhooks/hold")

    def release_webhooks(self, order: str = "oldest") -> None:
        """Delivers all that was held, the oldest or the newest first."""
        self.control("/webhooks/release", {"order": order})

    def flush_webhooks(self) -> None:
        """Comes back when every event so far was delivered, or tried."""
        self.control("/webhooks/flush")


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A webhook as it came."""

    payload: bytes
    signature: str

    def event(self, secret: str) -> stripe.Event:
        """Verified by the real library."""
        return stripe.Webhook.construct_event(self.payload, self.signature, secret)


class WebhookInbox:
    """An endpoint on 127.0.0.1 that keeps what comes, and answers with `status`."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = self.rfile.read(int(self.headers["Content-Length"]))
                outer.letters.append(Letter(payload=payload, signature=self.headers["Stripe-Signature"]))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: pytest shows what a test says."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/stripe"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
