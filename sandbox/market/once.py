"""Idempotency-Key: a request that comes again makes nothing new, and is told what the first one made."""

from collections.abc import Callable
from hashlib import sha256
from typing import Annotated

from fastapi import Header

from sandbox.market.refusals import Refusal
from sandbox.market.resources import Receipt, Token
from sandbox.market.wire import Body
from sandbox.market.world import World

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


def once(world: World, caller: Token, operation: str, key: str | None, body: Body, make: Callable[[], str]) -> str:
    """The id of what was made, now or before. `make` runs where the key is new, and is not remembered if it raises.

    Raises: `Refusal` where the key came with another body (rule `idempotency_conflict`).
    """
    if not key:
        return make()
    receipt_id = f"{caller.customer}:{operation}:{key}"
    digest = sha256(body.model_dump_json().encode()).hexdigest()
    before = world.shelves.receipts.get(receipt_id)
    if before is not None and _remembered(world, before):
        if before.digest != digest:
            raise _conflict(world.rules.idempotency_conflict)
        return before.made
    made = make()
    world.shelves.receipts.put(Receipt(id=receipt_id, digest=digest, made=made, at=int(world.now)))
    return made


def _remembered(world: World, receipt: Receipt) -> bool:
    hours = world.rules.idempotency_hours
    return hours == 0 or world.now < receipt.at + hours * 3600


def _conflict(status: int) -> Refusal:
    kind = "idempotency_error" if status == 400 else "conflict"
    return Refusal(status, "this Idempotency-Key came with another body before", type=kind)
