"""What moved on the account's balance, with Stripe's fee: 2.9% and 30 cents of a charge, kept when it is refunded."""

from decimal import ROUND_HALF_UP, Decimal

from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.identity import new_id
from sandbox.stripe.listing import chosen, listed
from sandbox.stripe.refusals import Object
from sandbox.stripe.world import World

_PERCENT = Decimal("0.029")
_FIXED = 30
_AVAILABLE_AFTER = 2 * 86_400


def charge_fee(cents: int) -> int:
    return int((cents * _PERCENT).quantize(Decimal(1), ROUND_HALF_UP)) + _FIXED


def move(
    world: World, *, cents: int, type: str, category: str, source: Object, at: int, description: str, fee: int = 0
) -> Object:
    fees = [
        {"amount": fee, "application": None, "currency": "usd", "description": "Stripe processing fees"}
        | {"type": "stripe_fee"}
    ]
    movement = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": cents,
        "available_on": at + _AVAILABLE_AFTER,
        "balance_type": "payments",
        "created": at,
        "currency": "usd",
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": fees if fee else [],
        "net": cents - fee,
        "reporting_category": category,
        "source": source["id"],
        "status": "pending",
        "type": type,
    }
    return world.store.add(movement)


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("balance_transaction", call.names["id"])


def list_all(world: World, call: Call) -> Object:
    conditions = chosen(call.params, "type", "source", "currency")
    return listed(world, call, "balance_transaction", *conditions)


def balance(world: World, call: Call) -> Object:
    """What is available now, and what will be."""
    nothing_else(call)
    sums = {"available": 0, "pending": 0}
    for movement in world.store.find("balance_transaction"):
        sums[world.renderer.shown(movement)["status"]] += movement["net"]
    shown = {
        name: [{"amount": cents, "currency": "usd", "source_types": {"card": cents}}] for name, cents in sums.items()
    }
    connected = [{"amount": 0, "currency": "usd"}]
    return {"object": "balance", "connect_reserved": connected, "livemode": False, **shown}


ROUTES: list[Route] = [
    ("GET", "/v1/balance", balance),
    ("GET", "/v1/balance_transactions", list_all),
    ("GET", "/v1/balance_transactions/{id}", retrieve),
]
