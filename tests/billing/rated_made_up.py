"""Usage of whole months, made up: what rating finds in the database, without anybody having run anything."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from scalar.billing import rate_cards_store, rated_checks, rated_store
from scalar.billing.pricing.model import PricingModel
from scalar.billing.rate_cards import RateCard
from scalar.billing.rated_usage import rate_hour
from scalar.billing.rating import Line, Use
from scalar.database import Transaction
from scalar.metering.model import HOUR
from tests.made_up import a_key, an_organisation

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def at(hour: float) -> datetime:
    """So many hours into November."""
    return NOVEMBER + timedelta(hours=hour)


def a_card(organisation_id: str | None = None, id: str = "rate_1", **changes: Any) -> RateCard:
    """`fast`, `flex`: the models for every GPU type."""
    models: dict[str, PricingModel | None] = {tier: changes.pop(tier, None) for tier in ("fast", "flex")}
    prices = {("*", tier): model for tier, model in models.items() if model is not None}
    fields = {"name": id, "effective_from": NOVEMBER, "prices": prices, **changes}
    return RateCard(id=id, organisation_id=organisation_id, **fields)


def a_use(hour: datetime = NOVEMBER, seconds: str | int = 3600, run_id: str = "run_1", **changes: Any) -> Use:
    fields = {"job_id": "job_1", "organisation_id": "org_1", "key_id": "key_1", "project": None}
    kind = {"tier": "fast", "gpu_type": "H100"}
    return Use(hour=hour, run_id=run_id, gpu_seconds=Decimal(seconds), **{**fields, **kind, **changes})


def put_card(tx: Transaction, card: RateCard) -> None:
    rate_cards_store.insert_card(tx, card, actor="test", now=NOVEMBER)


def a_payer(tx: Transaction, name: str = "acme") -> tuple[str, str]:
    """(organisation, key)."""
    organisation = an_organisation(tx, name)
    return organisation.id, a_key(tx, organisation_id=organisation.id)[1]


def a_run_of(
    tx: Transaction, payer: tuple[str, str], run_id: str = "run_1", *, tier: str = "fast", project: str | None = None
) -> str:
    """A run that is placed, of a job of its own."""
    job_id, labels = run_id.replace("run", "job", 1), f'{{"project": "{project}"}}' if project else "{}"
    tx.execute(
        """insert into jobs (id, organisation_id, created_by, name, image, gpus, tier, state, labels)
           values (%s, %s, %s, 'train', 'busybox', 8, %s, 'running', %s::jsonb)""",
        [job_id, *payer, tier, labels],
    )
    tx.execute(
        "insert into job_runs (id, job_id, attempt, state, token, placed_at) values (%s, %s, 1, 'placed', %s, %s)",
        [run_id, job_id, run_id, NOVEMBER],
    )
    return run_id


def lose(tx: Transaction, run_id: str, reason: str = "node_lost", at: datetime = DECEMBER) -> None:
    tx.execute("update job_runs set state = 'failed', reason = %s, ended_at = %s where id = %s", [reason, at, run_id])


def metered(
    tx: Transaction, run_id: str, hour: datetime, seconds: str | int | Decimal, gpu_type: str = "H100", build: int = 1
) -> None:
    """The hour is built (again): the run has so many GPU-seconds in it."""
    tx.execute(
        """insert into hourly_usage (hour, run_id, organisation_id, tier, gpu_type, gpu_seconds)
           select %s, r.id, j.organisation_id, j.tier, %s, %s from job_runs r join jobs j on j.id = r.job_id
           where r.id = %s
           on conflict (hour, run_id, gpu_type) do update set gpu_seconds = excluded.gpu_seconds""",
        [hour, gpu_type, seconds, run_id],
    )
    tx.execute(
        """insert into metered_hours (hour, last_event_id, built_at) values (%s, %s, %s)
           on conflict (hour) do update set last_event_id = excluded.last_event_id, built_at = excluded.built_at""",
        [hour, build, hour + build * HOUR],
    )


def rate_all(tx: Transaction, hours: Iterable[datetime], now: datetime = DECEMBER) -> None:
    for hour in hours:
        rate_hour(tx, hour, now)


def settle(tx: Transaction, now: datetime = DECEMBER) -> None:
    """Rate what is due, as the sensor would, until nothing is."""
    while due := rated_checks.due_hours(tx, since=NOVEMBER - 40 * 24 * HOUR, now=now):
        rate_all(tx, due, now)


def standing(tx: Transaction) -> dict[tuple[datetime, str, str, str], Line]:
    """What all lines add up to, by (hour, run, GPU type, kind)."""
    lines = rated_store._standing(tx, "true", {})
    return {(each.use.hour, each.use.run_id, each.use.gpu_type, each.kind.value): each for each in lines}


def charged(tx: Transaction, kind: str = "usage") -> dict[tuple[datetime, str], int]:
    """Micro-dollars by (hour, run)."""
    return {(key[0], key[1]): line.amount for key, line in standing(tx).items() if key[3] == kind}
