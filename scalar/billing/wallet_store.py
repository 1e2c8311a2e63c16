"""SQL of billing accounts, wallet lots and draws: one statement a function."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from scalar.billing.credit import BillingAccount, Lot, LotKind, Position, Terms
from scalar.billing.ledger import receivable, unbilled
from scalar.billing.money import MICROS_A_CENT
from scalar.database import Transaction, one
from scalar.ids import new_id

_LOT = "id, organisation_id, kind, amount, used, expired, expires_at, created_at, note, source"

CONTACT = ("email", "name", "address", "country", "region", "tax_exempt", "tax_id", "auto_pay")
"""Columns of an account that say whom an invoice goes to, and how it is taxed and paid."""


def account(tx: Transaction, organisation_id: str, *, for_update: bool = False) -> BillingAccount | None:
    """None: invoiced, without a limit. With `for_update`, no other job of it is accepted until this transaction ends.

    This lock is taken last: after a job's and a run's.
    """
    lock = "for no key update" if for_update else ""
    row = tx.execute(
        f"""select organisation_id, terms, credit_limit, grace_seconds, empty_since from billing_accounts
            where organisation_id = %s {lock}""",
        [organisation_id],
    ).fetchone()
    return _account(row) if row else None


def locked_account(tx: Transaction, organisation_id: str) -> BillingAccount:
    """Made where there is none, with the terms that there are without one."""
    open_account(tx, organisation_id)
    found = account(tx, organisation_id, for_update=True)
    assert found is not None  # noqa: S101 - it was made just now
    return found


def accounts_to_watch(tx: Transaction) -> list[str]:
    """Organisations that can come to having nothing left: with a limit, and jobs that hold something; or that have."""
    rows = tx.execute(
        """select organisation_id from billing_accounts b
           where empty_since is not null or ((terms = 'prepaid' or credit_limit is not null) and exists (
               select from holds h where h.organisation_id = b.organisation_id and h.released_at is null))
           order by organisation_id"""
    )
    return [row["organisation_id"] for row in rows]


def open_account(tx: Transaction, organisation_id: str) -> None:
    """A row to lock, with the terms that there are without one; nothing where it stands."""
    tx.execute("insert into billing_accounts (organisation_id) values (%s) on conflict do nothing", [organisation_id])


def set_terms(tx: Transaction, organisation_id: str, terms: Terms, *, limit: int | None, grace: timedelta) -> None:
    tx.execute(
        """insert into billing_accounts (organisation_id, terms, credit_limit, grace_seconds)
           values (%(org)s, %(terms)s, %(limit)s, %(grace)s)
           on conflict (organisation_id) do update set terms = excluded.terms,
               credit_limit = excluded.credit_limit, grace_seconds = excluded.grace_seconds""",
        {"org": organisation_id, "terms": terms, "limit": limit, "grace": int(grace.total_seconds())},
    )


def set_contact(tx: Transaction, organisation_id: str, fields: dict[str, Any]) -> None:
    """Of the columns in `CONTACT`, those that are named."""
    names = [name for name in CONTACT if name in fields]
    values = [Jsonb(fields[name]) if isinstance(fields[name], dict) else fields[name] for name in names]
    if names:
        assignments = ", ".join(f"{name} = %s" for name in names)
        tx.execute(
            f"update billing_accounts set {assignments} where organisation_id = %s",
            [*values, organisation_id],
        )


def contact(tx: Transaction, organisation_id: str) -> dict[str, Any]:
    row = tx.execute(
        f"select {', '.join(CONTACT)} from billing_accounts where organisation_id = %s", [organisation_id]
    ).fetchone()
    return dict(row) if row else {}


def set_empty_since(tx: Transaction, organisation_id: str, since: datetime | None) -> None:
    tx.execute("update billing_accounts set empty_since = %s where organisation_id = %s", [since, organisation_id])


def position(tx: Transaction, organisation_id: str, now: datetime) -> Position:
    """In one statement, and so of one moment: what is rated leaves a hold as it comes to the ledger."""
    row = one(
        tx,
        """select
               (select coalesce(sum(amount - used - expired), 0)::bigint from wallet_lots
                where organisation_id = %(org)s and used + expired < amount
                  and (expires_at is null or expires_at > %(now)s)) as credit,
               (select coalesce(sum(amount), 0)::bigint from ledger_balances where account = %(unbilled)s) as unbilled,
               (select coalesce(sum(amount), 0)::bigint from ledger_balances where account = %(receivable)s)
                   as receivable,
               (select coalesce(sum(due - paid - credited), 0)::bigint * %(cent)s from invoices
                where organisation_id = %(org)s and state = 'uncollectible') as written_off,
               (select coalesce(sum(greatest(h.amount - rated.amount, 0)), 0)::bigint from holds h
                cross join lateral (select coalesce(sum(l.amount), 0) as amount from rated_lines l
                                    where l.job_id = h.job_id) rated
                where h.organisation_id = %(org)s and h.released_at is null) as held""",
        {
            "org": organisation_id,
            "now": now,
            "unbilled": unbilled(organisation_id).name,
            "receivable": receivable(organisation_id).name,
            "cent": MICROS_A_CENT,
        },
    )
    return Position(**row)


def insert_lot(
    tx: Transaction,
    organisation_id: str,
    kind: LotKind,
    amount: int,
    *,
    source: str,
    expires_at: datetime | None,
    note: str,
    now: datetime,
) -> Lot | None:
    """None where this source has made one already."""
    row = tx.execute(
        f"""insert into wallet_lots (id, organisation_id, kind, amount, expires_at, created_at, note, source)
            values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (source) do nothing returning {_LOT}""",
        [new_id("lot"), organisation_id, kind, amount, expires_at, now, note, source],
    ).fetchone()
    return _lot(row) if row else None


def lot_of(tx: Transaction, source: str) -> Lot:
    return _lot(one(tx, f"select {_LOT} from wallet_lots where source = %s", [source]))


def lots(tx: Transaction, organisation_id: str) -> list[Lot]:
    """Every one, oldest first: those that are used up too."""
    rows = tx.execute(
        f"select {_LOT} from wallet_lots where organisation_id = %s order by created_at, id", [organisation_id]
    )
    return [_lot(row) for row in rows]


def lots_left(tx: Transaction, organisation_id: str, *, for_update: bool = False) -> list[Lot]:
    """Those with something in them, by id; those whose time is over too, until they are written off."""
    lock = "for no key update" if for_update else ""
    rows = tx.execute(
        f"""select {_LOT} from wallet_lots where organisation_id = %s and used + expired < amount
            order by id {lock}""",
        [organisation_id],
    )
    return [_lot(row) for row in rows]


def expired_lots(tx: Transaction, before: datetime) -> list[Lot]:
    """With something in them, and over their time by then; locked, by id."""
    rows = tx.execute(
        f"""select {_LOT} from wallet_lots where expires_at <= %s and used + expired < amount
            order by id for no key update""",
        [before],
    )
    return [_lot(row) for row in rows]


def use(tx: Transaction, lot_id: str, amount: int) -> None:
    tx.execute("update wallet_lots set used = used + %s where id = %s", [amount, lot_id])


def write_off(tx: Transaction, lot_id: str, amount: int) -> None:
    tx.execute("update wallet_lots set expired = expired + %s where id = %s", [amount, lot_id])


def insert_draw(tx: Transaction, lot: Lot, amount: int, *, at: datetime, ledger_source: str) -> None:
    tx.execute(
        """insert into credit_draws (id, organisation_id, lot_id, amount, at, ledger_source)
           values (%s, %s, %s, %s, %s, %s)""",
        [new_id("draw"), lot.organisation_id, lot.id, amount, at, ledger_source],
    )


def organisations_to_draw(tx: Transaction, at: datetime, *, among: Collection[str] | None = None) -> list[str]:
    """Those (of these, or of all) with usage that isn't billed and credit that could pay for it."""
    rows = tx.execute(
        """select a.organisation_id from ledger_balances b join ledger_accounts a on a.name = b.account
           where b.amount > 0 and b.account = 'unbilled:' || a.organisation_id and exists (
               select from wallet_lots w where w.organisation_id = a.organisation_id and w.used + w.expired < w.amount
                 and (w.expires_at is null or w.expires_at > %(at)s))
             and (%(among)s::text[] is null or a.organisation_id = any(%(among)s))
           order by a.organisation_id""",
        {"at": at, "among": None if among is None else list(among)},
    )
    return [row["organisation_id"] for row in rows]


