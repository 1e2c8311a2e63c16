"""From a draft to an open invoice: its number, what the customer's balance pays of it, and what is then expected."""

from sandbox.stripe import charging, drafting, settling
from sandbox.stripe.customers import move_balance
from sandbox.stripe.identity import new_id, random_text
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.world import World

HOUR = 3600


def schedule(world: World, draft: Object) -> Object:
    """A draft with the time at which it is finalized by itself; kept."""
    at = draft["created"] + HOUR if draft["auto_advance"] else None
    collects = draft["collection_method"] == "charge_automatically"
    draft = {**draft, "automatically_finalizes_at": at, "next_payment_attempt": at if collects else None}
    world.store.put(draft)
    world.store.drop_deadlines(draft["id"], "finalize")
    if at is not None:
        world.later(at, "finalize", draft)
    return draft


def finalize(world: World, draft: Object) -> Object:
    """Open, or paid where nothing is due. Raises: `Refusal` where it isn't a draft."""
    if draft["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        raise invalid("invoice", message, "invoice_not_editable")
    world.store.drop_deadlines(draft["id"], "finalize")
    at = world.time_of(draft["customer"])
    customer = world.live("customer", draft["customer"], "customer")
    invoice = _numbered(world, drafting.total_up(world, draft), customer, at)
    due = _take_balance(world, invoice, customer)
    invoice |= {"amount_due": due.amount, "amount_remaining": due.amount, "ending_balance": due.balance}
    world.store.hide(invoice["id"], attempts=0)
    if due.amount:
        invoice = _expect_payment(world, invoice, at)
    world.changed("invoice.updated", draft, invoice)
    world.emit("invoice.finalized", invoice)
    if not due.amount:
        return settling.settle(world, invoice)
    if invoice["auto_advance"] and invoice["collection_method"] == "send_invoice":
        world.emit("invoice.sent", invoice)
    return invoice


def auto_advance(world: World, invoice: Object, on: bool) -> Object:
    """An open invoice that is collected by itself from now on, or no more; kept."""
    world.store.drop_deadlines(invoice["id"], "collect")
    collects = on and invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically"
    at = world.time_of(invoice["customer"]) + HOUR if collects else None
    invoice = world.store.put({**invoice, "auto_advance": on, "next_payment_attempt": at})
    if at is not None:
        world.later(at, "collect", invoice)
    return invoice


def _numbered(world: World, draft: Object, customer: Object, at: int) -> Object:
    number = draft["number"]
    if number is None:
        number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
        world.store.put(customer)
    page = random_text(32)
    world.store.hide(draft["id"], page=page)
    url = f"{world.base_url}/i/{page}"
    return {
        **draft,
        **drafting.addressee(customer),
        "status": "open",
        "number": number,
        "effective_at": draft["effective_at"] or at,
        "automatically_finalizes_at": None,
        "hosted_invoice_url": url,
        "invoice_pdf": f"{url}/pdf",
        "status_transitions": {**draft["status_transitions"], "finalized_at": at},
    }


def _take_balance(world: World, invoice: Object, customer: Object) -> drafting.Due:
    due = drafting.due_of(invoice["total"], customer["balance"])
    if due.balance != customer["balance"]:
        carried = 0 < invoice["total"] + customer["balance"] < charging.LEAST
        kind = "invoice_too_small" if carried else "applied_to_invoice"
        move_balance(world, customer, due.balance - customer["balance"], kind, invoice=invoice["id"])
    return due


def _expect_payment(world: World, invoice: Object, at: int) -> Object:
    """Its payment intent and invoice payment, and the deadlines of what comes by itself."""
    intent = charging.new_intent(world, invoice["amount_due"], invoice["customer"])
    intent |= {"description": f"Payment for Invoice {invoice['number']}"}
    world.store.add(intent)
    world.emit("payment_intent.created", intent)
    world.store.add(_new_payment(invoice, intent, at), parent=invoice["id"])
    if invoice["due_date"] is not None:
        world.later(invoice["due_date"], "overdue", invoice)
    return auto_advance(world, invoice, invoice["auto_advance"])


def _new_payment(invoice: Object, intent: Object, at: int) -> Object:
    return {
        "id": new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "created": at,
        "currency": "usd",
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
