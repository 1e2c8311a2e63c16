"""The deliveries of events to webhook endpoints, as rows: what is waiting, what is due, what became of it."""

from dataclasses import dataclass
from typing import Any

from sandbox.stripe.store import Store

_COLUMNS = "seq, event, endpoint, first_at, due, tries, state, status"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """`state` is waiting, delivered, failed (no more tries) or lost (on purpose)."""

    seq: int
    event: str
    endpoint: str
    first_at: float
    due: float
    tries: int
    state: str
    status: int | None
    """Of the last try; None: no answer, or not tried."""


class Mailbox:
    """Whoever uses it has the world's turn."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection

    def post(self, event: str, endpoint: str, *, due: float, state: str = "waiting") -> None:
        self._connection.execute(
            "insert into deliveries (event, endpoint, first_at, due, state) values (?, ?, ?, ?, ?)",
            (event, endpoint, due, due, state),
        )

    def last(self) -> int:
        """The number of the newest."""
        (seq,) = self._connection.execute("select coalesce(max(seq), 0) from deliveries").fetchone()
        return int(seq)

    def reverse(self, after: int) -> None:
        """Those newer than number `after`, in the order from the last to the first."""
        rows = self._read("where seq > ? order by seq", after)
        self._connection.execute("delete from deliveries where seq > ?", (after,))
        for row in reversed(rows):
            self.post(row.event, row.endpoint, due=row.due, state=row.state)

    def next_due(self, now: float, *, newest_first: bool = False) -> Delivery | None:
        order = "due desc, seq desc" if newest_first else "due, seq"
        rows = self._read(f"where state = 'waiting' and due <= ? order by {order} limit 1", now)
        return rows[0] if rows else None

    def next_time(self) -> float | None:
        (due,) = self._connection.execute("select min(due) from deliveries where state = 'waiting'").fetchone()
        return due if due is None else float(due)

    def settle(self, seq: int, *, state: str, status: int | None, due: float) -> None:
        """After a try."""
        self._connection.execute(
            "update deliveries set tries = tries + 1, state = ?, status = ?, due = ? where seq = ?",
            (state, status, due, seq),
        )

    def drop_endpoint(self, endpoint: str) -> None:
        self._connection.execute("delete from deliveries where endpoint = ? and state = 'waiting'", (endpoint,))

    def pending(self, event: str) -> int:
        (count,) = self._connection.execute(
            "select count(*) from deliveries where event = ? and state = 'waiting'", (event,)
        ).fetchone()
        return int(count)

    def all(self) -> list[Delivery]:
        return self._read("order by seq")

    def _read(self, sql: str, *values: Any) -> list[Delivery]:
        rows = self._connection.execute(f"select {_COLUMNS} from deliveries {sql}", values)
        return [Delivery(**dict(zip(_COLUMNS.split(", "), row, strict=True))) for row in rows]
