"""Every kind of document the market keeps, each on its shelf."""

import sqlite3
from typing import Any

from sandbox.market.clock import Anchor
from sandbox.market.records import SCHEMA, Shelf
from sandbox.market.resources import (
    Archived,
    Customer,
    Image,
    Instance,
    OrderRecord,
    PoolRecord,
    Procurement,
    Quoting,
    Receipt,
    Token,
    Transfer,
    Workspace,
)
from sandbox.market.settings import ServerRules


class Shelves:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.clock = Shelf("clock", Anchor)
        self.rules = Shelf("rules", ServerRules)
        self.customers = Shelf("customer", Customer)
        self.tokens = Shelf("token", Token)
        self.workspaces = Shelf("workspace", Workspace)
        self.pools = Shelf("pool", PoolRecord)
        self.orders = Shelf("order", OrderRecord)
        self.transfers = Shelf("transfer", Transfer)
        self.images = Shelf("image", Image)
        self.instances = Shelf("instance", Instance)
        self.procurements = Shelf("procurement", Procurement)
        self.receipts = Shelf("receipt", Receipt)
        self.traders = Shelf("quoting", Quoting)
        self.archive = Shelf("archived", Archived)
        self._connection = connection
        connection.execute(SCHEMA)
        for shelf in self._all():
            rows = connection.execute("select body from documents where kind = ? order by seq", (shelf.kind,))
            shelf.load(body for (body,) in rows)

    @property
    def are_changed(self) -> bool:
        return any(shelf.is_changed for shelf in self._all())

    def write(self) -> None:
        """What has changed, within the caller's transaction."""
        for shelf in self._all():
            shelf.write(self._connection)

    def written(self) -> None:
        """That transaction is committed."""
        for shelf in self._all():
            shelf.written()

    def _all(self) -> list[Shelf[Any]]:
        return [value for value in vars(self).values() if isinstance(value, Shelf)]
