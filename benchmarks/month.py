"""A month from usage events to open invoices, on a Postgres of its own: `python -m benchmarks.month --events 1000000`.

Timed: building each hour's usage, rating each hour, making and opening every invoice; each as the assets do it, an hour
in a transaction of its own. Then the balances are thrown away and rebuilt from the ledger, and must be the same. The
memory is this process's highest; Postgres' own is its `shared_buffers` and little more.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.made_up_month import END, START, Size, give_cards, make_up
from scalar.billing import invoices, ledger_store
from scalar.billing.invoice_drafts import draft_month
from scalar.billing.rated_usage import rate_hour
from scalar.database import Database, one
from scalar.metering import store as metering
from scalar.metering.model import HOUR, Window
from scalar.metering.usage import usage_in
from scalar.migrations import migrate
from scalar_api.up.postgres import EmbeddedPostgres

MONTH, LATER = START.date(), END + timedelta(days=1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.month", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="about so many (default: %(default)s)")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="leave the database here, and use it again")
    arguments = parser.parse_args()
    for name, value in measured(arguments.events, arguments.keep).items():
        print(f"{name}: {value:,.2f}")


def measured(events: int, keep: Path | None = None) -> dict[str, float]:
    size, figures = Size.of(events), Figures()
    with a_database(keep) as url, Database(url) as database:
        prepare(database, url, size)
        figures.timed("usage of all hours, s", lambda: build_hours(database))
        figures.timed("rating, s", lambda: rate_hours(database))
        figures.timed("drafts, s", lambda: draft(database))
        figures.timed("opening, s", lambda: open_all(database))
        figures.timed("balances rebuilt, s", lambda: rebuild(database))
        together = sum(figures.taken[f"{step}, s"] for step in ("rating", "drafts", "opening"))
        return {**figures.taken, "rating and invoicing, s (goal ≤ 60)": together, **totals(database)}


class Figures:
    def __init__(self) -> None:
        self.taken: dict[str, float] = {}

    def timed(self, name: str, step: Callable[[], None]) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        step()
        self.taken[name] = time.perf_counter() - began
        self.taken[f"{name} of our CPU (Postgres' not counted)"] = time.process_time() - cpu


@contextmanager
def a_database(keep: Path | None) -> Iterator[str]:
    folder = keep or Path(tempfile.mkdtemp(prefix="scalar-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        yield postgres.url("month")
    finally:
        postgres.stop()
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def prepare(database: Database, url: str, size: Size) -> None:
    migrate(database)
    with psycopg.connect(url) as connection:
        found = connection.execute("select exists (select from usage_events)").fetchone()
        if found == (True,):
            return
        make_up(connection, size, told=lambda what: print(what, end="\r", flush=True))
    with database.transaction() as tx:
        give_cards(tx, size)


def hours() -> Iterator[datetime]:
    hour = START
    while hour < END:
        yield hour
        hour += HOUR


def build_hours(database: Database) -> None:
    """As the asset `hourly_usage` does."""
    for hour in hours():
        window = Window.hour(hour)
        with database.transaction() as tx:
            last_event_id = metering.watermark(tx)
        with database.transaction() as tx:
            records = usage_in(metering.spans_in(tx, window), window)
            metering.replace_hour(tx, hour, records, last_event_id=last_event_id, now=LATER)


def rate_hours(database: Database) -> None:
    for hour in hours():
        with database.transaction() as tx:
            rate_hour(tx, hour, LATER)


def draft(database: Database) -> None:
    with database.transaction() as tx:
        draft_month(tx, MONTH, LATER)


def open_all(database: Database) -> None:
    with database.transaction() as tx:
        invoices.open_month(tx, MONTH, actor="bench", now=LATER, due_in=timedelta(days=14))


def rebuild(database: Database) -> None:
    with database.transaction() as tx:
        before = ledger_store.balances(tx)
        ledger_store.rebuild(tx)
        if ledger_store.balances(tx) != before or ledger_store.summed(tx) != before or sum(before.values()):
            raise RuntimeError("the balances are not what the ledger adds up to")


def totals(database: Database) -> dict[str, float]:
    with database.transaction() as tx:
        row = one(
            tx,
            """select (select count(*) from usage_events) as events,
                   (select count(*) from organisations) as organisations,
                   (select count(*) from hourly_usage) as "run-hours",
                   (select count(*) from rated_lines) as "rated lines",
                   (select count(*) from invoices where state <> 'draft') as "invoices opened",
                   (select sum(subtotal) / 100.0 from invoices) as "invoiced, $" """,
        )
    return {
        **{name: float(value or 0) for name, value in row.items()},
        "memory, MB (goal ≤ 500)": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
