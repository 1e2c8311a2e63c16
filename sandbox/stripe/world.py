"""The whole stand-in: one store under one clock and one lock, the events it makes, and what falls due.

Whoever wants something takes a turn. A turn first does what has become due; then it is the caller's; then all that
changed is committed, and only then may anybody be answered.

Time is the server's, in whole epoch seconds, but for customers that belong to a test clock: theirs is the clock's.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.starting import only_one
from sandbox.stripe.clock import Clock
from sandbox.stripe.faults import Faults
from sandbox.stripe.identity import API_VERSION, new_id
from sandbox.stripe.mailbox import Mailbox
from sandbox.stripe.options import Options
from sandbox.stripe.refusals import Object, Refusal, missing
from sandbox.stripe.rendering import Renderer
from sandbox.stripe.store import Store

SERVER_CLOCK = ""
Deed = Callable[["World", str], None]
"""What is done when its time has come, to the object with this id."""

_log = logging.getLogger("sandbox.stripe")


class World:
    """Raises at opening: OSError. `deeds` by name are what deadlines call."""

    def __init__(self, options: Options, deeds: dict[str, Deed]) -> None:
        options.data.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.faults = Faults()
        self.posted = threading.Event()
        """Set when there may be something to deliver."""
        self.base_url = ""
        self.held = False
        """No delivery is made, until somebody lets them go."""
        self._deeds = deeds
        self._only = only_one(options.data / "lock", "Stripe")
        self._lock = threading.RLock()
        self.store = Store(options.data / "stripe.sqlite3")
        self.mailbox = Mailbox(self.store)
        self.clock = self._clock()
        self.now = int(self.clock.now())
        self._request: Object = {"id": None, "idempotency_key": None}

    def close(self) -> None:
        with self._lock:
            self._save_clock()
            self.store.close()
        self._only.close()

    @contextmanager
    def turn(self, *, request: str | None = None, key: str | None = None) -> Iterator[None]:
        """`request` and `key` are what the events of this turn say they come from."""
        with self._lock:
            self.catch_up()
            self._request = {"id": request, "idempotency_key": key}
            before = self.mailbox.last()
            with self.store.savepoint():
                yield
                if self.mailbox.last() > before + 1 and self.faults.webhook("*", "webhook_reversed"):
                    self.mailbox.reverse(before)
            if self.mailbox.last() > before:
                self.posted.set()

    def catch_up(self) -> None:
        """Does what has become due by the server's clock."""
        with self._lock:
            self.now = int(self.clock.now())
            while (due := self.store.next_deadline(SERVER_CLOCK)) and due[1] <= self.now:
                self.meet(due)

    def meet(self, due: tuple[int, float, str, str]) -> None:
        """One deadline; what it does is all or nothing."""
        seq, _, deed, subject = due
        with self._lock:
            self._request = {"id": None, "idempotency_key": None}
            with self.store.savepoint():
                self.store.pass_deadline(seq)
                try:
                    with self.store.savepoint():
                        self._deeds[deed](self, subject)
                except Refusal as refusal:
                    _log.warning("%s of %s came to nothing: %s", deed, subject, refusal)
        self.posted.set()

    def step_towards(self, target: float) -> bool:
        """Moves the server's clock to what is due next, and does it; False: nothing more is, the target is reached."""
        with self._lock:
            due = self.store.next_deadline(SERVER_CLOCK)
            mail = None if self.held else self.mailbox.next_time()
            times = [at for at in (due[1] if due else None, mail) if at is not None and at <= target]
            self.clock.move_to(min(times, default=target))
            self._save_clock()
            self.catch_up()
            return bool(times)

    def _clock(self) -> Clock:
        saved = self.store.fact("clock") or {}
        wall = time.time()
        runs = self.options.clock == "real"
        start = wall if self.options.start is None else self.options.start
        at = wall + saved.get("offset", start - wall) if runs else saved.get("at", start)
        clock = Clock(at, runs=runs)
        self.store.set_fact("clock", {"at": clock.now(), "offset": clock.now() - wall})
        return clock

    def _save_clock(self) -> None:
        now = self.clock.now()
        self.store.set_fact("clock", {"at": now, "offset": now - time.time()})

    # For whoever has the turn

    def time_of(self, customer: str | None) -> int:
        """The time by which a customer lives."""
        clock = self.clock_of(customer)
        return int(self.store[clock]["frozen_time"]) if clock else self.now

    def clock_of(self, customer: str | None) -> str:
        found = self.store.get(customer) if customer else None
        return (found or {}).get("test_clock") or SERVER_CLOCK

    def later(self, at: float, deed: str, subject: Object) -> None:
        self.store.set_deadline(at, self.clock_of(subject.get("customer")), deed, subject["id"])

    def get(self, kind: str, id: str, param: str | None = None) -> Object:
        """An object of a kind. Raises: `Refusal` (404, or 400 where a parameter named it)."""
        found = self.store.get(id)
        if found is None or found["object"] != kind:
            raise missing(kind, id, param)
        return found

    def live(self, kind: str, id: str, param: str | None = None) -> Object:
        """As `get`, and not deleted."""
        found = self.get(kind, id, param)
        if found.get("deleted"):
            raise missing(kind, id, param)
        return found

    @property
    def renderer(self) -> Renderer:
        return Renderer(self.store, self.mailbox, self.now)

    def emit(self, type: str, subject: Object, *, previous: dict[str, Any] | None = None) -> Object:
        """An event with the object as it is now, and its deliveries."""
        data: Object = {"object": self.renderer.shown(subject) if "id" in subject else subject}
        if previous is not None:
            data["previous_attributes"] = previous
        event = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": dict(self._request),
            "type": type,
        }
        self.store.add(event)
        for endpoint in self.store.find("webhook_endpoint"):
            if endpoint["status"] == "enabled" and {"*", type} & set(endpoint["enabled_events"]):
                self._post(event, endpoint["id"])
        return event

    def _post(self, event: Object, endpoint: str) -> None:
        late = self.faults.webhook(event["type"], "webhook_late")
        lost = self.faults.webhook(event["type"], "webhook_lost")
        twice = self.faults.webhook(event["type"], "webhook_twice")
        due = self.now + (late.seconds if late else 0)
        for _ in range(2 if twice else 1):
            self.mailbox.post(event["id"], endpoint, due=due, state="lost" if lost else "waiting")

    def changed(self, type: str, before: Object, after: Object) -> Object:
        """Keeps an object, and tells what it was before; nothing is told where nothing changed."""
        self.store.put(after)
        previous = {name: value for name, value in before.items() if name in after and after[name] != value}
        if previous:
            self.emit(type, after, previous=json.loads(json.dumps(previous)))
        return after
