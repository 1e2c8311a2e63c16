"""Everything in one SQLite file: objects as JSON in the order they were made, deadlines, deliveries, receipts.

`hidden` is what an object knows and never shows: whether a card declines, the secret of a webhook endpoint.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.stripe.refusals import Object

TABLES = """
create table if not exists objects (
    seq integer primary key, id text not null unique, kind text not null, customer text, parent text,
    body text not null, hidden text not null
) strict;
create index if not exists objects_by_kind on objects (kind, seq);
create index if not exists objects_by_customer on objects (customer, kind, seq);
create index if not exists objects_by_parent on objects (parent, kind, seq);
create table if not exists deadlines (
    seq integer primary key, at real not null, clock text not null, deed text not null, subject text not null
) strict;
create index if not exists deadlines_by_time on deadlines (clock, at, seq);
create table if not exists deliveries (
    seq integer primary key, event text not null, endpoint text not null, first_at real not null, due real not null,
    tries integer not null default 0, state text not null default 'waiting', status integer
) strict;
create index if not exists deliveries_due on deliveries (state, due, seq);
create index if not exists deliveries_by_event on deliveries (event);
create table if not exists receipts (
    key text primary key, digest text not null, status integer not null, body text not null, at real not null
) strict, without rowid;
create table if not exists facts (name text primary key, value text not null) strict, without rowid;
"""


@dataclass(frozen=True, kw_only=True)
class Where:
    """A condition on rows: SQL with one `?` for each value."""

    sql: str
    values: tuple[Any, ...] = ()


def field_is(path: str, value: Any) -> Where:
    """The field of the body at a path like `status` or `recurring.interval`."""
    return Where(sql=f"json_extract(body, '$.{path}') = ?", values=(value,))


class Store:
    """One connection for all threads; whoever uses it has the world's turn."""

    def __init__(self, path: Path | str) -> None:
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = normal")
        self.connection.executescript(TABLES)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """All or nothing, within a transaction or as one."""
        self.connection.execute("savepoint turn")
        try:
            yield
        except BaseException:
            self.connection.execute("rollback to turn")
            self.connection.execute("release turn")
            raise
        self.connection.execute("release turn")

    # Objects

    def add(self, body: Object, *, parent: str | None = None, **hidden: Any) -> Object:
        customer = body.get("customer")
        self.connection.execute(
            "insert into objects (id, kind, customer, parent, body, hidden) values (?, ?, ?, ?, ?, ?)",
            (body["id"], body["object"], customer, parent, json.dumps(body), json.dumps(hidden)),
        )
        return body

    def put(self, body: Object) -> Object:
        """An object as it is now."""
        self.connection.execute(
            "update objects set body = ?, customer = ?, kind = ? where id = ?",
            (json.dumps(body), body.get("customer"), body["object"], body["id"]),
        )
        return body

    def get(self, id: str) -> Object | None:
        row = self.connection.execute("select body from objects where id = ?", (id,)).fetchone()
        return json.loads(row[0]) if row else None

    def __getitem__(self, id: str) -> Object:
        found = self.get(id)
        if found is None:
            raise KeyError(id)
        return found

    def drop(self, id: str) -> None:
        self.connection.execute("delete from objects where id = ?", (id,))

    def hidden(self, id: str) -> dict[str, Any]:
        row = self.connection.execute("select hidden from objects where id = ?", (id,)).fetchone()
        return json.loads(row[0]) if row else {}

    def hide(self, id: str, **hidden: Any) -> None:
        self.connection.execute(
            "update objects set hidden = ? where id = ?", (json.dumps({**self.hidden(id), **hidden}), id)
        )

    def by_hidden(self, name: str, value: str) -> Object | None:
        row = self.connection.execute(
            f"select body from objects where json_extract(hidden, '$.{name}') = ?", (value,)
        ).fetchone()
        return json.loads(row[0]) if row else None

    def children(self, parent: str, kind: str) -> list[Object]:
        """Oldest first."""
        rows = self.connection.execute(
            "select body from objects where parent = ? and kind = ? order by seq", (parent, kind)
        )
        return [json.loads(body) for (body,) in rows]

    def find(self, kind: str, *conditions: Where, newest_first: bool = False, limit: int = -1) -> list[Object]:
        where, values = _all(Where(sql="kind = ?", values=(kind,)), *conditions)
        order = "desc" if newest_first else "asc"
        rows = self.connection.execute(
            f"select body from objects where {where} order by seq {order} limit ?", (*values, limit)
        )
        return [json.loads(body) for (body,) in rows]

    def place(self, id: str) -> int | None:
        """Where an object stands in the order of making."""
        row = self.connection.execute("select seq from objects where id = ?", (id,)).fetchone()
        return int(row[0]) if row else None

    # Facts and deadlines

    def fact(self, name: str) -> Any:
        row = self.connection.execute("select value from facts where name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_fact(self, name: str, value: Any) -> None:
        self.connection.execute("insert or replace into facts values (?, ?)", (name, json.dumps(value)))

    def set_deadline(self, at: float, clock: str, deed: str, subject: str) -> None:
        """One of a deed for a subject: a new one takes the place of the old."""
        self.drop_deadlines(subject, deed)
        self.connection.execute(
            "insert into deadlines (at, clock, deed, subject) values (?, ?, ?, ?)", (at, clock, deed, subject)
        )

    def drop_deadlines(self, subject: str, deed: str | None = None) -> None:
        self.connection.execute(
            "delete from deadlines where subject = ? and (? is null or deed = ?)", (subject, deed, deed)
        )

    def drop_clock(self, clock: str) -> None:
        self.connection.execute("delete from deadlines where clock = ?", (clock,))

    def next_deadline(self, clock: str) -> tuple[int, float, str, str] | None:
        """Its number, time, deed and subject."""
        row: tuple[int, float, str, str] | None = self.connection.execute(
            "select seq, at, deed, subject from deadlines where clock = ? order by at, seq limit 1", (clock,)
        ).fetchone()
        return row

    def pass_deadline(self, seq: int) -> None:
        self.connection.execute("delete from deadlines where seq = ?", (seq,))


def _all(*conditions: Where) -> tuple[str, Sequence[Any]]:
    return " and ".join(one.sql for one in conditions), [value for one in conditions for value in one.values]
