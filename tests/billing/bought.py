"""Blocks, the machines on them, sales and runs: in our books alone."""

from datetime import datetime, timedelta
from decimal import Decimal

from scalar.database import Transaction
from scalar.jobs import store as jobs
from scalar.jobs.model import JobRun
from scalar.market import instances, seats, store
from scalar.market.model import Rectangle, Seat, Side, Sku
from scalar.metering.model import Window, hour_of
from scalar.metering.store import replace_hour, spans_in, watermark
from scalar.metering.usage import usage_in
from tests.made_up import NOON, a_filled_order, a_job_of, a_node, ended, launch, running, told

H100 = "isku_h100"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def a_block(tx: Transaction, start: float, end: float, *, nodes: int = 1, price: str = "12") -> str:
    """A purchase that filled a minute before noon; minutes from noon. Its id."""
    store.upsert_skus(tx, [Sku(id=H100, alias="h100", gpu_type="H100", gpus_per_node=8)], NOON)
    window = Rectangle(start=at(start), end=at(end), nodes=nodes)
    order = a_filled_order(tx, Side.BUY, H100, window, price, filled_at=at(min(start, 0) - 1))
    return store.insert_block(tx, order.id, 0, 0, H100, window, Decimal(price))


def sold(
    tx: Transaction, start: float, end: float, *, price: str, at_minute: float, nodes: int = 1, flat: str = "0.06"
) -> str:
    """A sale of whoever is missed least, at 1 % and a flat fee per node-hour. Its order's id."""
    window = Rectangle(start=at(start), end=at(end), nodes=nodes)
    order = a_filled_order(tx, Side.SELL, H100, window, price, filled_at=at(at_minute))
    store.note_fee(tx, order.id, flat=Decimal(flat), bps=100)
    seats.give_up(tx, order, 0, window, Decimal(price))
    return order.id


def a_machine(tx: Transaction, *sits: tuple[str, int, float, float], name: str = "alpha") -> str:
    """A node of eight GPUs that sits on each of these (block, seat, from, until) in turn. The node's id."""
    instance_id = instances.want_instance(tx, H100, at(sits[-1][3]), NOON)
    node = a_node(tx, name, now=at(sits[-1][3] + 24 * 60))
    instances.joined(tx, instance_id, node.id, NOON)
    for block_id, number, start, end in sits:
        seat = Seat(block_id=block_id, number=number, sku=H100, start=at(start), end=at(end))
        seats.sit(tx, instance_id, seat)
    return node.id


def a_run(
    tx: Transaction, customer: tuple[str, str], start: float, end: float | None, *, gpus: int = 8, **spec: object
) -> JobRun:
    """It runs from one minute to the other, wherever the pass places it; without an end, it runs on."""
    run = launch(tx, a_job_of(tx, customer, gpus=gpus, now=at(start), **spec).id, now=at(start))
    told(tx, run, running(run, at=at(start)))
    if end is not None:
        told(tx, run, ended(run, started_at=at(start), at=at(end)))
    found = jobs.run(tx, run.id)
    assert found is not None
    return found


def metered(tx: Transaction, minutes: float = 0, *, now: float = 60) -> None:
    """The hour's usage is built."""
    hour = hour_of(at(minutes))
    window = Window.hour(hour)
    replace_hour(tx, hour, usage_in(spans_in(tx, window), window), last_event_id=watermark(tx), now=at(now))


def a_statement(tx: Transaction, *, off: int = 0) -> None:
    """As the market has it: a line for each order, less a sale's fee of 1 %; and it was read just now."""
    tx.execute(
        """insert into market_transactions (cursor, at, kind, amount_cents, balance_cents, market_order_id, seen_at)
           select id, created_at, side || '_order',
               case side when 'buy' then -amount * 100 else round(amount * 99) + %s end, 0, market_id, created_at
           from orders""",
        [off],
    )
    tx.execute("insert into reconciliations (at, findings, figures) values (now(), '[]', '{}')")
