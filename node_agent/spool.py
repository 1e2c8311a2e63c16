"""What must outlive the agent: reports not yet acknowledged, in order, and a record of each task.

One SQLite file. A report is a no-op the second time, also after its acknowledgement, because the task's record knows
what was reported; nothing can follow a task's end.
"""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock

from pydantic import TypeAdapter

from node_agent.record import TaskRecord
from scalar.protocol import TaskAlive, TaskEnded, TaskEnding, TaskKey, TaskReport, TaskRunning, TaskStarting

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    run_id TEXT NOT NULL,
    rank INTEGER NOT NULL,
    starting INTEGER NOT NULL DEFAULT 0,
    started INTEGER NOT NULL DEFAULT 0,
    stopped_for TEXT,
    running_at TEXT,
    alive INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    boot_id TEXT,
    PRIMARY KEY (run_id, rank)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    rank INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (run_id, rank, kind, sequence)
);
"""

# Each says, by the rows it changes, whether the report is new.
_NOTE_STARTING = "UPDATE tasks SET starting = 1 WHERE run_id = ? AND rank = ? AND NOT ended AND NOT starting"
_NOTE_RUNNING = (
    "UPDATE tasks SET started = 1, running_at = ? WHERE run_id = ? AND rank = ? AND NOT ended AND running_at IS NULL"
)
_NOTE_ALIVE = "UPDATE tasks SET alive = ? WHERE run_id = ? AND rank = ? AND NOT ended AND alive < ?"
_NOTE_ENDED = "UPDATE tasks SET ended = 1 WHERE run_id = ? AND rank = ? AND NOT ended"

_REPORT: TypeAdapter[TaskReport] = TypeAdapter(TaskReport)


class Spool:
    """Safe to use from any thread. Every method that changes something returns once it is on disk."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._lock = Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._add_what_older_files_lack()

    def add(self, reports: Iterable[TaskReport]) -> int:
        """Appends those that are new, all or none; returns how many."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            return sum(self._add(report) for report in reports)

    def oldest(self, limit: int) -> list[tuple[int, TaskReport]]:
        """Up to `limit` unacknowledged reports with their row ids, in the order they were added."""
        with self._lock:
            rows = self._db.execute("SELECT id, body FROM reports ORDER BY id LIMIT ?", (limit,)).fetchall()
        return [(row_id, _REPORT.validate_json(body)) for row_id, body in rows]

    def acknowledge(self, row_ids: Iterable[int]) -> None:
        """Drops reports that need not be sent again."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM reports WHERE id = ?", [(row_id,) for row_id in row_ids])

    def waiting(self) -> int:
        """How many reports are unacknowledged."""
        with self._lock:
            (count,) = self._db.execute("SELECT count(*) FROM reports").fetchone()
        return int(count)

    def records(self) -> dict[TaskKey, TaskRecord]:
        """All tasks not yet forgotten."""
        columns = "run_id, rank, starting, started, stopped_for, running_at, alive, ended, boot_id"
        with self._lock:
            rows = self._db.execute(f"SELECT {columns} FROM tasks").fetchall()
        return {(row[0], row[1]): _record(row) for row in rows}

    def mark_started(self, key: TaskKey, boot_id: str) -> None:
        """Call before the engine is asked to start the task."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._remember(key)
            self._db.execute("UPDATE tasks SET started = 1, boot_id = ? WHERE run_id = ? AND rank = ?", (boot_id, *key))

    def mark_stopped(self, key: TaskKey, reason: TaskEnding) -> None:
        """Call before the engine is asked to stop the task. The first reason stands."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._remember(key)
            self._db.execute(
                "UPDATE tasks SET stopped_for = coalesce(stopped_for, ?) WHERE run_id = ? AND rank = ?",
                (reason.value, *key),
            )

    def forget(self, key: TaskKey) -> None:
        """Drops the task's record; its reports still on the way stay."""
        with self._lock:
            self._db.execute("DELETE FROM tasks WHERE run_id = ? AND rank = ?", key)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _add_what_older_files_lack(self) -> None:
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(tasks)")}
        if "boot_id" not in columns:
            self._db.execute("ALTER TABLE tasks ADD COLUMN boot_id TEXT")

    def _add(self, report: TaskReport) -> bool:
        key = (report.run_id, report.rank)
        self._remember(key)
        sequence = 0
        match report:
            case TaskStarting():
                noted = self._db.execute(_NOTE_STARTING, key)
            case TaskRunning():
                noted = self._db.execute(_NOTE_RUNNING, (report.at.isoformat(), *key))
            case TaskAlive(sequence=sequence):
                noted = self._db.execute(_NOTE_ALIVE, (sequence, *key, sequence))
            case TaskEnded():
                noted = self._db.execute(_NOTE_ENDED, key)
        if noted.rowcount == 0:
            return False
        self._db.execute(
            "INSERT INTO reports (run_id, rank, kind, sequence, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*key, report.kind, sequence, report.model_dump_json()),
        )
        return True

    def _remember(self, key: TaskKey) -> None:
        self._db.execute("INSERT INTO tasks (run_id, rank) VALUES (?, ?) ON CONFLICT DO NOTHING", key)


def _record(row: tuple[str, int, int, int, str | None, str | None, int, int, str | None]) -> TaskRecord:
    _, _, starting, started, stopped_for, running_at, alive, ended, boot_id = row
    return TaskRecord(
        starting=bool(starting),
        started=bool(started),
        boot_id=boot_id,
        stopped_for=TaskEnding(stopped_for) if stopped_for else None,
        running_at=datetime.fromisoformat(running_at) if running_at else None,
        alive=alive,
        ended=bool(ended),
    )
