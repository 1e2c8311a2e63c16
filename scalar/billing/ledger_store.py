"""SQL of the ledger: one statement a function."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from psycopg.errors import RestrictViolation

from scalar.billing.ledger import Account, Posting
from scalar.database import Transaction, one
from scalar.errors import Conflict


def post(tx: Transaction, posting: Posting) -> bool:
    """Write a posting; False where its source was posted before, or it has no entries.

    Raises: `Conflict` where its month is closed.
    """
    if not posting.entries:
        return False
    open_accounts(tx, [entry.account for entry in posting.entries])
    try:
        row = tx.execute(
            """insert into ledger_transactions (source, kind, at, description) values (%s, %s, %s, %s)
               on conflict (source) do nothing returning id""",
            [posting.source, posting.kind, posting.at, posting.description],
        ).fetchone()
    except RestrictViolation as error:
        raise Conflict(f"The books of {posting.at:%Y-%m} are closed: nothing can be posted to them.") from error
    if row is None:
        return False
    names = [entry.account.name for entry in posting.entries]
    amounts = [entry.amount for entry in posting.entries]
    tx.execute(
        """insert into ledger_entries (transaction_id, account, amount)
           select %s, * from unnest(%s::text[], %s::bigint[])""",
        [row["id"], names, amounts],
    )
    # By name, as everywhere: two postings never wait for each other in a circle.
    tx.execute(
        """insert into ledger_balances as b (account, amount)
           select account, sum(amount) from unnest(%s::text[], %s::bigint[]) as e (account, amount)
           group by account order by account
           on conflict (account) do update set amount = b.amount + excluded.amount""",
        [names, amounts],
    )
    return True


def open_accounts(tx: Transaction, accounts: Iterable[Account]) -> None:
    wanted = sorted({(each.name, each.kind.value, each.organisation_id) for each in accounts}, key=lambda each: each[0])
    tx.execute(
        """insert into ledger_accounts (name, kind, organisation_id)
           select * from unnest(%s::text[], %s::text[], %s::text[]) on conflict do nothing""",
        [list(column) for column in zip(*wanted, strict=True)],
    )


def balance(tx: Transaction, account: Account, *, for_update: bool = False) -> int:
    """Micro-dollars, debits less credits; with `for_update`, nobody else changes it until this transaction ends."""
    if for_update:
        open_accounts(tx, [account])
        tx.execute("insert into ledger_balances values (%s, 0) on conflict do nothing", [account.name])
    row = tx.execute(
        f"select amount from ledger_balances where account = %s {'for update' if for_update else ''}", [account.name]
    ).fetchone()
    return int(row["amount"]) if row else 0


def balances(tx: Transaction) -> dict[str, int]:
    """Every account that is not at zero."""
    rows = tx.execute("select account, amount from ledger_balances where amount <> 0 order by account")
    return {row["account"]: row["amount"] for row in rows}


def summed(tx: Transaction, *, until: datetime | None = None) -> dict[str, int]:
    """The same from the entries: what the balances are a projection of. `until`: of what had happened before it."""
    rows = tx.execute(
        """select e.account, sum(e.amount)::bigint as amount from ledger_entries e
               join ledger_transactions t on t.id = e.transaction_id
           where %(until)s::timestamptz is null or t.at < %(until)s
           group by e.account having sum(e.amount) <> 0 order by e.account""",
        {"until": until},
    )
    return {row["account"]: row["amount"] for row in rows}


def rebuild(tx: Transaction) -> None:
    """Throw the balances away and make them anew. Postings wait meanwhile."""
    tx.execute("lock table ledger_balances in exclusive mode")
    tx.execute("delete from ledger_balances")
    tx.execute("insert into ledger_balances select account, sum(amount) from ledger_entries group by account")


def between(tx: Transaction, accounts: Sequence[Account], start: datetime, end: datetime) -> int:
    """What came to these accounts in [start, end)."""
    row = one(
        tx,
        """select coalesce(sum(e.amount), 0)::bigint as amount from ledger_entries e
               join ledger_transactions t on t.id = e.transaction_id
           where e.account = any(%s) and t.at >= %s and t.at < %s""",
        [[each.name for each in accounts], start, end],
    )
    return int(row["amount"])


def close_period(tx: Transaction, month: date, *, actor: str, now: datetime) -> bool:
    """No more transactions of that month; False where it was closed already. Waits for those on their way."""
    tx.execute("lock table ledger_transactions in share row exclusive mode")
    insert = "insert into closed_periods (month, closed_at, closed_by) values (%s, %s, %s) on conflict do nothing"
    return tx.execute(insert, [month, now, actor]).rowcount == 1


def reopen_period(tx: Transaction, month: date) -> bool:
    return tx.execute("delete from closed_periods where month = %s", [month]).rowcount == 1


def closed_periods(tx: Transaction) -> list[date]:
    return [row["month"] for row in tx.execute("select month from closed_periods order by month")]
