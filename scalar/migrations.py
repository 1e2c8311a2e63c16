"""Brings a database to the newest schema: `migrations/NNNN_verb_noun.sql`, in order, each once, forward only.

All under one advisory lock, so that any number of services may start at the same time. A statement that can't have its
lock within five seconds fails instead of queueing everybody else up behind it: run it again when it is quieter.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scalar.database import Database, Lock, Transaction, lock, one
from scalar.errors import Conflict

_TABLE = """create table if not exists schema_migrations (
    number integer primary key, name text not null, digest text not null,
    applied_at timestamptz not null default now())"""
_NAME = re.compile(r"^(\d{4})_[a-z]+_[a-z_]+\.sql$")


@dataclass(frozen=True, kw_only=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def available(folder: Path | None = None) -> list[Migration]:
    """All migrations, in order.

    Raises: `ValueError` where a file's name is odd, or a number is missing or used twice.
    """
    migrations = list(_read(folder or _folder()))
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3, …: {[each.name for each in migrations]}")
    return migrations


def migrate(database: Database, migrations: list[Migration] | None = None) -> list[str]:
    """Apply what has not been applied; the names of what was.

    Raises: `Conflict` where an applied migration has since been edited, or the database is newer than this code.
    """
    migrations = available() if migrations is None else migrations
    with database.transaction() as tx:
        lock(tx, Lock.MIGRATIONS)
        tx.execute("set local lock_timeout = '5s'")
        tx.execute(_TABLE)
        missing = pending(tx, migrations)
        for migration in missing:
            tx.execute(migration.sql.encode())
            tx.execute(
                "insert into schema_migrations (number, name, digest) values (%s, %s, %s)",
                [migration.number, migration.name, migration.digest],
            )
    return [migration.name for migration in missing]


def pending(tx: Transaction, migrations: list[Migration]) -> list[Migration]:
    """What this database lacks. Raises: as `migrate`."""
    known = one(tx, "select to_regclass('schema_migrations') as it")["it"] is not None
    applied = _applied(tx) if known else {}
    _refuse_drift(applied, migrations)
    return [migration for migration in migrations if migration.number not in applied]


def _folder() -> Path:
    """Beside the package in a wheel, at the top level in a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "migrations"


def _read(folder: Path) -> Iterator[Migration]:
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if not match:
            raise ValueError(f"{path.name}: a migration is named NNNN_verb_noun.sql")
        yield Migration(number=int(match[1]), name=path.stem, sql=path.read_text())


def _applied(tx: Transaction) -> dict[int, str]:
    return {row["number"]: row["digest"] for row in tx.execute("select number, digest from schema_migrations")}


def _refuse_drift(applied: dict[int, str], migrations: list[Migration]) -> None:
    digests = {migration.number: migration.digest for migration in migrations}
    for number, digest in sorted(applied.items()):
        if number not in digests:
            raise Conflict(f"The database has migration {number:04}, which this version of Scalar does not know.")
        if digests[number] != digest:
            raise Conflict(f"Migration {number:04} was changed after it had been applied: add a new one instead.")
