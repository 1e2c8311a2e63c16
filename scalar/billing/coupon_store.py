"""SQL of coupons: one statement a function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from psycopg.errors import UniqueViolation

from scalar.billing.coupons import Coupon
from scalar.billing.months import end_of, start_of
from scalar.database import Transaction
from scalar.errors import Conflict

_COUPON = """c.id, c.code, c.organisation_id, c.everybody, c.percent_off, c.amount_off_micros, c.starts_at, c.ends_at,
    c.once, c.ended_at"""


def insert_coupon(tx: Transaction, coupon: Coupon, *, actor: str, now: datetime) -> None:
    """Raises: `Conflict` where there is one with that code."""
    try:
        tx.execute(
            """insert into coupons (id, code, organisation_id, everybody, percent_off, amount_off_micros, starts_at,
                   ends_at, once, created_at, created_by)
               values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                coupon.id,
                coupon.code,
                coupon.organisation_id,
                coupon.everybody,
                coupon.percent_off,
                coupon.amount_off_micros,
                coupon.starts_at,
                coupon.ends_at,
                coupon.once,
                now,
                actor,
            ],
        )
    except UniqueViolation as error:
        raise Conflict(f"There is a coupon {coupon.code!r} already.") from error


@dataclass(frozen=True, kw_only=True)
class Given:
    """A coupon, and how many organisations have redeemed it."""

    coupon: Coupon
    redemptions: int


def coupons(tx: Transaction) -> list[Given]:
    """All, the newest first."""
    rows = tx.execute(
        f"""select {_COUPON}, (select count(*) from coupon_redemptions r where r.coupon_id = c.id) as redemptions
            from coupons c order by c.id desc"""
    )
    return [Given(redemptions=row.pop("redemptions"), coupon=Coupon(**row)) for row in rows]


def coupon(tx: Transaction, named: str, *, for_update: bool = False) -> Coupon | None:
    """By its id or its code. `for_update`: it doesn't change until this transaction ends."""
    lock = " for update" if for_update else ""
    row = tx.execute(f"select {_COUPON} from coupons c where c.code = %s or c.id = %s{lock}", [named, named]).fetchone()
    return Coupon(**row) if row else None


def redeemed_at(tx: Transaction, coupon_id: str, organisation_id: str) -> datetime | None:
    row = tx.execute(
        "select at from coupon_redemptions where coupon_id = %s and organisation_id = %s", [coupon_id, organisation_id]
    ).fetchone()
    return row["at"] if row else None


def insert_redemption(tx: Transaction, coupon_id: str, organisation_id: str, *, actor: str, now: datetime) -> bool:
    """False where that organisation has redeemed it already."""
    statement = """insert into coupon_redemptions (organisation_id, coupon_id, at, redeemed_by) values (%s, %s, %s, %s)
                   on conflict do nothing"""
    return tx.execute(statement, [organisation_id, coupon_id, now, actor]).rowcount == 1


def end(tx: Transaction, coupon_id: str, now: datetime) -> None:
    tx.execute("update coupons set ended_at = %s where id = %s and ended_at is null", [now, coupon_id])


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What may come off invoices of one month."""

    month: date
    coupons: Sequence[Coupon]
    redeemed: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    """(organisation, coupon) ─► when."""
    used: frozenset[tuple[str, str]] = frozenset()
    """(organisation, coupon): those that were on an invoice."""

    def of(self, organisation_id: str) -> list[Coupon]:
        """Its own first."""
        fitting = [
            each
            for each in self.coupons
            if each.counts_in(self.month, organisation_id, self.redeemed.get((organisation_id, each.id)))
            and not (each.once and (organisation_id, each.id) in self.used)
        ]
        return sorted(fitting, key=lambda each: (each.organisation_id is None, each.id))


def offer(tx: Transaction, month: date, organisations: Sequence[str]) -> Offer:
    """To these organisations."""
    rows = tx.execute(
        f"""select {_COUPON} from coupons c
            where c.starts_at < %(end)s and (c.ends_at is null or c.ends_at > %(start)s) and c.ended_at is null
              and (c.everybody or c.organisation_id = any(%(orgs)s) or exists (
                  select from coupon_redemptions r where r.coupon_id = c.id and r.organisation_id = any(%(orgs)s)))""",
        {"start": start_of(month), "end": end_of(month), "orgs": list(organisations)},
    )
    found = [Coupon(**row) for row in rows]
    which = [[coupon.id for coupon in found], list(organisations)]
    return Offer(month=month, coupons=found, redeemed=_redeemed(tx, which), used=_used(tx, which))


def _redeemed(tx: Transaction, which: list[list[str]]) -> dict[tuple[str, str], datetime]:
    rows = tx.execute(
        """select organisation_id, coupon_id, at from coupon_redemptions
           where coupon_id = any(%s) and organisation_id = any(%s)""",
        which,
    )
    return {(row["organisation_id"], row["coupon_id"]): row["at"] for row in rows}


def _used(tx: Transaction, which: list[list[str]]) -> frozenset[tuple[str, str]]:
    rows = tx.execute(
        """select distinct i.organisation_id, l.coupon_id from invoice_lines l join invoices i on i.id = l.invoice_id
           where l.coupon_id = any(%s) and i.organisation_id = any(%s) and i.state not in ('draft', 'void')""",
        which,
    )
    return frozenset((row["organisation_id"], row["coupon_id"]) for row in rows)
