"""Payment intents: made for an amount and confirmed with a card, or made by an invoice and paid through it."""

from sandbox.stripe import charging, collecting, payment_methods, settling
from sandbox.stripe.calls import Call, Route, nothing_else, text_fields
from sandbox.stripe.form import Params
from sandbox.stripe.listing import listed, of_customer
from sandbox.stripe.refusals import Object, Refusal, invalid
from sandbox.stripe.world import World

_TO_CONFIRM = ("requires_payment_method", "requires_confirmation")


def create(world: World, call: Call) -> Object:
    params = call.params
    intent = _asked(world, params)
    card, confirms, off_session = params.text("payment_method"), params.flag("confirm"), params.flag("off_session")
    params.finish()
    world.store.add(intent)
    world.emit("payment_intent.created", intent)
    intent = _with_method(world, intent, card)
    return _confirmed(world, intent, off_session=bool(off_session)) if confirms else intent


def retrieve(world: World, call: Call) -> Object:
    call.params.ignore("client_secret")
    nothing_else(call)
    return world.get("payment_intent", call.names["intent"])


def update(world: World, call: Call) -> Object:
    params = call.params
    before = world.get("payment_intent", call.names["intent"])
    intent = {**before, "metadata": params.metadata(before["metadata"])}
    text_fields(intent, params, "description", "receipt_email")
    cents = params.cents("amount")
    card = params.text("payment_method")
    params.finish()
    if cents is not None or card is not None:
        _must_be(before, _TO_CONFIRM, "update")
    if cents is not None:
        charging.check_amount(cents)
        intent["amount"] = cents
    return _with_method(world, world.store.put(intent), card)


def confirm(world: World, call: Call) -> Object:
    params = call.params
    intent = world.get("payment_intent", call.names["intent"])
    card, off_session = params.text("payment_method"), params.flag("off_session")
    _ignored(params)
    params.finish()
    _must_be(intent, _TO_CONFIRM, "confirm")
    return _confirmed(world, _with_method(world, intent, card), off_session=bool(off_session))


def cancel(world: World, call: Call) -> Object:
    reason = call.params.choice(
        "cancellation_reason", "duplicate", "fraudulent", "requested_by_customer", "abandoned"
    )  # fmt: skip
    call.params.finish()
    intent = world.get("payment_intent", call.names["intent"])
    _must_be(intent, (*_TO_CONFIRM, "requires_action"), "cancel")
    if settling.invoice_of(world, intent) is not None:
        raise invalid("intent", "You cannot cancel a PaymentIntent that was made by an invoice: void the invoice.")
    return charging.cancel(world, intent, reason)


def list_all(world: World, call: Call) -> Object:
    return listed(world, call, "payment_intent", *of_customer(call.params))


def authenticate(world: World, id: str, *, succeeds: bool) -> Object:
    """The customer's answer to what `requires_action` asks."""
    intent = world.get("payment_intent", id)
    _must_be(intent, ("requires_action",), "authenticate")
    if not succeeds:
        intent = charging.refuse_authentication(world, intent)
    else:
        method = world.store[intent["payment_method"]]
        intent = charging.attempt(world, intent, method, off_session=False, authenticated=True)
    collecting.intent_moved(world, intent)
    return intent


def _asked(world: World, params: Params) -> Object:
    cents = params.cents("amount")
    if cents is None:
        raise params.lacks("amount")
    params.required("currency")
    params.currency()
    charging.check_amount(cents)
    customer = params.text("customer")
    if customer is not None:
        world.live("customer", customer, "customer")
    intent = charging.new_intent(world, cents, customer) | {"metadata": params.metadata()}
    text_fields(intent, params, "description", "receipt_email", "statement_descriptor", "setup_future_usage")
    params.choice("capture_method", "automatic", "automatic_async")
    params.texts("payment_method_types")
    automatic = params.nested("automatic_payment_methods")
    if automatic is not None:
        automatic.ignore("allow_redirects")
        intent["automatic_payment_methods"] = {"enabled": bool(automatic.flag("enabled"))}
    _ignored(params)
    return intent


def _ignored(params: Params) -> None:
    params.ignore("return_url", "setup_future_usage", "error_on_requires_action", "use_stripe_sdk")


def _with_method(world: World, intent: Object, card: str | None) -> Object:
    if card is None:
        return intent
    method = payment_methods.usable(world, card, "payment_method")
    if method["customer"] is not None and method["customer"] != intent["customer"]:
        message = "The provided PaymentMethod belongs to another Customer."
        raise invalid("payment_method", message, "payment_intent_incompatible_payment_method")
    return world.store.put({**intent, "payment_method": method["id"], "status": "requires_confirmation"})


def _confirmed(world: World, intent: Object, *, off_session: bool) -> Object:
    if intent["payment_method"] is None:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise _unexpected(intent, message)
    method = world.store[intent["payment_method"]]
    intent = charging.attempt(world, intent, method, off_session=off_session)
    collecting.intent_moved(world, intent)
    if intent["last_payment_error"] is not None:
        raise charging.refusal(intent)
    return intent


def _must_be(intent: Object, statuses: tuple[str, ...], deed: str) -> None:
    if intent["status"] not in statuses:
        message = f"You cannot {deed} this PaymentIntent because it has a status of {intent['status']}."
        raise _unexpected(intent, message)


def _unexpected(intent: Object, message: str) -> Refusal:
    return Refusal(400, message, code="payment_intent_unexpected_state", payment_intent=intent)


ROUTES: list[Route] = [
    ("POST", "/v1/payment_intents", create),
    ("GET", "/v1/payment_intents", list_all),
    ("GET", "/v1/payment_intents/{intent}", retrieve),
    ("POST", "/v1/payment_intents/{intent}", update),
    ("POST", "/v1/payment_intents/{intent}/confirm", confirm),
    ("POST", "/v1/payment_intents/{intent}/cancel", cancel),
]
