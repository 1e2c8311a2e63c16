"""SQL of the ledger: one statement a function."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.errors import RestrictViolation

from scalar.billing.ledger import Account, Posting
from scalar.database import Transaction, columns, one
from scalar.errors import Conflict


def post(tx: Transaction, posting: Posting) -> bool:
    """Write a posting; False where its source was posted before, or it has no entries.

    Raises: `Conflict` where its month is closed.
    """
    return posting.source in post_all(tx, [posting])


def post_all(tx: Transaction, postings: Iterable[Posting]) -> set[str]:
    """Write many, in as few statements as one: the sources of those that were not posted before, and have entries.

    Raises: `Conflict` where the month of one is closed.
    """
    wanted = [posting for posting in postings if posting.entries]
    if not wanted:
        return set()
    open_accounts(tx, [entry.account for posting in wanted for entry in posting.entries])
    made = _insert_transactions(tx, wanted)
    entries = [
        (made[posting.source], entry.account.name, entry.amount)
        for posting in wanted
        if posting.source in made
        for entry in posting.entries
    ]
    if entries:
        _insert_entries(tx, entries)
    return set(made)


def open_accounts(tx: Transaction, accounts: Iterable[Account]) -> None:
    wanted = sorted({(each.name, each.kind.value, each.organisation_id) for each in accounts}, key=lambda each: each[0])
    tx.execute(
        """insert into ledger_accounts (name, kind, organisation_id)
           select * from unnest(%b::text[], %b::text[], %b::text[]) on conflict do nothing""",
        columns(wanted),
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


@dataclass(frozen=True, kw_only=True)
class OffBalance:
    """An account whose balance is not what its entries add up to, in micro-dollars."""

    account: str
    balance: int
    entries: int


def off_balances(tx: Transaction) -> list[OffBalance]:
    """In one statement: what is posted meanwhile is in both, or in neither."""
    rows = tx.execute(
        """with summed as (select account, sum(amount)::bigint as amount from ledger_entries group by account)
           select account, coalesce(b.amount, 0) as balance, coalesce(s.amount, 0) as entries
           from ledger_balances b full join summed s using (account)
           where coalesce(b.amount, 0) <> coalesce(s.amount, 0) order by account"""
    )
    return [OffBalance(**row) for row in rows]


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


def _insert_transactions(tx: Transaction, postings: Iterable[Posting]) -> dict[str, int]:
    """Those whose source is new: its id by source. By source, so that two of many never wait in a circle."""
    rows = sorted((each.source, each.kind, each.at, each.description) for each in postings)
    try:
        made = tx.execute(
            """insert into ledger_transactions (source, kind, at, description)
               select * from unnest(%b::text[], %b::text[], %b::timestamptz[], %b::text[])
               on conflict (source) do nothing returning source, id""",
            columns(rows),
        ).fetchall()
    except RestrictViolation as error:
        months = " and ".join(sorted({f"{at:%Y-%m}" for _, _, at, _ in rows}))
        raise Conflict(f"The books of {months} are closed: nothing can be posted to them.") from error
    return {row["source"]: row["id"] for row in made}


def _insert_entries(tx: Transaction, entries: Sequence[tuple[int, str, int]]) -> None:
    """(transaction, account, amount) of each. Balances by name, as everywhere: no two postings wait in a circle."""
    values = columns(entries)
    tx.execute(
        """insert into ledger_entries (transaction_id, account, amount)
           select * from unnest(%b::bigint[], %b::text[], %b::bigint[])""",
        values,
    )
    tx.execute(
        """insert into ledger_balances as b (account, amount)
           select account, sum(amount) from unnest(%b::text[], %b::bigint[]) as e (account, amount)
           group by account order by account
           on conflict (account) do update set amount = b.amount + excluded.amount""",
        values[1:],
    )
