"""The quick way to a customer's endpoint: a thread that looks every second for what is due.

Nothing depends on it: with it dead, the `webhook_deliveries` sensor does the same every few seconds, and leases keep
the two from sending the same at one time.
"""

import threading
from datetime import UTC, datetime

import structlog

from scalar.database import Database
from scalar.errors import ScalarError
from scalar.webhooks.delivering import Courier, deliver_due
from scalar.webhooks.sending import Sender
from scalar.webhooks.settings import WebhookSettings

log = structlog.get_logger(__name__)
_EVERY_SECONDS = 1.0
_THREADS = 4


class Deliverer:
    def __init__(self, database: Database, settings: WebhookSettings) -> None:
        self._courier = Courier(
            transact=database.transaction,
            clock=lambda: datetime.now(UTC),
            sender=Sender(allow_private=settings.allow_private),
            key=settings.key,
        )
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being sent is finished; nothing else is begun."""
        self._courier.stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._courier.stopping.wait(_EVERY_SECONDS):
            try:
                deliver_due(self._courier, threads=_THREADS)
            except ScalarError as error:
                log.warning("webhooks.failed", error=error.message)
            except Exception:
                log.exception("webhooks.failed")
