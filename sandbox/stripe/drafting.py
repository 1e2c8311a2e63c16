"""A draft: the invoice's fields, its lines from invoice items, and its totals. Nothing here touches an open invoice.

What is due is the total and the customer's balance: a balance below zero pays for it, one above is collected with it.
An amount below Stripe's least charge isn't collected: it is carried on the balance to the next invoice.
"""

from dataclasses import dataclass
from typing import Any

from sandbox.stripe.charging import LEAST
from sandbox.stripe.identity import new_id
from sandbox.stripe.refusals import Object
from sandbox.stripe.store import Where, field_is
from sandbox.stripe.world import World


@dataclass(frozen=True, kw_only=True)
class Due:
    """What is collected of an invoice, and the customer's balance afterwards, in cents."""

    amount: int
    balance: int


def due_of(total: int, balance: int) -> Due:
    owed = total + balance
    return Due(amount=owed, balance=0) if owed >= LEAST else Due(amount=0, balance=owed)


def pending_items(world: World, customer: str) -> list[Object]:
    """Newest first, as they stand on an invoice."""
    of_it = Where(sql="customer = ?", values=(customer,))
    free = Where(sql="json_extract(body, '$.invoice') is null")
    return world.store.find("invoiceitem", of_it, free, newest_first=True)


def bill(world: World, item: Object, invoice: Object) -> None:
    """The item's line on a draft; `total_up` afterwards."""
    line = new_line(item, invoice["id"])
    world.store.add(line, parent=invoice["id"])
    world.store.put({**item, "invoice": invoice["id"]})
    world.store.hide(item["id"], line=line["id"])


def rebill(world: World, item: Object) -> None:
    """The line of an item that has changed."""
    line_id = world.store.hidden(item["id"]).get("line")
    if line_id is not None:
        world.store.put({**new_line(item, item["invoice"]), "id": line_id})


def total_up(world: World, invoice: Object) -> Object:
    """The draft with the totals of its lines."""
    subtotal = sum(line["amount"] for line in world.store.children(invoice["id"], "line_item"))
    balance = world.store[invoice["customer"]].get("balance", 0)
    due = due_of(subtotal, balance).amount
    same = dict.fromkeys(("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"), subtotal)
    return {**invoice, **same, "starting_balance": balance, "amount_due": due, "amount_remaining": due}


def drafts_of(world: World, customer: str) -> list[Object]:
    of_it = Where(sql="customer = ?", values=(customer,))
    return world.store.find("invoice", of_it, field_is("status", "draft"))


def new_line(item: Object, invoice: str) -> Object:
    same = ("amount", "currency", "description", "discountable", "metadata", "period", "pricing", "quantity")
    details = {"invoice_item": item["id"], "proration": False, "proration_details": None, "subscription": None}
    return {
        **{name: item[name] for name in same},
        "id": new_id("il"),
        "object": "line_item",
        "discount_amounts": [],
        "discounts": [],
        "invoice": invoice,
        "livemode": False,
        "parent": {
            "invoice_item_details": details,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "pretax_credit_amounts": [],
        "quantity_decimal": item["quantity_decimal"],
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": [],
    }


def new_invoice(customer: Object, at: int) -> Object:
    return {
        "id": new_id("in"),
        "object": "invoice",
        "account_country": "US",
        "account_name": "Sandbox",
        "account_tax_ids": None,
        **dict.fromkeys(_ZEROES, 0),
        "application": None,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": at,
        "currency": "usd",
        "custom_fields": None,
        "customer": customer["id"],
        **addressee(customer),
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": at,
        "period_start": at,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "subscription": None,
        "test_clock": customer["test_clock"],
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


_ZEROES = (
    "amount_due", "amount_overpaid", "amount_paid", "amount_remaining", "amount_shipping", "attempt_count",
    "post_payment_credit_notes_amount", "pre_payment_credit_notes_amount", "starting_balance", "subtotal",
    "subtotal_excluding_tax", "total", "total_excluding_tax",
)  # fmt: skip


def addressee(customer: Object) -> dict[str, Any]:
    """Copied when the draft is made, and once more when it is finalized."""
    return {
        "customer_account": None,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
    }
