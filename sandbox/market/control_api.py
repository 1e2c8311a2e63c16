"""/sandbox: what no real market has. Its clock, its faults, its rules, its traders; free money and new tokens.

Nobody is asked for a token here, which is why the server listens on the loopback interface only.
"""

from dataclasses import asdict, replace
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from sandbox.market import lookups, settings
from sandbox.market.access import TheWorld
from sandbox.market.faults import MEANINGS, Fault, FaultKind
from sandbox.market.refusals import Refusal, invalid, missing
from sandbox.market.resources import new_id
from sandbox.market.values import TransactionKind
from sandbox.market.world import CUSTOMER, World

router = APIRouter(prefix="/sandbox")

_DAY = 86_400


class _Control(BaseModel):
    """A misspelt field is an error: nothing is ignored where somebody tests."""

    model_config = ConfigDict(extra="forbid")


class MoveClock(_Control):
    advance_seconds: Annotated[float, Field(ge=0)]


class NewFault(_Control):
    kind: FaultKind
    method: str | None = None
    path: str = ".*"
    times: Annotated[int | None, Field(ge=1)] = None
    until: float | None = None
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seconds: Annotated[float, Field(ge=0)] = 1.0
    retry_after: Annotated[int, Field(ge=0)] = 1
    status: Annotated[int, Field(ge=500, le=599)] = 500
    field: str = "data"
    to: str = "items"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    instance: str | None = None


class Deposit(_Control):
    dollars: Annotated[Decimal, Field(gt=0, max_digits=15, decimal_places=6)]
    customer: str = CUSTOMER
    refund: bool = False


class NewToken(_Control):
    customer: str = CUSTOMER
    name: str = "token"
    expires_in_seconds: float | None = None
    dollars: Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=6)] = Decimal(0)


class ChangeTraders(_Control):
    sku: str | None = None
    enabled: bool | None = None
    price_factor: Annotated[float | None, Field(gt=0)] = None
    supply: Annotated[float | None, Field(ge=0)] = None
    demand: Annotated[float | None, Field(ge=0)] = None


@router.get("/clock")
def clock(world: TheWorld) -> Any:
    return {"now": world.clock.now(), "speed": world.clock.anchor.speed, "tick_seconds": world.options.tick}


@router.post("/clock")
def move_clock(body: MoveClock, world: TheWorld) -> Any:
    """Answers when all that fell due on the way is done."""
    return {"now": world.move_clock(body.advance_seconds)}


@router.get("/faults")
def list_faults(world: TheWorld) -> Any:
    return {"faults": [asdict(fault) for fault in world.faults.all()], "kinds": MEANINGS}


@router.post("/faults", status_code=201)
def add_fault(body: NewFault, world: TheWorld) -> Any:
    if body.kind == "dies":
        with world.turn() as now:
            dead = world.fleet.fail(lookups.canonical(body.instance) if body.instance else None, now)
        if dead is None:
            raise missing("running instance", body.instance or "any")
        return {"kind": "dies", "instance": dead.id}
    return asdict(world.faults.add(Fault(id="", **body.model_dump())))


@router.delete("/faults")
def remove_faults(world: TheWorld) -> Any:
    return {"removed": world.faults.remove()}


@router.delete("/faults/{id}", status_code=204)
def remove_fault(id: str, world: TheWorld) -> None:
    if not world.faults.remove(id):
        raise missing("fault", id)


@router.get("/rules")
def rules(world: TheWorld) -> Any:
    return {"rules": settings.explained(world.engine.rules, world.rules)}


@router.patch("/rules")
def change_rules(body: dict[str, Any], world: TheWorld) -> Any:
    with world.turn():
        try:
            world.shelves.rules.put(settings.changed(world.rules, body))
        except settings.UnknownRule as error:
            raise invalid("rules", f"{error}; the engine's rules are fixed at the start") from error
        return {"rules": settings.explained(world.engine.rules, world.rules)}


