"""Usage events a second: through the API in batches, and in the same run straight into the same table.

`python -m benchmarks.ingest --events 200000`: a server process and a Postgres of its own, on free ports. Each round
sends one batch each way (an operator's batch over HTTP; `copy`; `insert … select from unnest`), each of other runs, so
that what else the machine does is shared by all three. Every body is encoded before the clock starts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg

from scalar.accounts import store as accounts
from scalar.accounts.keys import Role, new_key
from scalar.database import Database
from scalar.migrations import migrate
from scalar_api.up.ports import free_port
from scalar_api.up.postgres import EmbeddedPostgres

RUNS = 500
"""In a batch of 10,000: 20 minutes of 500 tasks."""
COLUMNS = "run_id, rank, kind, sequence, at, gpus, organisation_id, tier, gpu_type, node_id"
START = datetime(2026, 10, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="each way (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=10_000, help="events a batch (default: %(default)s)")
    arguments = parser.parse_args()
    for name, value in measured(arguments.events, arguments.batch).items():
        print(f"{name}: {value:,.2f}")


def measured(events: int, batch: int = 10_000) -> dict[str, float]:
    batches = max(1, events // batch)
    with a_server() as (database_url, api_url, key), psycopg.connect(database_url) as direct:
        prepare(direct, ("api", "copy", "insert"))
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with httpx.Client(base_url=api_url, headers=headers, timeout=60) as client:
            took = [0.0, 0.0, 0.0]
            # The first round warms up: connections, plans, caches.
            for number in range(batches + 1):
                body = json.dumps({"events": [as_event(*each) for each in made_up("api", number, batch)]}).encode()
                copied, inserted = (list(rows(way, number, batch)) for way in ("copy", "insert"))
                for way, seconds in enumerate(
                    (timed_post(client, body, batch), timed_copy(direct, copied), timed_insert(direct, inserted))
                ):
                    took[way] += seconds if number else 0
        found = direct.execute("select count(*) from usage_events").fetchone()
        if found != (3 * batch * (batches + 1),):
            raise RuntimeError(f"{found} events stand")
    api, copy, insert = (batches * batch / seconds for seconds in took)
    return {
        "through the API, events/s (goal ≥ 10,000)": api,
        "bare batched insert, events/s": insert,
        "bare COPY, events/s": copy,
        "API over the bare insert (goal ≥ 0.5)": api / insert,
        "API over the bare COPY": api / copy,
        "load average": os.getloadavg()[0],
    }


@contextmanager
def a_server() -> Iterator[tuple[str, str, str]]:
    """(URL of the database, URL of the API, an operator's key)."""
    folder = Path(tempfile.mkdtemp(prefix="scalar-bench-"))
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        url, port, key = postgres.url("scalar"), free_port(), new_key(Role.OPERATOR)
        with Database(url) as database:
            migrate(database)
            with database.transaction() as tx:
                accounts.create_key(tx, key, Role.OPERATOR, name="bench")
        environment = {**os.environ, "SCALAR_DATABASE_URL": url, "SCALAR_DAGSTER_URL": ""}
        command = [sys.executable, "-m", "scalar_api", "--port", str(port)]
        with subprocess.Popen(command, env=environment) as server:
            try:
                wait_for(f"http://127.0.0.1:{port}")
                yield url, f"http://127.0.0.1:{port}", key.secret
            finally:
                server.terminate()
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def prepare(connection: psycopg.Connection, ways: tuple[str, ...]) -> None:
    """Runs that have started, of one organisation, on one node."""
    connection.execute("insert into organisations (id, name) values ('org', 'bench')")
    connection.execute(
        """insert into nodes (id, name, gpus, gpu_type, cpus, memory_bytes, runtime, agent_version, boot_id)
           values ('node', 'bench', 8, 'H100', 1, 1, 'process', 'bench', 'bench')"""
    )
    connection.execute(
        """insert into api_keys (id, prefix, hash, role, name, organisation_id)
           values ('key', 'bench', sha256('bench'), 'customer', 'bench', 'org')"""
    )
    for way in ways:
        named = {"way": way, "runs": RUNS, "at": START}
        connection.execute(
            """insert into jobs (id, organisation_id, created_by, name, image, gpus, tier, state)
               select format('job_%%s_%%s', %(way)s::text, n), 'org', 'key', 'bench', 'none', 1, 'fast', 'running'
               from generate_series(0, %(runs)s - 1) n""",
            named,
        )
        connection.execute(
            """insert into job_runs (id, job_id, attempt, state, token, placed_at, started_at)
               select replace(id, 'job_', 'run_'), id, 1, 'running', id, %(at)s, %(at)s from jobs
               where starts_with(id, format('job_%%s_', %(way)s::text))""",
            named,
        )
        connection.execute(
            """insert into run_tasks (run_id, rank, node_id, cpus, memory_bytes, state, started_at)
               select id, 0, 'node', 1, 1, 'running', %(at)s from job_runs
               where starts_with(id, format('run_%%s_', %(way)s::text))""",
            named,
        )
    connection.commit()
    connection.execute("analyze")
    connection.commit()


def made_up(way: str, number: int, batch: int) -> Iterator[tuple[str, int, datetime]]:
    """(run, sequence, at) of one batch: minute by minute, of every run."""
    for each in range(number * batch, (number + 1) * batch):
        sequence = each // RUNS + 1
        yield f"run_{way}_{each % RUNS}", sequence, START + timedelta(minutes=sequence)


def as_event(run_id: str, sequence: int, at: datetime) -> dict[str, object]:
    return {"run_id": run_id, "rank": 0, "kind": "alive", "sequence": sequence, "at": at.isoformat()}


def rows(way: str, number: int, batch: int) -> Iterator[tuple[object, ...]]:
    for run_id, sequence, at in made_up(way, number, batch):
        yield (run_id, 0, "alive", sequence, at, 1, "org", "fast", "H100", "node")


def timed_post(client: httpx.Client, body: bytes, batch: int) -> float:
    began = time.perf_counter()
    receipt = client.post("/v1/usage-events", content=body).raise_for_status().json()
    took = time.perf_counter() - began
    if receipt != {"accepted": batch, "known": 0, "refused": []}:
        raise RuntimeError(str(receipt)[:500])
    return took


def timed_copy(connection: psycopg.Connection, batch: list[tuple[object, ...]]) -> float:
    began = time.perf_counter()
    with connection.cursor().copy(f"copy usage_events ({COLUMNS}) from stdin") as copy:
        for row in batch:
            copy.write_row(row)
    connection.commit()
    return time.perf_counter() - began


def timed_insert(connection: psycopg.Connection, batch: list[tuple[object, ...]]) -> float:
    began = time.perf_counter()
    connection.execute(
        f"""insert into usage_events ({COLUMNS}) select * from unnest(%s::text[], %s::int[], %s::text[], %s::int[],
                %s::timestamptz[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[])""",
        [list(column) for column in zip(*batch, strict=True)],
    )
    connection.commit()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
