"""Charges: each try to take money from a card, whether it succeeded or not."""

from typing import Any

from sandbox.stripe import cards
from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.identity import ACCOUNT, new_id
from sandbox.stripe.listing import chosen, listed, of_customer, of_parent
from sandbox.stripe.refusals import Object
from sandbox.stripe.world import World


def new_charge(world: World, intent: Object, method: Object, at: int) -> Object:
    """One that went well, not yet captured."""
    charge_id = new_id("ch")
    return {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "SANDBOX",
        "captured": False,
        "created": at,
        "currency": "usd",
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": outcome(),
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _details(method["card"], intent["amount"]),
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"{world.base_url}/receipts/{ACCOUNT}/{charge_id}",
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def outcome(decline_code: str | None = None) -> Object:
    return {
        "advice_code": "try_again_later" if decline_code == "insufficient_funds" else None,
        "network_advice_code": None,
        "network_decline_code": "05" if decline_code else None,
        "network_status": "declined_by_network" if decline_code else "approved_by_network",
        "reason": decline_code,
        "seller_message": cards.message_of(decline_code) if decline_code else "Payment complete.",
        "type": "issuer_declined" if decline_code else "authorized",
    }


def _details(card: Object, cents: int) -> Object:
    same = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    unavailable = {"status": "unavailable"}
    details: dict[str, Any] = {
        **{name: card[name] for name in same},
        "amount_authorized": cents,
        "authorization_code": "123456",
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": unavailable,
        "installments": None,
        "mandate": None,
        "multicapture": unavailable,
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": "123456789012345",
        "overcapture": {"maximum_amount_capturable": cents, **unavailable},
        "regulated_status": card["regulated_status"],
        "three_d_secure": None,
        "transaction_link_id": None,
        "wallet": None,
    }
    return {"card": details, "type": "card"}


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("charge", call.names["charge"])


def update(world: World, call: Call) -> Object:
    before = world.get("charge", call.names["charge"])
    charge = {**before, "metadata": call.params.metadata(before["metadata"])}
    if call.params.has("description"):
        charge["description"] = call.params.text("description")
    call.params.finish()
    return world.changed("charge.updated", before, charge)


def list_all(world: World, call: Call) -> Object:
    return listed(world, call, "charge", *of_customer(call.params), *chosen(call.params, "payment_intent"))


def list_refunds(world: World, call: Call) -> Object:
    charge = world.get("charge", call.names["charge"])
    return listed(world, call, "refund", of_parent(charge["id"]))


ROUTES: list[Route] = [
    ("GET", "/v1/charges", list_all),
    ("GET", "/v1/charges/{charge}", retrieve),
    ("POST", "/v1/charges/{charge}", update),
    ("GET", "/v1/charges/{charge}/refunds", list_refunds),
]
