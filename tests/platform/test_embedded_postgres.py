"""The embedded Postgres of a platform: it outlives a kill, and no other program is taken for it."""

import os
import signal
import subprocess
import sys
import time

import psycopg
from outside import eventually, processes_of

from scalar_api.up.postgres import EmbeddedPostgres


def test_a_killed_server_is_started_again_with_what_was_committed(data):
    data.mkdir()
    restarts: list[float] = []
    server = EmbeddedPostgres(data / "postgres", lambda: restarts.append(time.monotonic()))
    try:
        url = server.url("scalar")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table kept (line text)")
            connection.execute("insert into kept values ('committed')")
            for _ in range(2):
                os.kill(postmaster(data), signal.SIGKILL)
                assert eventually(lambda: lines_of(url), what="it is started again") == [("committed",)]
        assert len(restarts) == 2
    finally:
        server.stop()
    told = len(restarts)
    time.sleep(2.5)  # more than two looks: it must not come back
    assert processes_of(data) == []
    assert len(restarts) == told


def test_a_program_that_has_got_the_process_id_of_a_dead_server_is_let_be(data):
    """As after a power cut: the id is on file, and another program's by now."""
    data.mkdir()
    EmbeddedPostgres(data / "postgres").stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        left = [other.pid, data / "postgres", 1_700_000_000, 5432, data / "postgres", "", "  0  0", "ready"]
        for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data / "postgres" / lock).write_text("".join(f"{each}\n" for each in left))
        server = EmbeddedPostgres(data / "postgres")
        try:
            assert lines_of(server.url("scalar"), "select 1") == [(1,)]
            assert postmaster(data) != other.pid
        finally:
            server.stop()
        assert other.poll() is None
        other.kill()
    assert processes_of(data) == []


def postmaster(data) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().split()[0])


def lines_of(url: str, query: str = "select line from kept") -> list[tuple] | None:
    """None while it doesn't answer."""
    try:
        with psycopg.connect(url) as connection:
            return connection.execute(query).fetchall()
    except psycopg.OperationalError:
        return None
