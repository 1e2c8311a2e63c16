"""Invoices over HTTP: made as drafts, changed while they are, and then finalized, sent, paid, voided or given up."""

from sandbox.stripe import collecting, drafting, finalizing, payment_methods, settling
from sandbox.stripe.calls import Call, Route, nothing_else, text_fields
from sandbox.stripe.form import Params
from sandbox.stripe.listing import chosen, listed, of_customer, of_parent
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import field_is
from sandbox.stripe.world import World

_DAY = 86_400
_METHODS = ("charge_automatically", "send_invoice")


def create(world: World, call: Call) -> Object:
    params = call.params
    customer = world.live("customer", params.required("customer"), "customer")
    params.currency()
    invoice = drafting.new_invoice(customer, world.time_of(customer["id"]))
    invoice["collection_method"] = params.choice("collection_method", *_METHODS) or "charge_automatically"
    behaviour = params.choice("pending_invoice_items_behavior", "include", "exclude") or "exclude"
    auto_advance = params.flag("auto_advance")
    _read(world, invoice, params)
    params.finish()
    _check_due_date(invoice)
    world.store.add(invoice)
    for item in drafting.pending_items(world, customer["id"]) if behaviour == "include" else []:
        drafting.bill(world, item, invoice)
    invoice = drafting.total_up(world, {**invoice, "auto_advance": bool(auto_advance)})
    invoice = finalizing.schedule(world, invoice)
    world.emit("invoice.created", invoice)
    return invoice


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.live("invoice", call.names["invoice"])


def update(world: World, call: Call) -> Object:
    """An open invoice takes metadata and auto_advance alone."""
    params = call.params
    before = world.live("invoice", call.names["invoice"])
    invoice = dict(before)
    if before["status"] == "draft":
        invoice["collection_method"] = params.choice("collection_method", *_METHODS) or before["collection_method"]
        _read(world, invoice, params)
        _check_due_date(invoice)
    else:
        invoice["metadata"] = params.metadata(before["metadata"])
    advance = params.flag("auto_advance")
    _finish(params, before)
    world.store.put(invoice)
    if advance is not None and before["status"] == "draft":
        invoice = finalizing.schedule(world, {**invoice, "auto_advance": advance})
    elif advance is not None:
        invoice = finalizing.auto_advance(world, invoice, advance)
    return world.changed("invoice.updated", before, invoice)


def delete(world: World, call: Call) -> Object:
    """Of a draft; its items wait for another invoice."""
    nothing_else(call)
    invoice = world.live("invoice", call.names["invoice"])
    settling.must_be(invoice, "delete", "draft")
    for line in world.store.children(invoice["id"], "line_item"):
        item = world.store[line["parent"]["invoice_item_details"]["invoice_item"]]
        world.store.put({**item, "invoice": None})
        world.store.hide(item["id"], line=None)
        world.store.drop(line["id"])
    world.store.drop_deadlines(invoice["id"])
    world.emit("invoice.deleted", invoice)
    return world.store.put({"id": invoice["id"], "object": "invoice", "deleted": True})


def finalize(world: World, call: Call) -> Object:
    advance = call.params.flag("auto_advance")
    call.params.finish()
    invoice = world.live("invoice", call.names["invoice"])
    return finalizing.finalize(world, invoice if advance is None else {**invoice, "auto_advance": advance})


def pay(world: World, call: Call) -> Object:
    params = call.params
    elsewhere, card = params.flag("paid_out_of_band"), params.text("payment_method")
    params.ignore("off_session", "forgive", "mandate")
    params.finish()
    invoice = world.live("invoice", call.names["invoice"])
    if elsewhere:
        return collecting.pay_elsewhere(world, invoice)
    return collecting.pay(world, invoice, card=card)


def send(world: World, call: Call) -> Object:
    nothing_else(call)
    invoice = world.live("invoice", call.names["invoice"])
    if invoice["collection_method"] != "send_invoice":
        message = "You can only manually send an invoice if its collection method is 'send_invoice'."
        raise invalid("invoice", message, "invoice_not_editable")
    if invoice["status"] == "draft":
        invoice = finalizing.finalize(world, {**invoice, "auto_advance": False})
    settling.must_be(invoice, "send", "open", "uncollectible", "paid")
    world.emit("invoice.sent", invoice)
    return invoice