def drawn_between(tx: Transaction, start: datetime, end: datetime) -> dict[str, int]:
    """Micro-dollars of credit used in [start, end), by organisation."""
    rows = tx.execute(
        """select organisation_id, sum(amount)::bigint as amount from credit_draws where at >= %s and at < %s
           group by organisation_id order by organisation_id""",
        [start, end],
    )
    return {row["organisation_id"]: row["amount"] for row in rows}


def lots_against_ledger(tx: Transaction, organisations: Collection[str] = ()) -> list[dict[str, Any]]:
    """Organisations whose lots and draws don't add up to their accounts in the ledger (of these, or of all)."""
    return tx.execute(
        """with lots as (
               select organisation_id as org,
                   coalesce(sum(amount - used - expired) filter (where kind = 'purchase'), 0) as wallet,
                   coalesce(sum(amount - used - expired) filter (where kind = 'grant'), 0) as granted,
                   sum(used) as used
               from wallet_lots group by organisation_id),
           books as (
               select a.organisation_id as org,
                   coalesce(sum(-b.amount) filter (where a.name like 'wallet:%%'), 0) as wallet,
                   coalesce(sum(-b.amount) filter (where a.name like 'grant:%%'), 0) as granted
               from ledger_accounts a join ledger_balances b on b.account = a.name
               where a.name like 'wallet:%%' or a.name like 'grant:%%' group by a.organisation_id),
           drawn as (select organisation_id as org, sum(amount) as used from credit_draws group by organisation_id)
           select org as organisation_id, coalesce(lots.wallet, 0)::bigint as wallet_lots,
               coalesce(books.wallet, 0)::bigint as wallet_ledger, coalesce(lots.granted, 0)::bigint as grant_lots,
               coalesce(books.granted, 0)::bigint as grant_ledger, coalesce(lots.used, 0)::bigint as used,
               coalesce(drawn.used, 0)::bigint as drawn
           from lots full join books using (org) full join drawn using (org)
           where (%(orgs)s::text[] is null or org = any(%(orgs)s))
             and (coalesce(lots.wallet, 0) <> coalesce(books.wallet, 0)
               or coalesce(lots.granted, 0) <> coalesce(books.granted, 0)
               or coalesce(lots.used, 0) <> coalesce(drawn.used, 0))
           order by org""",
        {"orgs": list(organisations) or None},
    ).fetchall()


def _account(row: dict[str, Any]) -> BillingAccount:
    return BillingAccount(
        organisation_id=row["organisation_id"],
        terms=Terms(row["terms"]),
        credit_limit=row["credit_limit"],
        grace=timedelta(seconds=row["grace_seconds"]),
        empty_since=row["empty_since"],
    )


def _lot(row: dict[str, Any]) -> Lot:
    return Lot(**{**row, "kind": LotKind(row["kind"])})
