"""The kinds of machine that the market sells: learned from it, kept, and found by name or by GPU."""

from collections.abc import Iterable, Sequence

from scalar.database import Transaction
from scalar.errors import InvalidRequest
from scalar.jobs.model import Requirements
from scalar.market import store
from scalar.market.answers import Sku as MarketSku
from scalar.market.desk import Desk
from scalar.market.errors import MarketAnswerMalformed
from scalar.market.model import Sku


def learn(desk: Desk) -> list[Sku]:
    """Ask the market, and keep what it says. A kind of machine without GPUs is nothing to us."""
    told = [_sku(each) for each in desk.market.skus() if each.accelerator and each.num_accelerators]
    if not told:
        raise MarketAnswerMalformed("skus: a market that sells no kind of machine", path="data")
    with desk.transact() as tx:
        store.upsert_skus(tx, told, desk.clock())
    return told


def known(desk: Desk, *, sku: str | None, gpu_type: str | None) -> list[Sku]:
    """The kinds that this names; the market is asked where our own list has none. Raises: `InvalidRequest`."""
    with desk.transact() as tx:
        kept = store.skus(tx)
    return matching(kept, sku=sku, gpu_type=gpu_type) or named(learn(desk), sku=sku, gpu_type=gpu_type)


def could_buy(tx: Transaction, wanted: Requirements) -> bool:
    """Whether the market sells machines that could run it, as far as their GPUs go."""
    return any(wanted.gpus <= sku.gpus_per_node and wanted.gpu_type in (None, sku.gpu_type) for sku in store.skus(tx))


def matching(skus: Iterable[Sku], *, sku: str | None, gpu_type: str | None) -> list[Sku]:
    """`sku`: id or alias. `gpu_type`: in upper or lower case."""
    if sku is not None:
        return [each for each in skus if sku in (each.id, each.alias)][:1]
    return [each for each in skus if gpu_type is not None and each.gpu_type.lower() == gpu_type.lower()]


def named(skus: Sequence[Sku], *, sku: str | None, gpu_type: str | None) -> list[Sku]:
    """As `matching`. Raises: `InvalidRequest` where there is none, with what there is."""
    found = matching(skus, sku=sku, gpu_type=gpu_type)
    if not found:
        there_are = ", ".join(sorted(f"{each.alias} ({each.gpus_per_node} x {each.gpu_type})" for each in skus))
        raise InvalidRequest(f"The market has no {sku or gpu_type!r}. It has: {there_are}.")
    return found


def _sku(told: MarketSku) -> Sku:
    return Sku(
        id=told.id, alias=told.alias, gpu_type=str(told.accelerator), gpus_per_node=int(told.num_accelerators or 0)
    )
