"""One request to one answer: faults, the key, what was answered before, the resource, and what is to be expanded."""

import base64
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.stripe import (
    balance_transactions,
    charges,
    credit_notes,
    customers,
    disputes,
    events,
    form,
    invoice_items,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
    test_clocks,
)
from sandbox.stripe.calls import Call, Handler
from sandbox.stripe.faults import Fault, FaultKind
from sandbox.stripe.identity import API_VERSION, new_id
from sandbox.stripe.receipts import Receipts, digest_of
from sandbox.stripe.refusals import Object, Refusal, malformed
from sandbox.stripe.world import World

_PARTS = (
    customers, payment_methods, invoice_items, invoices, credit_notes, payment_intents, charges, refunds, disputes,
    balance_transactions, events, test_clocks,
)  # fmt: skip
_ROUTES = [
    (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", address)), handler)
    for part in _PARTS
    for method, address, handler in part.ROUTES
]
_NO_FAULTS = "x-sandbox-no-faults"
"""A header: whoever tests wants to see what is really there."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`cut`: no answer at all, the connection breaks."""

    status: int = 200
    body: Object = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


class Desk:
    def __init__(self, world: World, secret_key: str) -> None:
        self._world = world
        self._key = secret_key
        self._receipts = Receipts(world)

    def answer(self, asked: Asked) -> Answer:
        if self._fault(asked, "dropped_before"):
            return Answer(cut=True)
        request = new_id("req")
        headers = {"Request-Id": request, "Stripe-Version": asked.headers.get("stripe-version", API_VERSION)}
        try:
            self._check_key(asked)
            self._fail_on_demand(asked)
            status, body, replayed = self._once(asked, request)
            headers |= {"Idempotent-Replayed": "true"} if replayed else {}
        except Refusal as refusal:
            status, body = refusal.status, refusal.body
            headers |= refusal.headers
        if self._fault(asked, "dropped"):
            return Answer(cut=True)
        return Answer(status=status, body=body, headers=headers)

    def _once(self, asked: Asked, request: str) -> tuple[int, Object, bool]:
        """Status, body, and whether both are from before."""
        handler, names = _route(asked)
        given = _given(asked)
        key = asked.headers.get("idempotency-key") or None if asked.method == "POST" else None
        digest = digest_of(asked.path, given)
        with self._receipts.using(key):
            if delay := self._fault(asked, "delay"):
                time.sleep(delay.seconds)
            with self._world.turn(request=request, key=key):
                before = self._receipts.recall(key, digest)
                if before is not None:
                    return (*before, True)
                status, body, remembered = self._do(asked, handler, names, given)
                if remembered:
                    self._receipts.keep(key, digest, status, body)
                return status, body, False

    def _do(
        self, asked: Asked, handler: Handler, names: Mapping[str, str], given: dict[str, Any]
    ) -> tuple[int, Object, bool]:
        """Status, body, and whether a key remembers it. What is refused has changed nothing, unless it says so."""
        kept: Refusal | None = None
        body: Object = {}
        try:
            with self._world.store.savepoint():
                try:
                    body = self._made(asked, handler, names, given)
                except Refusal as refusal:
                    if not refusal.kept:
                        raise
                    kept = refusal
        except Refusal as refusal:
            return refusal.status, refusal.body, refusal.remembered
        if kept is not None:
            return kept.status, kept.body, True
        if fault := self._fault(asked, "server_error_after"):
            return fault.status, _api_error(fault.status).body, True
        if fault := self._fault(asked, "changed"):
            return 200, {**body, **fault.fields}, True
        return 200, body, True

    def _made(self, asked: Asked, handler: Handler, names: Mapping[str, str], given: dict[str, Any]) -> Object:
        params = form.Params(given)
        expand = params.texts("expand") or []
        body = handler(self._world, Call(path=asked.path, names=names, params=params))
        renderer = self._world.renderer
        shown = body if "id" not in body else renderer.shown(body)
        # A copy: what is expanded must not end up in the store's own values.
        return renderer.expanded(json.loads(json.dumps(shown)), expand)

    def _check_key(self, asked: Asked) -> None:
        """Raises: `Refusal` 401."""
        scheme, _, secret = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                secret = base64.b64decode(secret).decode().partition(":")[0]
            except ValueError:
                secret = ""
        if not secret:
            raise Refusal(401, "You did not provide an API key.", remembered=False)
        if not hmac.compare_digest(secret.strip().encode(), self._key.encode()):
            raise Refusal(401, f"Invalid API Key provided: {secret[:8]}***", remembered=False)

    def _fail_on_demand(self, asked: Asked) -> None:
        """Raises: `Refusal`."""
        if fault := self._fault(asked, "rate_limited"):
            message = "Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode."
            again = {"Retry-After": str(fault.retry_after)}
            raise Refusal(429, message, code="rate_limit", remembered=False, headers=again)
        if fault := self._fault(asked, "server_error"):
            raise _api_error(fault.status)

    def _fault(self, asked: Asked, kind: FaultKind) -> Fault | None:
        if _NO_FAULTS in asked.headers:
            return None
        return self._world.faults.request(asked.method, asked.path, kind)


def _route(asked: Asked) -> tuple[Handler, Mapping[str, str]]:
    """Raises: `Refusal` 404."""
    for method, address, handler in _ROUTES:
        found = address.fullmatch(asked.path) if method == asked.method else None
        if found:
            return handler, found.groupdict()
    message = (
        f"Unrecognized request URL ({asked.method}: {asked.path}). This stand-in plays a part of Stripe's API alone."
    )
    raise Refusal(404, message, remembered=False)


def _given(asked: Asked) -> dict[str, Any]:
    if asked.method != "POST":
        return form.parse(asked.query)
    if "json" in asked.headers.get("content-type", ""):
        raise malformed("body", "Bodies are form-encoded (application/x-www-form-urlencoded), not JSON")
    return {**form.parse(asked.query), **form.parse(asked.body)}


def _api_error(status: int) -> Refusal:
    return Refusal(status, "An unknown error occurred", type="api_error", remembered=False)