def void(world: World, call: Call) -> Object:
    nothing_else(call)
    return settling.void(world, world.live("invoice", call.names["invoice"]))


def mark_uncollectible(world: World, call: Call) -> Object:
    nothing_else(call)
    return settling.mark_uncollectible(world, world.live("invoice", call.names["invoice"]))


def list_all(world: World, call: Call) -> Object:
    conditions = [*of_customer(call.params), *chosen(call.params, "status", "collection_method")]
    return listed(world, call, "invoice", *conditions)


def list_lines(world: World, call: Call) -> Object:
    """In the order in which they stand on the invoice."""
    invoice = world.live("invoice", call.names["invoice"])
    return listed(world, call, "line_item", of_parent(invoice["id"]), newest_first=False)


def list_payments(world: World, call: Call) -> Object:
    conditions = chosen(call.params, "invoice", "status")
    paying = call.params.nested("payment")
    if paying is not None:
        paying.ignore("type")
        conditions.append(field_is("payment.payment_intent", paying.required("payment_intent")))
    return listed(world, call, "invoice_payment", *conditions)


def retrieve_payment(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("invoice_payment", call.names["payment"])


def _read(world: World, invoice: Object, params: Params) -> None:
    """What may be given while it is a draft."""
    invoice["metadata"] = params.metadata(invoice["metadata"])
    text_fields(invoice, params, "description", "footer", "number", "statement_descriptor")
    days, due_date = params.integer("days_until_due"), params.integer("due_date")
    if days is not None and due_date is not None:
        raise invalid("due_date", "You may only specify one of days_until_due and due_date.")
    if days is not None or due_date is not None:
        invoice["due_date"] = due_date if days is None else invoice["created"] + days * _DAY
    effective_at = params.integer("effective_at")
    invoice["effective_at"] = invoice["effective_at"] if effective_at is None else effective_at
    fields = params.rows("custom_fields")
    if fields is not None:
        invoice["custom_fields"] = [{"name": one.required("name"), "value": one.required("value")} for one in fields]
    card = params.text("default_payment_method")
    if card is not None:
        method = payment_methods.usable(world, card, "default_payment_method", customer=invoice["customer"])
        invoice["default_payment_method"] = method["id"]
    tax = params.nested("automatic_tax")
    if tax is not None and tax.flag("enabled"):
        raise invalid("automatic_tax[enabled]", "Automatic tax is not played here: bill tax as an invoice item")
    _read_payment_settings(invoice, params)


def _read_payment_settings(invoice: Object, params: Params) -> None:
    settings = params.nested("payment_settings")
    if settings is not None:
        kinds = settings.texts("payment_method_types")
        invoice["payment_settings"] = {**invoice["payment_settings"], "payment_method_types": kinds}


def _check_due_date(invoice: Object) -> None:
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        message = "If invoice collection method is 'send_invoice', you must specify 'due_date' or 'days_until_due'."
        raise invalid("due_date", message)
    if invoice["collection_method"] == "charge_automatically" and invoice["due_date"] is not None:
        message = "You can only specify 'due_date' or 'days_until_due' if collection method is 'send_invoice'."
        raise invalid("due_date", message)


def _finish(params: Params, before: Object) -> None:
    """What is left over of an update is unknown, or, where the invoice is no draft, too late."""
    if before["status"] != "draft":
        left = params.unread()
        if left:
            message = "Finalized invoices can't be updated in this way"
            raise invalid(left[0], f"{message}: {left[0]}", "invoice_not_editable")
    params.finish()


ROUTES: list[Route] = [
    ("POST", "/v1/invoices", create),
    ("GET", "/v1/invoices", list_all),
    ("GET", "/v1/invoices/{invoice}", retrieve),
    ("POST", "/v1/invoices/{invoice}", update),
    ("DELETE", "/v1/invoices/{invoice}", delete),
    ("POST", "/v1/invoices/{invoice}/finalize", finalize),
    ("POST", "/v1/invoices/{invoice}/pay", pay),
    ("POST", "/v1/invoices/{invoice}/send", send),
    ("POST", "/v1/invoices/{invoice}/void", void),
    ("POST", "/v1/invoices/{invoice}/mark_uncollectible", mark_uncollectible),
    ("GET", "/v1/invoices/{invoice}/lines", list_lines),
    ("GET", "/v1/invoice_payments", list_payments),
    ("GET", "/v1/invoice_payments/{payment}", retrieve_payment),
]
