"""Customers, and the balance that invoices take into account: what is below zero is credit, what is above is owed."""

from sandbox.stripe import payment_methods
from sandbox.stripe.calls import Call, Route, address, nothing_else, text_fields
from sandbox.stripe.form import Params
from sandbox.stripe.identity import new_id, random_text
from sandbox.stripe.listing import chosen, listed
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import Where, field_is
from sandbox.stripe.world import World

_TEXTS = ("description", "email", "name", "phone")


def create(world: World, call: Call) -> Object:
    params = call.params
    clock = params.text("test_clock")
    if clock is not None:
        world.get("test_helpers.test_clock", clock, "test_clock")
    customer = _new(world.now if clock is None else int(world.store[clock]["frozen_time"]), clock)
    card = params.text("payment_method")
    balance = params.integer("balance") or 0
    customer["invoice_prefix"] = params.text("invoice_prefix") or customer["invoice_prefix"]
    default = _read(customer, params)
    params.finish()
    world.store.add(customer)
    if card is not None:
        method = payment_methods.usable(world, card, "payment_method")
        attached = payment_methods.attach_to(world, method, customer["id"])
        default = attached["id"] if default == card else default
    _choose_default(world, customer, default)
    world.store.put(customer)
    world.emit("customer.created", customer)
    if balance:
        move_balance(world, customer, balance, "initial")
    return customer


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("customer", call.names["customer"])


def update(world: World, call: Call) -> Object:
    params = call.params
    before = world.live("customer", call.names["customer"])
    customer = {**before, "invoice_settings": dict(before["invoice_settings"])}
    default = _read(customer, params)
    balance = params.integer("balance")
    params.finish()
    _choose_default(world, customer, default)
    if balance is not None and balance != before["balance"]:
        move_balance(world, customer, balance - before["balance"], "adjustment")
    return world.changed("customer.updated", before, customer)


def delete(world: World, call: Call) -> Object:
    nothing_else(call)
    customer = world.live("customer", call.names["customer"])
    return remove(world, customer)


def remove(world: World, customer: Object) -> Object:
    """Its cards go with it; its invoices stay."""
    world.emit("customer.deleted", customer)
    for card in world.store.find("payment_method", Where(sql="customer = ?", values=(customer["id"],))):
        payment_methods.detach_from(world, card)
    gone = {"id": customer["id"], "object": "customer", "deleted": True}
    return world.store.put(gone)


def list_all(world: World, call: Call) -> Object:
    alive = Where(sql="json_extract(body, '$.deleted') is null")
    return listed(world, call, "customer", alive, *chosen(call.params, "email", "test_clock"))


def move_balance(
    world: World, customer: Object, cents: int, type: str, *, invoice: str | None = None, credit_note: str | None = None
) -> Object:
    """A movement of the balance; `customer` is changed and kept."""
    customer["balance"] += cents
    movement = {
        "id": new_id("cbtxn"),
        "object": "customer_balance_transaction",
        "amount": cents,
        "checkout_session": None,
        "created": world.time_of(customer["id"]),
        "credit_note": credit_note,
        "currency": "usd",
        "customer": customer["id"],
        "customer_account": None,
        "description": None,
        "ending_balance": customer["balance"],
        "invoice": invoice,
        "livemode": False,
        "metadata": {},
        "type": type,
    }
    world.store.put(customer)
    return world.store.add(movement, parent=customer["id"])


def create_balance_transaction(world: World, call: Call) -> Object:
    params = call.params
    customer = world.live("customer", call.names["customer"])
    before = dict(customer)
    cents = params.integer("amount")
    if cents is None:
        raise params.lacks("amount")
    params.currency()
    description, metadata = params.text("description"), params.metadata()
    params.finish()
    movement = move_balance(world, customer, cents, "adjustment")
    world.changed("customer.updated", before, customer)
    return world.store.put({**movement, "description": description, "metadata": metadata})


def list_balance_transactions(world: World, call: Call) -> Object:
    customer = world.get("customer", call.names["customer"])
    of_it = Where(sql="customer = ?", values=(customer["id"],))
    return listed(world, call, "customer_balance_transaction", of_it, *chosen(call.params, "invoice"))


def retrieve_balance_transaction(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("customer_balance_transaction", call.names["transaction"])


def _read(customer: Object, params: Params) -> str | None:
    """What may be given at any time; the card that is to be the default for invoices."""
    text_fields(customer, params, *_TEXTS)
    customer["metadata"] = params.metadata(customer["metadata"])
    customer["tax_exempt"] = params.choice("tax_exempt", "none", "exempt", "reverse") or customer["tax_exempt"]
    if params.has("address"):
        customer["address"] = address(params.nested("address"))
    if params.has("shipping"):
        customer["shipping"] = _shipping(params.nested("shipping"))
    if params.has("preferred_locales"):
        customer["preferred_locales"] = params.texts("preferred_locales")
    settings = params.nested("invoice_settings")
    if settings is None:
        return None
    text_fields(customer["invoice_settings"], settings, "footer")
    chosen_card = settings.text("default_payment_method")
    if settings.has("default_payment_method") and chosen_card is None:
        customer["invoice_settings"]["default_payment_method"] = None
    return chosen_card


def _shipping(params: Params | None) -> Object | None:
    if params is None:
        return None
    return {
        "address": address(params.nested("address")),
        "name": params.text("name"),
        "phone": params.text("phone"),
    }


def _choose_default(world: World, customer: Object, card: str | None) -> None:
    if card is None:
        return
    param = "invoice_settings[default_payment_method]"
    found = payment_methods.usable(world, card, param, customer=customer["id"])
    if found["customer"] != customer["id"]:
        raise invalid(
            param,
            f"The customer does not have a payment method with the ID {card}. The payment method must be attached to"
            " the customer.",
            "resource_missing",
        )
    customer["invoice_settings"]["default_payment_method"] = found["id"]


def _new(at: int, clock: str | None) -> Object:
    return {
        "id": new_id("cus"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": at,
        "currency": "usd",
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": random_text(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": clock,
    }


def on_clock(world: World, clock: str) -> list[Object]:
    return world.store.find("customer", field_is("test_clock", clock))


ROUTES: list[Route] = [
    ("POST", "/v1/customers", create),
    ("GET", "/v1/customers", list_all),
    ("GET", "/v1/customers/{customer}", retrieve),
    ("POST", "/v1/customers/{customer}", update),
    ("DELETE", "/v1/customers/{customer}", delete),
    ("POST", "/v1/customers/{customer}/balance_transactions", create_balance_transaction),
    ("GET", "/v1/customers/{customer}/balance_transactions", list_balance_transactions),
    ("GET", "/v1/customers/{customer}/balance_transactions/{transaction}", retrieve_balance_transaction),
]
