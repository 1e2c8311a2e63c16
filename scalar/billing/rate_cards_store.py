"""SQL of rate cards and coupons: one statement a function."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from psycopg.errors import ExclusionViolation, UniqueViolation
from psycopg.types.json import Jsonb

from scalar.billing.coupons import Coupon
from scalar.billing.pricing import notation
from scalar.billing.pricing.model import PricingModel
from scalar.billing.rate_cards import RateCard
from scalar.database import Transaction
from scalar.errors import Conflict

_CARD = """c.id, c.name, c.organisation_id, c.effective_from, c.effective_until, c.minimum_commitment,
    c.discount_percent, c.free_gpu_seconds, coalesce((
        select jsonb_agg(jsonb_build_array(p.gpu_type, p.tier, p.model::text) order by p.gpu_type, p.tier)
        from rate_card_prices p where p.rate_card_id = c.id), '[]') as prices"""


def insert_card(tx: Transaction, card: RateCard, *, actor: str, now: datetime) -> None:
    """Raises: `Conflict` where another card of the same organisation is in force at some of that time."""
    try:
        tx.execute(
            """insert into rate_cards (id, name, organisation_id, effective_from, effective_until, minimum_commitment,
                   discount_percent, free_gpu_seconds, created_at, created_by)
               values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                card.id,
                card.name,
                card.organisation_id,
                card.effective_from,
                card.effective_until,
                card.minimum_commitment,
                card.discount_percent,
                card.free_gpu_seconds,
                now,
                actor,
            ],
        )
    except ExclusionViolation as error:
        raise Conflict("Another rate card of the same is in force at some of that time.") from error
    tx.cursor().executemany(
        "insert into rate_card_prices (rate_card_id, gpu_type, tier, model) values (%s, %s, %s, %s)",
        [(card.id, gpu_type, tier, Jsonb(model.to_json())) for (gpu_type, tier), model in card.prices.items()],
    )


def end_open_card(tx: Transaction, organisation_id: str | None, at: datetime) -> str | None:
    """The card without an end that began before this moment ends there; its id."""
    row = tx.execute(
        """update rate_cards set effective_until = %(at)s
           where organisation_id is not distinct from %(organisation)s
             and effective_until is null and effective_from < %(at)s returning id""",
        {"organisation": organisation_id, "at": at},
    ).fetchone()
    return row["id"] if row else None


def cards_between(
    tx: Transaction, start: datetime, end: datetime, organisation_ids: Sequence[str] | None = None
) -> list[RateCard]:
    """Cards that are in force at some time of [start, end): those of these organisations (of all), and the default."""
    rows = tx.execute(
        f"""select {_CARD} from rate_cards c
            where c.effective_from < %(end)s and (c.effective_until is null or c.effective_until > %(start)s)
              and (c.organisation_id is null or %(ids)s::text[] is null or c.organisation_id = any(%(ids)s))
            order by c.effective_from, c.id""",
        {"start": start, "end": end, "ids": None if organisation_ids is None else list(organisation_ids)},
    )
    return _cards(rows)


def cards(tx: Transaction) -> list[RateCard]:
    """All, the newest first."""
    return _cards(tx.execute(f"select {_CARD} from rate_cards c order by c.id desc"))


def insert_coupon(tx: Transaction, coupon: Coupon, *, actor: str, now: datetime) -> None:
    """Raises: `Conflict` where there is one with that code."""
    try:
        tx.execute(
            """insert into coupons (id, code, organisation_id, percent_off, amount_off_micros, starts_at, ends_at, once,
                   created_at, created_by)
               values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                coupon.id,
                coupon.code,
                coupon.organisation_id,
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


def coupons_of(tx: Transaction, organisation_id: str, at: datetime) -> list[Coupon]:
    """Those that it may use at that moment, its own first, each in the order of their making."""
    rows = tx.execute(
        """select id, code, organisation_id, percent_off, amount_off_micros, starts_at, ends_at, once from coupons
           where (organisation_id is null or organisation_id = %(organisation)s)
             and starts_at <= %(at)s and (ends_at is null or ends_at > %(at)s)
           order by organisation_id nulls last, id""",
        {"organisation": organisation_id, "at": at},
    )
    return [Coupon(**row) for row in rows]


def _cards(rows: Iterable[dict[str, Any]]) -> list[RateCard]:
    return [
        RateCard(**{**row, "prices": {(gpu_type, tier): _model(text) for gpu_type, tier, text in row["prices"]}})
        for row in rows
    ]


@lru_cache(maxsize=4096)
def _model(text: str) -> PricingModel:
    return notation.read(json.loads(text))
