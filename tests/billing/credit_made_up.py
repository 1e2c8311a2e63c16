"""Customers with credit, and the hours of their jobs, metered and rated."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

from scalar.billing import wallets
from scalar.billing.credit import Terms
from scalar.billing.rated_usage import rate_hour
from scalar.database import Transaction
from scalar.jobs.model import Job, JobRun
from scalar.metering import store as metering
from scalar.metering.model import HOUR, Window, hour_of
from scalar.metering.usage import usage_in
from tests.made_up import NOON, a_customer, a_job_of, launch, running, told

DOLLAR = 1_000_000
_sources = count(1)


def a_prepaid_customer(
    tx: Transaction, dollars: int = 0, *, name: str = "acme", grace: timedelta = timedelta(minutes=5)
) -> tuple[str, str]:
    """(organisation, key) of one with so much in its wallet; an H100 is $3.60 an hour, and its flex $3.00 at most."""
    customer = a_customer(tx, name)
    wallets.set_terms(tx, customer[0], Terms.PREPAID, limit=None, grace=grace, now=NOON)
    if dollars:
        top_up(tx, customer[0], dollars)
    return customer


def top_up(tx: Transaction, organisation_id: str, dollars: int, *, now: datetime = NOON) -> None:
    wallets.top_up(tx, organisation_id, dollars * DOLLAR, f"test/{next(_sources)}", now)


def an_hour_of(tx: Transaction, customer: tuple[str, str], **spec: object) -> Job:
    """A job on H100s that may run for an hour."""
    return a_job_of(tx, customer, **{"gpu_type": "H100", "max_runtime_seconds": 3600, **spec})


def started(tx: Transaction, job: Job, *, at: datetime = NOON) -> JobRun:
    """Its run, up since then."""
    run = launch(tx, job.id, now=at)
    told(tx, run, running(run, at=at))
    return run


def rated(tx: Transaction, moment: datetime) -> None:
    """The hour that it lies in is metered and rated, after it is over."""
    window = Window.hour(hour_of(moment))
    metering.replace_hour(
        tx, window.start, usage_in(metering.spans_in(tx, window), window), last_event_id=1, now=window.end
    )
    rate_hour(tx, window.start, window.end + HOUR)


def together(deeds: list[Callable[[], None]]) -> list[BaseException]:
    """All at once; what they raised."""
    gate, raised = threading.Barrier(len(deeds)), []

    def run(deed: Callable[[], None]) -> None:
        gate.wait(20)
        try:
            deed()
        except Exception as error:  # noqa: BLE001 - the test looks at what it was
            raised.append(error)

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return raised
