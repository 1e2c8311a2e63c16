"""Sends the spool's reports, in their order, until the API has acknowledged each."""

import time
from collections.abc import Callable
from threading import Event

import structlog

from node_agent.backoff import Backoff
from node_agent.errors import ApiRejected, ApiUnavailable
from node_agent.gateway import Api
from node_agent.spool import Spool
from scalar.protocol import ReportBatch, ReportOutcome, TaskReport

_MOST_REPORTS = 500

_log = structlog.get_logger()


class Sender:
    """One thread runs it; any may call `nudge`."""

    def __init__(self, *, api: Api, spool: Spool, when_acknowledged: Callable[[], None]) -> None:
        self._api = api
        self._spool = spool
        self._when_acknowledged = when_acknowledged
        self._something_new = Event()
        self._set_aside: set[int] = set()

    def nudge(self) -> None:
        """There are new reports."""
        self._something_new.set()

    def run(self) -> None:
        """Never returns. Raises `CredentialRefused`."""
        backoff = Backoff()
        while True:
            self._something_new.clear()
            try:
                sent = self._send_batch()
                backoff.reset()
            except ApiUnavailable as problem:
                _log.warning("reports wait", waiting=self._spool.waiting(), problem=str(problem))
                time.sleep(backoff.next())
                continue
            if not sent:
                self._something_new.wait()

    def _send_batch(self) -> bool:
        """False: there was nothing to send."""
        rows = self._spool.oldest(_MOST_REPORTS + len(self._set_aside))
        rows = [row for row in rows if row[0] not in self._set_aside][:_MOST_REPORTS]
        if not rows:
            return False
        try:
            self._send(rows)
        except ApiRejected:
            for row in rows:
                self._send_alone(row)
        self._when_acknowledged()
        return True

    def _send_alone(self, row: tuple[int, TaskReport]) -> None:
        try:
            self._send([row])
        except ApiRejected as problem:
            # One message that the API can't read must not hold up the others; the next start of the agent tries again.
            self._set_aside.add(row[0])
            _log.error("report set aside", **_ids(row[1]), problem=str(problem))

    def _send(self, rows: list[tuple[int, TaskReport]]) -> None:
        receipt = self._api.report(ReportBatch(reports=[report for _, report in rows]))
        self._spool.acknowledge(row_id for row_id, _ in rows)
        for (_, report), outcome in zip(rows, receipt.outcomes, strict=True):
            level = _log.warning if outcome is ReportOutcome.STALE else _log.debug
            level("reported", **_ids(report), outcome=outcome.value)


def _ids(report: TaskReport) -> dict[str, object]:
    return {"kind": report.kind, "run_id": report.run_id, "rank": report.rank}
