"""Webhooks: events posted to endpoints one after the other, signed, and again with backoff for three days.

A delivery is sent outside of any turn, since its receiver may well ask for the object that it is told of. It is marked
afterwards: a stand-in that is killed in between sends it once more.
"""

import hmac
import http.client
import json
import logging
import threading
import time
from hashlib import sha256
from urllib.parse import urlsplit

from sandbox.stripe.identity import random_text
from sandbox.stripe.mailbox import Delivery
from sandbox.stripe.refusals import Object
from sandbox.stripe.world import World

_BACKOFF = (300, 1800, 7200, 18_000, 36_000)
_THEN = 43_200
_GIVES_UP = 3 * 86_400
_PULSE_SECONDS = 0.25

_log = logging.getLogger("sandbox.stripe")


def signature(secret: str, payload: bytes, at: int) -> str:
    """What stands in `Stripe-Signature`."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + payload, sha256).hexdigest()
    return f"t={at},v1={signed}"


class Courier:
    """A thread of its own from `start` to `stop`; `deliver_due` can be called from any other, too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sending = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        self._world.posted.set()
        self._thread.join(self._world.options.webhook_timeout + 5)

    def deliver_due(self, *, newest_first: bool = False) -> int:
        """Everything that is due now; how many were sent."""
        with self._sending:
            sent = 0
            while not self._closing.is_set():
                with self._world.turn():
                    due = self._world.mailbox.next_due(self._world.now, newest_first=newest_first)
                    mail = None if due is None else self._letter(due)
                if due is None:
                    return sent
                self._send(due, mail)
                sent += 1
            return sent

    def advance_to(self, target: float) -> None:
        """The server's clock, step by step: what falls due on the way is done and delivered at its time."""
        with self._sending:
            going = True
            while going:
                if not self._world.held:
                    self.deliver_due()
                going = self._world.step_towards(target)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._world.posted.wait(_PULSE_SECONDS)
            self._world.posted.clear()
            try:
                self._world.catch_up()
                if not self._world.held:
                    self.deliver_due()
            except Exception:  # noqa: BLE001 - it carries on, whatever a delivery ran into
                _log.exception("the courier stumbled")
                self._closing.wait(1)

    def _letter(self, delivery: Delivery) -> tuple[Object, str, Object] | None:
        """The endpoint, its secret, and the event; None where either is gone."""
        endpoint, event = self._world.store.get(delivery.endpoint), self._world.store.get(delivery.event)
        if endpoint is None or event is None or endpoint["status"] != "enabled":
            return None
        return endpoint, self._world.store.hidden(endpoint["id"])["secret"], self._world.renderer.shown(event)

    def _send(self, delivery: Delivery, mail: tuple[Object, str, Object] | None) -> None:
        status = None if mail is None else self._post(*mail)
        with self._world.turn():
            state, due = self._outcome(delivery, status, gone=mail is None)
            self._world.mailbox.settle(delivery.seq, state=state, status=status, due=due)

    def _outcome(self, delivery: Delivery, status: int | None, *, gone: bool) -> tuple[str, float]:
        if status is not None and 200 <= status < 300:
            return "delivered", delivery.due
        wait = _BACKOFF[delivery.tries] if delivery.tries < len(_BACKOFF) else _THEN
        due = self._world.now + wait
        return ("failed", delivery.due) if gone or due > delivery.first_at + _GIVES_UP else ("waiting", due)

    def _post(self, endpoint: Object, secret: str, event: Object) -> int | None:
        """The status of the answer; None where none came."""
        payload = json.dumps(event, indent=2).encode()
        faults = self._world.faults
        stale = faults.webhook(event["type"], "webhook_stale_signature")
        at = int(time.time() - (stale.seconds if stale else 0))
        if faults.webhook(event["type"], "webhook_bad_signature"):
            secret = f"whsec_{random_text(32)}"
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(secret, payload, at),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            return _status(endpoint["url"], payload, headers, self._world.options.webhook_timeout)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _log.info("%s to %s: %s", event["id"], endpoint["url"], error)
            return None


def _status(url: str, payload: bytes, headers: dict[str, str], timeout: float) -> int:
    """Redirects are not followed. Raises: OSError, HTTPException, ValueError."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout)
    try:
        connection.request("POST", parts._replace(scheme="", netloc="", fragment="").geturl() or "/", payload, headers)
        return connection.getresponse().status
    finally:
        connection.close()
