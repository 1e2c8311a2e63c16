"""How an invoice's life ends, paid, void or uncollectible, and what a credit note takes away before that."""

from sandbox.stripe import charging
from sandbox.stripe.customers import move_balance
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import field_is
from sandbox.stripe.world import World


def settle(world: World, invoice: Object, before: Object | None = None) -> Object:
    """Paid: `amount_paid` of it by money."""
    at = world.time_of(invoice["customer"])
    world.store.drop_deadlines(invoice["id"])
    before = before or world.store[invoice["id"]]
    invoice = {
        **invoice,
        "status": "paid",
        "amount_remaining": 0,
        "next_payment_attempt": None,
        "status_transitions": {**invoice["status_transitions"], "paid_at": at},
    }
    world.changed("invoice.updated", before, invoice)
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)
    for payment in world.store.children(invoice["id"], "invoice_payment"):
        if payment["status"] == "open":
            paid = {**payment, "status": "paid", "amount_paid": invoice["amount_paid"]}
            paid["status_transitions"] = {"canceled_at": None, "paid_at": at}
            world.store.put(paid)
            world.emit("invoice_payment.paid", paid)
    mark_delinquent(world, invoice, False)
    return invoice


def void(world: World, invoice: Object) -> Object:
    """Raises: `Refusal`. What the customer's balance paid for it is given back."""
    must_be(invoice, "void", "open", "uncollectible")
    ending = world.store[invoice["customer"]]
    if not ending.get("deleted") and invoice["ending_balance"] != invoice["starting_balance"]:
        back = invoice["starting_balance"] - invoice["ending_balance"]
        move_balance(world, ending, back, "unapplied_from_invoice", invoice=invoice["id"])
    cancel_payment(world, invoice, "void_invoice")
    return _end(world, invoice, "void", "voided_at", "invoice.voided")


def mark_uncollectible(world: World, invoice: Object) -> Object:
    """Raises: `Refusal`."""
    must_be(invoice, "mark as uncollectible", "open")
    return _end(world, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")


def become_overdue(world: World, id: str) -> None:
    invoice = world.store[id]
    if invoice["status"] == "open":
        world.emit("invoice.overdue", invoice)


def credited(world: World, invoice: Object, cents: int) -> Object:
    """An open invoice of which a credit note took something away; paid where that was all."""
    left = invoice["amount_remaining"] - cents
    before, invoice = invoice, {
        **invoice,
        "amount_due": invoice["amount_due"] - cents,
        "amount_remaining": left,
        "pre_payment_credit_notes_amount": invoice["pre_payment_credit_notes_amount"] + cents,
    }  # fmt: skip
    world.changed("invoice.updated", before, invoice)
    if left == 0:
        cancel_payment(world, invoice, None)
        return settle(world, invoice)
    payment, intent = payment_of(world, invoice)
    world.store.put({**payment, "amount_requested": left})
    world.store.put({**intent, "amount": left})
    return invoice


def invoice_of(world: World, intent: Object) -> Object | None:
    payments = world.store.find("invoice_payment", field_is("payment.payment_intent", intent["id"]))
    return world.store[payments[0]["invoice"]] if payments else None


def payment_of(world: World, invoice: Object) -> tuple[Object, Object]:
    """The invoice's open payment, and its intent."""
    payment = next(
        one for one in world.store.children(invoice["id"], "invoice_payment") if one["status"] == "open"
    )  # fmt: skip
    return payment, world.store[payment["payment"]["payment_intent"]]


def cancel_payment(world: World, invoice: Object, reason: str | None) -> None:
    at = world.time_of(invoice["customer"])
    for payment in world.store.children(invoice["id"], "invoice_payment"):
        if payment["status"] == "open":
            stamps = {"canceled_at": at, "paid_at": None}
            world.store.put({**payment, "status": "canceled", "status_transitions": stamps})
            charging.cancel(world, world.store[payment["payment"]["payment_intent"]], reason)


def must_be(invoice: Object, deed: str, *statuses: str) -> None:
    if invoice["status"] not in statuses:
        message = f"You can only {deed} an invoice that is {' or '.join(statuses)}; this one is {invoice['status']}."
        raise invalid("invoice", message, "invoice_not_editable")


def mark_delinquent(world: World, invoice: Object, delinquent: bool) -> None:
    customer = world.store[invoice["customer"]]
    if not customer.get("deleted") and customer["delinquent"] != delinquent:
        world.changed("customer.updated", customer, {**customer, "delinquent": delinquent})


def _end(world: World, invoice: Object, status: str, stamp: str, event: str) -> Object:
    at = world.time_of(invoice["customer"])
    world.store.drop_deadlines(invoice["id"])
    stamps = {**invoice["status_transitions"], stamp: at}
    after = {**invoice, "status": status, "next_payment_attempt": None, "status_transitions": stamps}
    world.changed("invoice.updated", invoice, after)
    world.emit(event, after)
    return after
