"""Which entities the engine's calls have touched, for whoever keeps them on a disk."""

from dataclasses import dataclass, field

from sandbox.market.values import Trade, Transaction


@dataclass(slots=True, kw_only=True)
class Changes:
    """Ids of what has a new state, and the rows that are new. `trimmed`: rows from before that moment are gone."""

    accounts: set[str] = field(default_factory=set)
    pools: set[str] = field(default_factory=set)  # opened
    inventories: set[tuple[str, str]] = field(default_factory=set)  # (pool, SKU)
    orders: set[str] = field(default_factory=set)
    dropped_orders: set[str] = field(default_factory=set)
    trades: list[Trade] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    trimmed: int | None = None

    def __bool__(self) -> bool:
        return bool(
            self.accounts
            or self.pools
            or self.inventories
            or self.orders
            or self.dropped_orders
            or self.transactions
            or self.trimmed is not None
        )
