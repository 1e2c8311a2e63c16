"""Stripe's own statement of its balance, against our ledger: line by line, to the cent.

What the statement has and we don't is looked up at Stripe and booked: no lost event loses money. Payouts to our bank
and fees that belong to no payment are booked from the statement itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scalar.billing.ledger import CASH_BANK, CASH_STRIPE, PAYMENT_FEES, Posting, move
from scalar.billing.ledger_store import closed_periods, post
from scalar.billing.money import MICROS_A_CENT
from scalar.billing.stripe_answers import Movement
from scalar.billing.stripe_errors import StripeError
from scalar.billing.stripe_following import follow
from scalar.billing.till import Done, Till
from scalar.database import Transaction, one

_OVERLAP = timedelta(days=3)
_BEGINNING = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
_TO_BANK = ("payout", "payout_cancel", "payout_failure")
_FEES = ("stripe_fee", "stripe_fx_fee", "tax_fee", "network_cost")
_KINDS = {"ch": "charge", "py": "charge", "re": "refund", "pyr": "refund", "du": "dispute", "dp": "dispute"}
_OURS = """(select coalesce(sum(e.amount), 0)::bigint from ledger_transactions t
    join ledger_entries e on e.transaction_id = t.id
    where e.account = 'cash:stripe' and t.source in ('stripe/' || s.id, 'lot/stripe/' || s.id))"""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A line of the statement, and what our ledger has of it; cents, fees taken off."""

    id: str
    type: str
    source: str | None
    theirs: int
    ours: int


@dataclass(frozen=True, kw_only=True)
class Tied:
    """All there is, in cents: what moved at Stripe after fees, and what the ledger has in `cash:stripe`."""

    theirs: int
    ours: int
    fees: int
    differences: tuple[Difference, ...]
    strangers: tuple[str, ...]
    """Postings to `cash:stripe` that are on no statement."""
    read_at: datetime | None

    @property
    def agrees(self) -> bool:
        return self.read_at is not None and not self.differences and not self.strangers and self.theirs == self.ours


def read(till: Till) -> Done:
    """Read what is new on the statement, and book what nobody has told us of."""
    done = Done()
    with till.transact() as tx:
        since = _read_until(tx)
    began = till.clock()
    rows = list(till.stripe.movements_since(since - _OVERLAP))
    with till.transact() as tx:
        done.moved = _keep(tx, rows)
        tx.execute("insert into stripe_statement_reads (at, lines) values (%s, %s)", [began, len(rows)])
        _book_own(tx, began)
        unknown = _unbooked(tx)
    for each in unknown:
        kind = _KINDS.get((each.source or "").partition("_")[0])
        try:
            follow(till, kind or "", each.source)
        except StripeError as error:
            done.note(each.id, error)
    return done


def tied(tx: Transaction) -> Tied:
    row = one(
        tx,
        """select (select coalesce(sum(net), 0)::bigint from stripe_balance_transactions) as theirs,
               (select coalesce(sum(fee), 0)::bigint from stripe_balance_transactions) as fees,
               (select coalesce(sum(amount), 0)::bigint from ledger_entries where account = 'cash:stripe') as ours,
               (select max(at) from stripe_statement_reads) as read_at,
               array(select t.source from ledger_transactions t join ledger_entries e on e.transaction_id = t.id
                   where e.account = 'cash:stripe' and not exists (
                       select from stripe_balance_transactions s
                       where t.source in ('stripe/' || s.id, 'lot/stripe/' || s.id))
                   order by 1 limit 100) as strangers""",
    )
    return Tied(
        theirs=row["theirs"],
        ours=row["ours"] // MICROS_A_CENT,
        fees=row["fees"],
        differences=tuple(_unbooked(tx)),
        strangers=tuple(row["strangers"]),
        read_at=row["read_at"],
    )


def off_until(tx: Transaction, until: datetime) -> list[str]:
    """What doesn't tie of all that moved before then, in words. What came since is a later month's."""
    found = one(
        tx,
        f"""select (select max(at) from stripe_statement_reads) as read_at,
               array(select id || ': ' || net || ' cents at Stripe, ' || ours / 10000 || ' in the ledger'
                   from (select s.*, {_OURS} as ours from stripe_balance_transactions s
                         where s.created_at < %(until)s) s
                   where net * 10000 <> ours order by created_at, id limit 100) as differences,
               array(select t.source || ': on no statement of Stripe' from ledger_transactions t
                   join ledger_entries e on e.transaction_id = t.id
                   where e.account = 'cash:stripe' and t.at < %(until)s and not exists (
                       select from stripe_balance_transactions s
                       where t.source in ('stripe/' || s.id, 'lot/stripe/' || s.id))
                   order by 1 limit 100) as strangers""",
        {"until": until},
    )
    unread = found["read_at"] is None or found["read_at"] < until
    return [
        *(["Stripe's statement was not read since the month was over"] if unread else []),
        *found["differences"],
        *found["strangers"],
    ]


def _read_until(tx: Transaction) -> datetime:
    row = one(tx, "select max(created_at) as until from stripe_balance_transactions")
    return row["until"] or _BEGINNING


def _keep(tx: Transaction, rows: Sequence[Movement]) -> int:
    inserted = tx.cursor()
    inserted.executemany(
        """insert into stripe_balance_transactions (id, type, category, source, cents, fee, net, created_at)
           values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing""",
        [(each.id, each.type, each.category, each.source, each.cents, each.fee, each.net, each.at) for each in rows],
    )
    return inserted.rowcount


def _book_own(tx: Transaction, now: datetime) -> None:
    """Payouts, and fees of their own."""
    rows = tx.execute(
        f"""select id, type, net, created_at from stripe_balance_transactions s
            where type = any(%s) and net <> 0 and {_OURS} = 0 order by created_at""",
        [[*_TO_BANK, *_FEES]],
    ).fetchall()
    for row in rows:
        account = CASH_BANK if row["type"] in _TO_BANK else PAYMENT_FEES
        entries = move(row["net"] * MICROS_A_CENT, debit=CASH_STRIPE, credit=account)
        closed = row["created_at"].date().replace(day=1) in closed_periods(tx)
        at = now if closed else row["created_at"]
        post(tx, Posting(source=f"stripe/{row['id']}", kind=f"stripe.{row['type']}", at=at, entries=entries))


def _unbooked(tx: Transaction) -> list[Difference]:
    rows = tx.execute(
        f"""select id, type, source, net as theirs, ours / 10000 as ours
            from (select s.*, {_OURS} as ours from stripe_balance_transactions s) s
            where net * 10000 <> ours order by created_at, id limit 100"""
    )
    return [Difference(**row) for row in rows]
