"""Money from a card: one try to pay a payment intent, which ends in a charge that succeeded or failed.

requires_payment_method ── attempt ──▶ succeeded
         ▲                    ├──────▶ requires_action ── authenticate ──▶ succeeded
         └──── declined ◀─────┘                         └── refused ─────▶ requires_payment_method
"""

from sandbox.stripe import balance_transactions, cards, disputes
from sandbox.stripe.balance_transactions import charge_fee
from sandbox.stripe.charges import new_charge, outcome
from sandbox.stripe.identity import new_id, random_text
from sandbox.stripe.payment_methods import declined
from sandbox.stripe.refusals import Object, Refusal, invalid
from sandbox.stripe.world import World

LEAST = 50


def check_amount(cents: int) -> None:
    """Raises: `Refusal` amount_too_small."""
    if cents < LEAST:
        message = "Amount must be at least $0.50 usd"
        raise invalid("amount", message, "amount_too_small")


def new_intent(world: World, cents: int, customer: str | None) -> Object:
    intent_id = new_id("pi")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": cents,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{intent_id}_secret_{random_text(25)}",
        "confirmation_method": "automatic",
        "created": world.time_of(customer),
        "currency": "usd",
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def cancel(world: World, intent: Object, reason: str | None) -> Object:
    at = world.time_of(intent["customer"])
    cancelled = {**intent, "status": "canceled", "canceled_at": at, "cancellation_reason": reason, "next_action": None}
    world.store.put(cancelled)
    world.emit("payment_intent.canceled", cancelled)
    return cancelled


def refusal(intent: Object) -> Refusal:
    """The error that a failed attempt is answered with; the failed charge stays."""
    error = intent["last_payment_error"]
    more = {"payment_intent": intent, "payment_method": error["payment_method"]}
    if error["type"] == "card_error":
        return declined(error["decline_code"], kept=True, charge=error["charge"], **more)
    return Refusal(402, error["message"], type="card_error", kept=True, code=error["code"], **more)


def attempt(world: World, intent: Object, method: Object, *, off_session: bool, authenticated: bool = False) -> Object:
    """The intent afterwards: succeeded, requires_action, or requires_payment_method with `last_payment_error`."""
    hidden = world.store.hidden(method["id"])
    intent = {**intent, "payment_method": method["id"], "last_payment_error": None, "next_action": None}
    if hidden["authenticates"] and not authenticated:
        if off_session:
            return _failed(world, intent, method, "authentication_required")
        return _asks_customer(world, intent)
    if hidden["declines"]:
        return _failed(world, intent, method, hidden["declines"])
    return _succeeded(world, intent, method, hidden["disputes"])


def refuse_authentication(world: World, intent: Object) -> Object:
    """The customer didn't authenticate the payment."""
    message = "The provided PaymentMethod has failed authentication."
    error = {"type": "invalid_request_error", "code": "payment_intent_authentication_failure", "message": message}
    return _to_be_paid_otherwise(world, intent, world.store[intent["payment_method"]], error)


def _asks_customer(world: World, intent: Object) -> Object:
    url = f"{world.base_url}/sandbox/v1/payment_intents/{intent['id']}/authenticate"
    intent |= {
        "status": "requires_action",
        "next_action": {"type": "redirect_to_url", "redirect_to_url": {"return_url": None, "url": url}},
    }
    world.store.put(intent)
    world.emit("payment_intent.requires_action", intent)
    return intent


def _succeeded(world: World, intent: Object, method: Object, disputed_for: str | None) -> Object:
    at, cents = world.time_of(intent["customer"]), intent["amount"]
    charge = new_charge(world, intent, method, at)
    fee = charge_fee(cents)
    what = charge["description"] or f"Charge of {charge['id']}"
    moved = balance_transactions.move(
        world, cents=cents, type="charge", category="charge", source=charge, at=at, description=what, fee=fee
    )
    charge |= {"balance_transaction": moved["id"], "amount_captured": cents, "captured": True}
    world.store.add(charge, parent=intent["id"])
    world.emit("charge.succeeded", charge)
    intent |= {"status": "succeeded", "amount_received": cents, "latest_charge": charge["id"]}
    world.store.put(intent)
    world.emit("payment_intent.succeeded", intent)
    if disputed_for:
        disputes.open_dispute(world, charge, reason=disputed_for)
    return intent


def _failed(world: World, intent: Object, method: Object, decline_code: str) -> Object:
    at = world.time_of(intent["customer"])
    code, message = cards.code_of(decline_code), cards.message_of(decline_code)
    charge = new_charge(world, intent, method, at) | {
        "status": "failed",
        "paid": False,
        "failure_code": code,
        "failure_message": message,
        "outcome": outcome(decline_code),
    }
    world.store.add(charge, parent=intent["id"])
    world.emit("charge.failed", charge)
    intent = {**intent, "latest_charge": charge["id"]}
    error = {
        "type": "card_error",
        "code": code,
        "decline_code": decline_code,
        "message": message,
        "charge": charge["id"],
    }
    return _to_be_paid_otherwise(world, intent, method, error)


def _to_be_paid_otherwise(world: World, intent: Object, method: Object, error: Object) -> Object:
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": {**error, "payment_method": method},
    }
    world.store.put(intent)
    world.emit("payment_intent.payment_failed", intent)
    return intent