@router.post("/deposit")
def deposit(body: Deposit, world: TheWorld) -> Any:
    with world.turn() as now:
        customer = _customer(world, body.customer)
        kind = TransactionKind.REFUND if body.refund else TransactionKind.DEPOSIT
        world.engine.deposit(customer, int(body.dollars * 1_000_000), int(now), kind=kind)
        return {"customer": customer, "cash_micros": world.engine.account(customer).cash}


@router.get("/state")
def state(world: TheWorld) -> Any:
    """Everything, at one moment."""
    with world.turn() as now:
        accounts = [world.engine.account(one.id) for one in world.shelves.customers]
        return {
            "now": now,
            "options": {"seed": world.options.seed, "clock": world.options.clock, "machines": world.options.machines},
            "accounts": [{"id": one.id, "cash_micros": one.cash, "reserved_micros": one.reserved} for one in accounts],
            "fees_micros": world.engine.fees,
            "skus": [_book(world, sku, now) for sku in sorted(world.skus)],
            "instances": [{"id": one.id, "status": one.status} for one in world.shelves.instances],
            "orders": len(world.shelves.orders),
            "trades": len(world.engine.trades()),
            "faults": [asdict(fault) for fault in world.faults.all()],
        }


@router.post("/tokens", status_code=201)
def new_token(body: NewToken, world: TheWorld) -> Any:
    """For a customer, who is made if there is none. The secret is told this once."""
    with world.turn() as now:
        if world.shelves.customers.get(body.customer) is None:
            if not body.customer.startswith("acct_"):
                raise invalid("customer", "a customer's id starts with acct_")
            cash = int(body.dollars * 1_000_000)
            world.new_customer(body.customer, body.customer.removeprefix("acct_"), cash)
        lifetime = world.rules.token_days * _DAY if body.expires_in_seconds is None else body.expires_in_seconds
        secret = f"sk_live_{new_id('x')[2:]}{new_id('x')[2:]}"
        token = world.new_token(body.customer, secret, body.name, int(now + lifetime))
        return {"id": token.token_id, "token": secret, "expires_at": token.expires_at, "customer": token.customer}


@router.get("/tokens")
def list_tokens(world: TheWorld) -> Any:
    with world.turn():
        return {
            "tokens": [
                {"id": one.token_id, "name": one.name, "customer": one.customer, "expires_at": one.expires_at}
                for one in world.shelves.tokens
            ]
        }


@router.post("/tokens/{id}/expire", status_code=204)
def expire_token(id: str, world: TheWorld) -> None:
    with world.turn() as now:
        for token in world.shelves.tokens:
            if token.token_id == id:
                world.shelves.tokens.put(replace(token, expires_at=int(now)))
                return
        raise missing("token", id)


@router.get("/traders")
def traders(world: TheWorld) -> Any:
    with world.turn() as now:
        return {"traders": [_book(world, sku, now) for sku in sorted(world.skus)]}


@router.patch("/traders")
def change_traders(body: ChangeTraders, world: TheWorld) -> Any:
    """Of one SKU or all. They quote anew at once; a price_factor of 2 doubles what they think is fair."""
    with world.turn() as now:
        skus = [lookups.sku(world, body.sku).id] if body.sku else sorted(world.skus)
        values = body.model_dump(exclude={"sku"}, exclude_none=True)
        for sku in skus:
            world.traders.change(replace(world.shelves.traders[sku], **values), now)
        return {"traders": [_book(world, sku, now) for sku in skus]}


def _book(world: World, sku: str, now: float) -> dict[str, Any]:
    state = asdict(world.shelves.traders[sku])
    return {
        **state,
        "standing": len(state["standing"]),
        "fair_dollars_per_gpu_hour": round(world.traders.fair_price(sku, now), 4),
    }


def _customer(world: World, id: str) -> str:
    if world.shelves.customers.get(id) is None:
        raise Refusal(404, f"no such customer: {id}")
    return id
