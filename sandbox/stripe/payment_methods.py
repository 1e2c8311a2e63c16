"""Cards as payment methods: made from a test token, attached to one customer, and detached for good."""

from typing import Any

from sandbox.stripe import cards
from sandbox.stripe.calls import Call, Route, address, nothing_else, text_fields
from sandbox.stripe.cards import Card
from sandbox.stripe.form import Params
from sandbox.stripe.identity import new_id
from sandbox.stripe.listing import chosen, listed, of_customer
from sandbox.stripe.refusals import Object, Refusal, invalid, missing
from sandbox.stripe.store import Where
from sandbox.stripe.world import World


def create(world: World, call: Call) -> Object:
    params = call.params
    if params.required("type") != "card":
        raise invalid("type", "Only payment methods of type card are played here")
    given = params.nested("card")
    if given is None:
        raise params.lacks("card")
    card = _asked(given)
    method = _new(world.now, card)
    _read(method, params)
    params.finish()
    return _added(world, method, card)


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return usable(world, call.names["payment_method"], None)


def update(world: World, call: Call) -> Object:
    before = world.get("payment_method", call.names["payment_method"])
    method = {**before, "billing_details": dict(before["billing_details"]), "card": dict(before["card"])}
    _read(method, call.params)
    card = call.params.nested("card")
    for name in ("exp_month", "exp_year"):
        value = card.integer(name) if card else None
        method["card"][name] = method["card"][name] if value is None else value
    call.params.finish()
    return world.changed("payment_method.updated", before, method)


def attach(world: World, call: Call) -> Object:
    customer = call.params.required("customer")
    call.params.finish()
    method = usable(world, call.names["payment_method"], None)
    world.live("customer", customer, "customer")
    return attach_to(world, method, customer)


def detach(world: World, call: Call) -> Object:
    nothing_else(call)
    method = world.get("payment_method", call.names["payment_method"])
    if method["customer"] is None:
        raise invalid("payment_method", "The payment method you provided is not attached to a customer.")
    return detach_from(world, method)


def list_all(world: World, call: Call) -> Object:
    mine = of_customer(call.params) or [Where(sql="customer is not null")]
    return listed(world, call, "payment_method", *mine, *chosen(call.params, "type"))


def list_of_customer(world: World, call: Call) -> Object:
    customer = world.live("customer", call.names["customer"])
    mine = Where(sql="customer = ?", values=(customer["id"],))
    return listed(world, call, "payment_method", mine, *chosen(call.params, "type"))


def retrieve_of_customer(world: World, call: Call) -> Object:
    nothing_else(call)
    method = world.get("payment_method", call.names["payment_method"])
    if method["customer"] != call.names["customer"]:
        raise missing("payment_method", method["id"])
    return method


def usable(world: World, id: str, param: str | None, *, customer: str | None = None) -> Object:
    """The payment method with an id; a test token makes a new one, attached to `customer` where there is one.

    Raises: `Refusal` where there is none.
    """
    card = cards.by_token(id)
    if card is None:
        return world.get("payment_method", id, param)
    method = _added(world, _new(world.time_of(customer), card), card)
    return method if customer is None else attach_to(world, method, customer)


def attach_to(world: World, method: Object, customer: str) -> Object:
    """Raises: `Refusal`, a card_error where the card declines to be attached."""
    hidden = world.store.hidden(method["id"])
    if method["customer"] == customer:
        return method
    if method["customer"] is not None or hidden.get("detached"):
        raise invalid(
            "payment_method",
            "The payment method you provided has already been attached to a customer."
            if method["customer"]
            else "This PaymentMethod was previously detached from a Customer. It may not be used again.",
            "payment_method_unexpected_state",
        )
    if hidden["declines"] and not hidden["attaches"]:
        raise declined(hidden["declines"], kept=False)
    attached = world.store.put({**method, "customer": customer})
    world.emit("payment_method.attached", attached)
    return attached


def detach_from(world: World, method: Object) -> Object:
    customer = world.store.get(method["customer"])
    if customer and not customer.get("deleted"):
        settings = customer["invoice_settings"]
        if settings["default_payment_method"] == method["id"]:
            after = {**customer, "invoice_settings": {**settings, "default_payment_method": None}}
            world.changed("customer.updated", customer, after)
    detached = world.store.put({**method, "customer": None})
    world.store.hide(method["id"], detached=True)
    world.emit("payment_method.detached", detached, previous={"customer": method["customer"]})
    return detached


def declined(decline_code: str, *, kept: bool, **more: Any) -> Refusal:
    """A card_error."""
    code, message = cards.code_of(decline_code), cards.message_of(decline_code)
    return Refusal(402, message, type="card_error", kept=kept, code=code, decline_code=decline_code, **more)


def _asked(params: Params) -> Card:
    token, number = params.text("token"), params.text("number")
    params.ignore("exp_month", "exp_year", "cvc")
    card = cards.by_token(token) if token else cards.by_number(number or "")
    if card is None:
        raise invalid("card[token]" if token else "card[number]", "Your card was declined: it is not a test card.")
    return card


def _read(method: Object, params: Params) -> None:
    method["metadata"] = params.metadata(method["metadata"])
    details = params.nested("billing_details")
    if details is not None:
        text_fields(method["billing_details"], details, "email", "name", "phone")
        if details.has("address"):
            method["billing_details"]["address"] = address(details.nested("address"))


def _added(world: World, method: Object, card: Card) -> Object:
    return world.store.add(
        method,
        declines=card.declines,
        attaches=card.attaches,
        authenticates=card.authenticates,
        disputes=card.disputes,
        refunds=card.refunds,
    )


def _new(at: int, card: Card) -> Object:
    nowhere = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": nowhere, "email": None, "name": None, "phone": None, "tax_id": None},
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": card.country,
            "display_brand": card.brand,
            "exp_month": 8,
            "exp_year": 2040,
            "fingerprint": card.fingerprint,
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": at,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }


ROUTES: list[Route] = [
    ("POST", "/v1/payment_methods", create),
    ("GET", "/v1/payment_methods", list_all),
    ("GET", "/v1/payment_methods/{payment_method}", retrieve),
    ("POST", "/v1/payment_methods/{payment_method}", update),
    ("POST", "/v1/payment_methods/{payment_method}/attach", attach),
    ("POST", "/v1/payment_methods/{payment_method}/detach", detach),
    ("GET", "/v1/customers/{customer}/payment_methods", list_of_customer),
    ("GET", "/v1/customers/{customer}/payment_methods/{payment_method}", retrieve_of_customer),
]
