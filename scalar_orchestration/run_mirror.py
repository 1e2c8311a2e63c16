"""Tells Dagster what became of GPU runs. The truth is the run's row; Dagster's run is its mirror.

Two call it, with the same function: the launcher's `RunFollower` as soon as something has changed, and the `run_ends`
sensor every few seconds. A lease on the row keeps them from telling the same thing twice, and a run that Dagster has
finished in the meantime is left alone.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
from dagster import DagsterInstance

from scalar.database import Channel, Listener, Transaction
from scalar.errors import ScalarError
from scalar.jobs.mirroring import Mirrored, Untold, lease_untold, told
from scalar_orchestration import run_events
from scalar_orchestration.clock import utc_now

Transactions = Callable[[], AbstractContextManager[Transaction]]
log = logging.getLogger(__name__)


def mirror_all(instance: DagsterInstance, transaction: Transactions) -> int:
    """Tell Dagster everything that it has not been told; how many runs it was told about."""
    count = 0
    while batch := _lease(transaction):
        for run in batch:
            mirror(instance, transaction, run)
        count += len(batch)
    return count


def mirror(instance: DagsterInstance, transaction: Transactions, run: Untold) -> None:
    """Bring one run's mirror to its row's state. Not in a transaction: Dagster's storage is another database."""
    dagster_run = instance.get_run_by_id(run.dagster_run_id)
    if dagster_run is not None and not dagster_run.is_finished:
        if run.mirrored is Mirrored.NOTHING:
            run_events.run_began(instance, dagster_run, f"{run.run_id} is on its way to {run.nodes}.")
        if run.mirrored is not Mirrored.RUNNING and run.started_at is not None:
            run_events.step_began(instance, dagster_run, run)
        if run.state.ended:
            run_events.run_ended(instance, dagster_run, run)
    with transaction() as tx:
        told(tx, run.run_id, _mirrored(run))


def _mirrored(run: Untold) -> Mirrored:
    if run.state.ended:
        return Mirrored.ENDED
    return Mirrored.RUNNING if run.started_at is not None else Mirrored.STARTED


def _lease(transaction: Transactions) -> list[Untold]:
    with transaction() as tx:
        return lease_untold(tx, utc_now())


class RunFollower:
    """A thread in a process that launches runs: it listens, and mirrors at once what has changed.

    One a process, however many runs. If it dies with its process, the sensor does its work, a few seconds later.
    """

    def __init__(self, instance: DagsterInstance, transaction: Transactions, listen_url: str) -> None:
        self._instance = instance
        self._transaction = transaction
        self._listen_url = listen_url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (psycopg.Error, ScalarError) as error:
                log.warning("The follower of GPU runs lost Postgres and tries again: %s", type(error).__name__)
            except Exception:
                log.exception("The follower of GPU runs failed and tries again.")
            self._stopping.wait(2)

    def _follow(self) -> None:
        listener = Listener(self._listen_url, Channel.RUNS)
        try:
            while not self._stopping.is_set():
                mirror_all(self._instance, self._transaction)
                listener.payloads(timeout=30)
        finally:
            listener.close()
