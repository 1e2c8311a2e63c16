"""What the loops that talk to the market are given."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from scalar.database import Transaction
from scalar.market import store
from scalar.market.errors import MarketAnswerMalformed
from scalar.market.settings import MarketSettings
from scalar.market.sfcompute import SfCompute


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything between our books and the market goes over one of these. No transaction is open while it calls out."""

    market: SfCompute
    settings: MarketSettings
    transact: Callable[[], AbstractContextManager[Transaction]]
    clock: Callable[[], datetime]

    def pool(self) -> str:
        """The id of the pool that everything is bought into; made at the first call ever.

        Raises: `MarketError`; `MarketAnswerMalformed` where there are several of its name.
        """
        with self.transact() as tx:
            known = store.controls(tx).pool_id
        if known is not None:
            return known
        named = [
            pool for pool in self.market.pools(workspace=self.settings.workspace) if pool.name == self.settings.pool
        ]
        if len(named) > 1:
            # Trading in the wrong one is worse than not trading: as with any answer that can't be understood.
            raise MarketAnswerMalformed(
                f"the market has {len(named)} pools named {self.settings.pool!r}: set SCALAR_MARKET_POOL to another"
            )
        pool = (
            named[0] if named else self.market.create_pool(workspace=self.settings.workspace, name=self.settings.pool)
        )
        with self.transact() as tx:
            store.keep_pool(tx, pool.id, self.clock())
            return str(store.controls(tx).pool_id)
