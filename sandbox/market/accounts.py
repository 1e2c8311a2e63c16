"""Cash, and what is set aside of it for standing buys. Every move of cash is a row that is never changed."""

from dataclasses import dataclass, field

from sandbox.market.changes import Changes
from sandbox.market.errors import Taken, Unknown
from sandbox.market.values import Account, Transaction, TransactionKind


@dataclass(slots=True, kw_only=True)
class Wallet:
    id: str
    originating: bool
    cash: int = 0
    reserved: int = 0
    transactions: list[Transaction] = field(default_factory=list)

    @property
    def available(self) -> int:
        return self.cash - self.reserved

    def snapshot(self) -> Account:
        return Account(id=self.id, originating=self.originating, cash=self.cash, reserved=self.reserved)


class Accounts:
    def __init__(self, changes: Changes | None = None) -> None:
        self.changes = changes
        self.wallets: dict[str, Wallet] = {}
        self.next_seq = 1

    def open(self, id: str, *, originating: bool) -> None:
        if id in self.wallets:
            raise Taken(f"account {id} is open already")
        self.wallets[id] = Wallet(id=id, originating=originating)
        self._touch(id)

    def __getitem__(self, id: str) -> Wallet:
        if id not in self.wallets:
            raise Unknown(f"no account {id}")
        return self.wallets[id]

    def reserve(self, id: str, amount: int) -> None:
        """Sets `amount` aside; a negative one frees it again."""
        self.wallets[id].reserved += amount
        self._touch(id)

    def move(self, id: str, amount: int, kind: TransactionKind, now: int, order_id: str | None = None) -> None:
        """Credits `amount`, or debits a negative one."""
        wallet = self[id]
        wallet.cash += amount
        row = Transaction(
            seq=self.next_seq,
            account_id=id,
            at=now,
            kind=kind,
            amount=amount,
            balance=wallet.cash,
            order_id=order_id,
        )
        self.next_seq += 1
        wallet.transactions.append(row)
        self._touch(id)
        if self.changes is not None:
            self.changes.transactions.append(row)

    def trim(self, horizon: int) -> None:
        for wallet in self.wallets.values():
            wallet.transactions = [row for row in wallet.transactions if row.at >= horizon]

    def _touch(self, id: str) -> None:
        if self.changes is not None:
            self.changes.accounts.add(id)
