"""What the market remembers beside the engine: one table of documents, written with the answer that made them.

A shelf is a dictionary of frozen values by id that knows which of them have changed. `Records.write` puts the changes
into the caller's transaction, so that a document and the engine's rows of one answer stand or fall together.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter

SCHEMA = """
create table if not exists documents (
    seq integer primary key,
    kind text not null,
    id text not null,
    body text not null,
    unique (kind, id)
)
"""


class Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Identified)


class Shelf(Generic[T]):
    """Values of one kind, in the order they were first put."""

    def __init__(self, kind: str, type: type[T]) -> None:
        self.kind = kind
        self._adapter = TypeAdapter(type)
        self._values: dict[str, T] = {}
        self._changed: set[str] = set()

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._values.values()))

    def __len__(self) -> int:
        return len(self._values)

    def get(self, id: str) -> T | None:
        return self._values.get(id)

    def __getitem__(self, id: str) -> T:
        return self._values[id]

    def put(self, value: T) -> T:
        self._values[value.id] = value
        self._changed.add(value.id)
        return value

    def remove(self, id: str) -> None:
        self._values.pop(id, None)
        self._changed.add(id)

    def load(self, bodies: Iterable[str]) -> None:
        for body in bodies:
            value = self._adapter.validate_json(body)
            self._values[value.id] = value

    @property
    def is_changed(self) -> bool:
        return bool(self._changed)

    def write(self, connection: sqlite3.Connection) -> None:
        for key in self._changed:
            value = self._values.get(key)
            if value is None:
                connection.execute("delete from documents where kind = ? and id = ?", (self.kind, key))
            else:
                body = self._adapter.dump_json(value).decode()
                # An update keeps the row, and with it the order in which the documents came.
                connection.execute(
                    "insert into documents (kind, id, body) values (?, ?, ?)"
                    " on conflict (kind, id) do update set body = excluded.body",
                    (self.kind, key, body),
                )

    def written(self) -> None:
        self._changed.clear()
