"""The quick way to a start: a scheduling pass right after something changed, and Dagster asked at once.

Nothing depends on it. With the nudge dead, the `job_queue` sensor does the same every few seconds; with both at work,
whoever comes first wins (see `scalar.jobs.life.launch`).
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import structlog

from scalar.capacity.placing import run_pass
from scalar.capacity.store import lease_unlaunched, release_launch
from scalar.database import Database
from scalar.errors import ScalarError
from scalar_api.dagster import Dagster, DagsterRefusedError

log = structlog.get_logger(__name__)
_LAUNCHES_AT_ONCE = 4


class Nudge:
    """One thread; any number of `poke`s while it works make one more pass."""

    def __init__(self, database: Database, dagster: Dagster | None) -> None:
        self._database = database
        self._dagster = dagster
        self._poked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="nudge", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """Something changed that a pass might act on. Never blocks."""
        self._poked.set()

    def stop(self) -> None:
        self._stopping = True
        self._poked.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with ThreadPoolExecutor(_LAUNCHES_AT_ONCE, "launch") as pool:
            while self._poked.wait() and not self._stopping:
                self._poked.clear()
                try:
                    self._pass(pool)
                except ScalarError as error:
                    log.warning("nudge.failed", error=error.message)
                except Exception:
                    log.exception("nudge.failed")

    def _pass(self, pool: ThreadPoolExecutor) -> None:
        with self._database.transaction() as tx:
            outcome = run_pass(tx, datetime.now(UTC))
        if outcome.placed:
            log.info("nudge.placed", placed=outcome.placed, queued=outcome.queued)
        if self._dagster is None:
            return
        while runs := self._lease():
            if not all(list(pool.map(self._launch, runs))):
                return

    def _lease(self) -> list[dict[str, Any]]:
        """A few at a time: what the sensor could be launching meanwhile is not held back."""
        with self._database.transaction() as tx:
            return lease_unlaunched(tx, datetime.now(UTC), limit=2 * _LAUNCHES_AT_ONCE)

    def _launch(self, run: dict[str, Any]) -> bool:
        """False where Dagster didn't take it: the sensor may ask for it at once."""
        try:
            assert self._dagster is not None  # noqa: S101 - _pass has looked
            dagster_run_id = self._dagster.launch(run)
        except DagsterRefusedError as error:
            log.warning("nudge.refused", run_id=run["run_id"], error=str(error))
            with self._database.transaction() as tx:
                release_launch(tx, run["run_id"])
            return False
        log.info("nudge.launched", run_id=run["run_id"], dagster_run_id=dagster_run_id)
        return True
