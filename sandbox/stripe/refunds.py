"""Refunds of charges, whole or in part. The fee of the charge is not given back.

    succeeded                          most cards
    pending   ─► succeeded | failed    a day later, where the card `refunds` so
    succeeded ─► failed

The money leaves the balance when a refund is made, and comes back, by a movement of its own, when it fails.
"""

from sandbox.stripe import balance_transactions
from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.identity import new_id
from sandbox.stripe.listing import chosen, listed
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.world import World

_SETTLED_AFTER = 86_400
_FAILURE = "expired_or_canceled_card"


def refund_charge(
    world: World, charge: Object, cents: int | None, *, reason: str | None = None, metadata: Object | None = None
) -> Object:
    """What is left of the charge, or `cents` of it. Raises: `Refusal`."""
    left = charge["amount"] - charge["amount_refunded"]
    cents = left if cents is None else cents
    _check(charge, cents, left)
    at = world.time_of(charge["customer"])
    how = world.store.hidden(charge["payment_method"]).get("refunds")
    refund = _new(charge, at, cents, reason, metadata or {})
    refund["status"] = "pending" if how in {"pending", "pending_fails"} else "succeeded"
    moved = balance_transactions.move(
        world, cents=-cents, type="refund", category="refund", source=refund, at=at,
        description=f"REFUND FOR CHARGE ({charge['id']})",
    )  # fmt: skip
    refund["balance_transaction"] = moved["id"]
    world.store.add(refund, parent=charge["id"], settles=how)
    if how:
        world.later(at + _SETTLED_AFTER, "settle_refund", refund)
    refunded = charge["amount_refunded"] + cents
    after = {**charge, "amount_refunded": refunded, "refunded": refunded == charge["amount"]}
    world.store.put(after)
    world.emit("refund.created", refund)
    world.emit("charge.refunded", after, previous={"amount_refunded": charge["amount_refunded"]})
    return refund


def settle(world: World, id: str) -> None:
    """The card's bank has answered."""
    refund = world.store[id]
    if world.store.hidden(id)["settles"] == "pending":
        world.changed("refund.updated", refund, {**refund, "status": "succeeded"})
    else:
        _fail(world, refund)


def _fail(world: World, refund: Object) -> None:
    charge = world.store[refund["charge"]]
    moved = balance_transactions.move(
        world, cents=refund["amount"], type="refund_failure", category="refund_failure", source=refund,
        at=world.time_of(refund["customer"]), description=f"REFUND FAILURE ({charge['id']})",
    )  # fmt: skip
    failed = {"status": "failed", "failure_reason": _FAILURE, "failure_balance_transaction": moved["id"]}
    world.store.put({**charge, "amount_refunded": charge["amount_refunded"] - refund["amount"], "refunded": False})
    world.changed("refund.updated", refund, {**refund, **failed})
    world.emit("refund.failed", world.store[refund["id"]])


def create(world: World, call: Call) -> Object:
    params = call.params
    charge = _charge(world, params.text("charge"), params.text("payment_intent"))
    cents = params.cents("amount", least=1)
    reason = params.choice("reason", "duplicate", "fraudulent", "requested_by_customer")
    metadata = params.metadata()
    params.finish()
    return refund_charge(world, charge, cents, reason=reason, metadata=metadata)


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("refund", call.names["refund"])


def update(world: World, call: Call) -> Object:
    before = world.get("refund", call.names["refund"])
    refund = {**before, "metadata": call.params.metadata(before["metadata"])}
    call.params.finish()
    return world.changed("refund.updated", before, refund)


def list_all(world: World, call: Call) -> Object:
    return listed(world, call, "refund", *chosen(call.params, "charge", "payment_intent"))


def _charge(world: World, charge: str | None, intent: str | None) -> Object:
    if charge is not None:
        return world.get("charge", charge, "charge")
    if intent is None:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid(None, message)
    found = world.get("payment_intent", intent, "payment_intent")
    if found["status"] != "succeeded":
        message = f"This PaymentIntent ({intent}) does not have a successful charge to refund."
        raise invalid("payment_intent", message)
    return world.store[found["latest_charge"]]


def _check(charge: Object, cents: int, left: int) -> None:
    if not charge["paid"]:
        raise invalid("charge", f"Charge {charge['id']} failed: there is nothing to refund.")
    if charge["disputed"]:
        raise invalid(
            "charge", f"Charge {charge['id']} has been charged back; cannot issue a refund.", "charge_disputed"
        )
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise invalid("charge", message, "charge_already_refunded")
    if cents > left:
        wanted, rest = _dollars(cents), _dollars(left)
        raise invalid("amount", f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({rest})")


def _dollars(cents: int) -> str:
    return f"${cents // 100}.{cents % 100:02d}"


def _new(charge: Object, at: int, cents: int, reason: str | None, metadata: Object) -> Object:
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": cents,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": at,
        "currency": "usd",
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


ROUTES: list[Route] = [
    ("POST", "/v1/refunds", create),
    ("GET", "/v1/refunds", list_all),
    ("GET", "/v1/refunds/{refund}", retrieve),
    ("POST", "/v1/refunds/{refund}", update),
]
