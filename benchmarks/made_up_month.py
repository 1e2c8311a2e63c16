"""A month that nobody ran: usage events of runs of all lengths, by generate_series, and what its customers pay by.

With 10,000,000 events: some 16,000 runs of half an hour to twenty hours on 1 to 8 GPUs, alive each minute, some 170,000
run-hours, of 1,000 organisations. Four in ten pay the built-in prices; the others have cards of their own: flat with a
discount, graduated with free seconds, volume, package. One run in a hundred was lost by the platform.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import psycopg

from scalar.billing import rate_cards_store
from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.graduated import Graduated
from scalar.billing.pricing.model import per_gpu_hour
from scalar.billing.pricing.package import Package
from scalar.billing.pricing.volume import Volume
from scalar.billing.rate_cards import ANY_TYPE, RateCard
from scalar.billing.wallets import grant_credit
from scalar.database import Transaction

START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
_MINUTES = 31 * 24 * 60
_SHORTEST, _LENGTHS = 30, 1171
_MEAN_EVENTS = _SHORTEST + _LENGTHS // 2 + 1
_RUNS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Size:
    runs: int
    organisations: int

    @classmethod
    def of(cls, events: int) -> "Size":
        """About so many events: 10,000 an organisation, in some 16 runs."""
        return cls(runs=max(16, events // _MEAN_EVENTS), organisations=max(10, events // 10_000))


def make_up(connection: psycopg.Connection, size: Size, told: Callable[[str], None]) -> int:
    """All that metering reads; the events there are. Nothing is checked on the way in: that would take an hour."""
    connection.execute("set session_replication_role = replica")
    for statement in _ORGANISATIONS, _KEYS, _NODES, _ACCOUNTS, _SKUS, _PRICES:
        connection.execute(statement, {"orgs": size.organisations, "start": START, "end": END})
    connection.execute("insert into tax_rates values (default, 'DE', null, 'VAT', 19, '2026-01-01', now(), 'bench')")
    connection.execute(
        """insert into coupons (id, code, everybody, percent_off, starts_at, once, created_at, created_by)
           values ('coupon', 'AUTUMN', true, 5, '2026-09-01', false, now(), 'bench')"""
    )
    for statement in _JOBS, _RUNS, _TASKS:
        connection.execute(
            statement,
            {
                "runs": size.runs,
                "orgs": size.organisations,
                "start": START,
                "minutes": _MINUTES,
                "shortest": _SHORTEST,
                "lengths": _LENGTHS,
            },
        )
    connection.commit()
    events = 0
    for first in range(0, size.runs, _RUNS_AT_ONCE):
        events += connection.execute(_EVENTS, {"first": first, "last": first + _RUNS_AT_ONCE - 1}).rowcount
        connection.commit()
        told(f"{events:,} events")
    connection.execute("set session_replication_role = origin")
    connection.execute("analyze")
    connection.commit()
    return events


def give_cards(tx: Transaction, size: Size) -> None:
    """By an organisation's number: 0 to 3 the built-in prices, 4 and 5 flat, 6 and 7 graduated, 8 volume, 9 package."""
    for number in range(size.organisations):
        card = _card(number)
        if card is not None:
            rate_cards_store.insert_card(tx, card, actor="bench", now=START)
        if number % 20 == 0:
            grant_credit(tx, _org(number), 25_000_000, f"bench/{number}", START)


def _card(number: int) -> RateCard | None:
    prices = {6: _GRADUATED, 7: _GRADUATED, 8: _VOLUME, 9: _PACKAGE}
    kind = number % 10
    if kind < 4:
        return None
    return RateCard(
        id=f"rate_{number:05}",
        name="bench",
        organisation_id=_org(number),
        effective_from=START,
        prices={(ANY_TYPE, "fast"): prices.get(kind, _FLAT)},
        minimum_commitment=500_000_000 if kind == 5 else 0,
        discount_percent=Decimal("7.5") if kind in {4, 7} else Decimal(0),
        free_gpu_seconds=Decimal(36_000) if kind == 6 else Decimal(0),
    )


def _org(number: int) -> str:
    return f"org_{number:05}"


_FLAT = Flat(price=per_gpu_hour("2.95"))
_BRACKETS = [
    Bracket(up_to=Decimal(500_000), price=per_gpu_hour("3.60")),
    Bracket(up_to=Decimal(2_000_000), price=per_gpu_hour("3.10")),
    Bracket(up_to=None, price=per_gpu_hour("2.70")),
]
_GRADUATED = Graduated.of(_BRACKETS)
_VOLUME = Volume.of(_BRACKETS)
_PACKAGE = Package(gpu_seconds=Decimal(360_000), price=Decimal(280))

