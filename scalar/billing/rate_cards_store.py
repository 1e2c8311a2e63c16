"""SQL of rate cards: one statement a function."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from psycopg.errors import ExclusionViolation
from psycopg.types.json import Jsonb

from scalar.billing.pricing import notation
from scalar.billing.pricing.model import PricingModel
from scalar.billing.rate_cards import RateCard
from scalar.database import Transaction
from scalar.errors import Conflict

_CARD = """c.id, c.name, c.organisation_id, c.effective_from, c.effective_until, c.minimum_commitment,
    c.discount_percent, c.free_gpu_seconds, c.withdrawn_at, coalesce((
        select jsonb_agg(jsonb_build_array(p.gpu_type, p.tier, p.model::text) order by p.gpu_type, p.tier)
        from rate_card_prices p where p.rate_card_id = c.id), '[]') as prices"""


def insert_card(tx: Transaction, card: RateCard, *, actor: str, now: datetime) -> None:
    """Raises: `Conflict` where another card of the same organisation is in force at some of that time."""
    try:
        tx.execute(
            """insert into rate_cards (id, name, organisation_id, effective_from, effective_until, open_ended,
                   minimum_commitment, discount_percent, free_gpu_seconds, created_at, created_by)
               values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                card.id,
                card.name,
                card.organisation_id,
                card.effective_from,
                card.effective_until,
                card.effective_until is None,
                card.minimum_commitment,
                card.discount_percent,
                card.free_gpu_seconds,
                now,
                actor,
            ],
        )
    except ExclusionViolation as error:
        raise Conflict(
            "Another rate card of the same is in force at some of that time. One that is yet to begin may be withdrawn."
        ) from error
    tx.cursor().executemany(
        "insert into rate_card_prices (rate_card_id, gpu_type, tier, model) values (%s, %s, %s, %s)",
        [(card.id, gpu_type, tier, Jsonb(model.to_json())) for (gpu_type, tier), model in card.prices.items()],
    )


def end_open_card(tx: Transaction, organisation_id: str | None, at: datetime) -> str | None:
    """The card without an end that began before this moment ends there; its id."""
    row = tx.execute(
        """update rate_cards set effective_until = %(at)s
           where organisation_id is not distinct from %(organisation)s
             and effective_until is null and effective_from < %(at)s and withdrawn_at is null returning id""",
        {"organisation": organisation_id, "at": at},
    ).fetchone()
    return row["id"] if row else None


def card(tx: Transaction, card_id: str, *, for_update: bool = False) -> RateCard | None:
    """`for_update`: it doesn't change until this transaction ends."""
    lock = " for update" if for_update else ""
    found = _cards(tx.execute(f"select {_CARD} from rate_cards c where c.id = %s{lock}", [card_id]))
    return found[0] if found else None


def withdraw(tx: Transaction, card_id: str, now: datetime) -> None:
    tx.execute("update rate_cards set withdrawn_at = %s where id = %s", [now, card_id])


def resume_card_before(tx: Transaction, card: RateCard) -> str | None:
    """The card that this one has ended holds again, until the next one begins; its id."""
    row = tx.execute(
        """update rate_cards c set effective_until = (
               select min(n.effective_from) from rate_cards n
               where n.organisation_id is not distinct from c.organisation_id and n.withdrawn_at is null
                 and n.effective_from > c.effective_from)
           where c.organisation_id is not distinct from %(organisation)s and c.withdrawn_at is null and c.open_ended
             and c.effective_until = %(at)s returning id""",
        {"organisation": card.organisation_id, "at": card.effective_from},
    ).fetchone()
    return row["id"] if row else None


def cards_between(
    tx: Transaction, start: datetime, end: datetime, organisation_ids: Sequence[str] | None = None
) -> list[RateCard]:
    """Cards that are in force at some time of [start, end): those of these organisations (of all), and the default."""
    rows = tx.execute(
        f"""select {_CARD} from rate_cards c
            where c.effective_from < %(end)s and (c.effective_until is null or c.effective_until > %(start)s)
              and c.withdrawn_at is null
              and (c.organisation_id is null or %(ids)s::text[] is null or c.organisation_id = any(%(ids)s))
            order by c.effective_from, c.id""",
        {"start": start, "end": end, "ids": None if organisation_ids is None else list(organisation_ids)},
    )
    return _cards(rows)


def cards(tx: Transaction) -> list[RateCard]:
    """All, those that were withdrawn too, the newest first."""
    return _cards(tx.execute(f"select {_CARD} from rate_cards c order by c.id desc"))


def _cards(rows: Iterable[dict[str, Any]]) -> list[RateCard]:
    return [
        RateCard(**{**row, "prices": {(gpu_type, tier): _model(text) for gpu_type, tier, text in row["prices"]}})
        for row in rows
    ]


@lru_cache(maxsize=4096)
def _model(text: str) -> PricingModel:
    return notation.read(json.loads(text))
