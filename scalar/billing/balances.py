"""An organisation's money at one moment, as it is shown to it."""

from dataclasses import dataclass
from datetime import datetime

from scalar.billing import hold_store, wallet_store
from scalar.billing.caps import CapUse, cap_uses, month_of
from scalar.billing.credit import BillingAccount, Lot, Position, in_turn
from scalar.database import Transaction


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Amounts are micro-dollars."""

    organisation_id: str
    account: BillingAccount | None
    """None: invoiced, without a limit."""
    position: Position
    lots: list[Lot]
    """Those that something is left of, in the order in which they are used."""
    caps: list[CapUse]
    spent_this_month: int
    """As rated, credits taken off."""

    @property
    def available(self) -> int | None:
        return self.position.available(self.account)


def balance_of(tx: Transaction, organisation_id: str, now: datetime) -> Balance:
    return Balance(
        organisation_id=organisation_id,
        account=wallet_store.account(tx, organisation_id),
        position=wallet_store.position(tx, organisation_id, now),
        lots=in_turn(wallet_store.lots_left(tx, organisation_id), now),
        caps=cap_uses(tx, organisation_id, now),
        spent_this_month=hold_store.rated_since(tx, organisation_id, month_of(now)),
    )