_ORGANISATIONS = """insert into organisations (id, name)
    select 'org_' || lpad(n::text, 5, '0'), format('organisation %%s', n) from generate_series(0, %(orgs)s - 1) n"""
_KEYS = """insert into api_keys (id, prefix, hash, role, name, organisation_id)
    select replace(id, 'org', 'key'), id, sha256(id::bytea), 'customer', 'bench', id from organisations"""
_ACCOUNTS = """insert into billing_accounts (organisation_id, country)
    select 'org_' || lpad(n::text, 5, '0'), case when n %% 3 = 0 then 'DE' else 'US' end
    from generate_series(0, %(orgs)s - 1, 2) n"""
_TYPES = "(values (0, 'H100'), (1, 'H200'), (2, 'B200'), (3, 'A100')) as g (n, gpu_type)"
_NODES = f"""insert into nodes (id, name, gpus, gpu_type, cpus, memory_bytes, runtime, agent_version, boot_id)
    select format('node_%%s', n), format('bench-%%s', n), 8, gpu_type, 1, 1, 'docker', 'bench', 'bench' from {_TYPES}"""
_SKUS = f"""insert into skus (id, alias, gpu_type, gpus_per_node, seen_at)
    select format('sku_%%s', n), gpu_type, gpu_type, 8, %(start)s from {_TYPES} where n < 3"""
_PRICES = """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
    select s.id, h, 9, 40, 12, 14 + extract(hour from h) / 4, 22
    from skus s, generate_series(%(start)s, %(end)s - interval '1 hour', interval '1 hour') h"""

# Made up from the run's number alone, and so the same each time.
_MADE_UP = """select n, lpad(n::text, 6, '0') as number, %(shortest)s + seed %% %(lengths)s as length,
        'org_' || lpad((n %% %(orgs)s)::text, 5, '0') as org, hashint8extended(n, 2) & 15 as tier,
        power(2, hashint8extended(n, 3) & 3)::integer as gpus, hashint8extended(n, 4) & 3 as node, seed
    from generate_series(0::bigint, %(runs)s - 1) n,
        lateral (select hashint8extended(n, 1) & 1152921504606846975 as seed) s"""
_JOBS = f"""insert into jobs (id, organisation_id, created_by, name, image, labels, gpus, tier, state, ended_at)
    select 'job_' || number, org, replace(org, 'org', 'key'), 'train', 'none',
        jsonb_build_object('project', format('project-%%s', n %% 7)), gpus,
        case when tier < 11 then 'fast' else 'flex' end, 'succeeded', %(start)s + interval '31 days'
    from ({_MADE_UP}) m"""
_TASKS = f"""insert into run_tasks (run_id, rank, node_id, cpus, memory_bytes, state, ending, started_at, ended_at)
    select 'run_' || number, 0, format('node_%%s', node), 1, 1, 'ended', 'exited', started_at,
        started_at + length * interval '1 minute' + seed %% 60 * interval '1 second'
    from ({_MADE_UP}) m, lateral (select %(start)s
        + (seed %% ((%(minutes)s - length - 1) * 60000)) * interval '1 millisecond' as started_at) s"""
_RUNS = f"""insert into job_runs (id, job_id, attempt, state, reason, token, placed_at, ended_at)
    select 'run_' || number, 'job_' || number, 1, case when seed %% 100 = 0 then 'failed' else 'succeeded' end,
        case when seed %% 100 = 0 then 'node_lost' else 'completed' end, number, %(start)s,
        %(start)s + interval '31 days'
    from ({_MADE_UP}) m"""
_EVENTS = """insert into usage_events (run_id, rank, kind, sequence, at, gpus, organisation_id, tier, gpu_type, node_id)
    select t.run_id, 0, e.kind, e.sequence, e.at, j.gpus, j.organisation_id, j.tier, n.gpu_type, n.id
    from run_tasks t join nodes n on n.id = t.node_id join job_runs r on r.id = t.run_id join jobs j on j.id = r.job_id
        cross join lateral (
            select 'started' as kind, 0 as sequence, t.started_at as at
            union all
            select 'alive', s, t.started_at + s * interval '1 minute'
            from generate_series(1, (extract(epoch from t.ended_at - t.started_at) / 60)::integer) s
            where t.started_at + s * interval '1 minute' < t.ended_at
            union all
            select 'ended', 0, t.ended_at) e
    where t.run_id >= format('run_%%s', lpad(%(first)s::text, 6, '0'))
      and t.run_id <= format('run_%%s', lpad(%(last)s::text, 6, '0'))"""
