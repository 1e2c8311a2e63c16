"""Invoice items: what is to be billed, waiting for an invoice or put on a draft."""

from decimal import ROUND_HALF_UP, Decimal

from sandbox.stripe import drafting
from sandbox.stripe.calls import Call, Route, nothing_else, text_fields
from sandbox.stripe.form import Params
from sandbox.stripe.identity import new_id
from sandbox.stripe.listing import chosen, listed, of_customer
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import Where
from sandbox.stripe.world import World

_MOST_LINES = 250


def create(world: World, call: Call) -> Object:
    params = call.params
    customer = world.live("customer", params.required("customer"), "customer")
    params.currency()
    item = _new(customer, world.time_of(customer["id"]))
    _read(item, params)
    if not {"amount", "unit_amount_decimal"} & {name for name in ("amount", "unit_amount_decimal") if params.has(name)}:
        raise params.lacks("amount")
    invoice_id = params.text("invoice")
    params.finish()
    world.store.add(item)
    if invoice_id is not None:
        invoice = _draft(world, invoice_id, customer["id"])
        drafting.bill(world, item, invoice)
        item["invoice"] = invoice_id
        world.emit("invoiceitem.created", item)
        _retotal(world, invoice_id)
    else:
        world.emit("invoiceitem.created", item)
    return item


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.live("invoiceitem", call.names["item"])


def update(world: World, call: Call) -> Object:
    before = world.live("invoiceitem", call.names["item"])
    item = dict(before)
    _read(item, call.params)
    call.params.finish()
    if before["invoice"] is not None:
        _draft(world, before["invoice"], before["customer"])
    world.changed("invoiceitem.updated", before, item)
    if item["invoice"] is not None:
        drafting.rebill(world, item)
        _retotal(world, item["invoice"])
    return item


def delete(world: World, call: Call) -> Object:
    nothing_else(call)
    item = world.live("invoiceitem", call.names["item"])
    if item["invoice"] is not None:
        _draft(world, item["invoice"], item["customer"])
        world.store.drop(world.store.hidden(item["id"])["line"])
    world.emit("invoiceitem.deleted", item)
    gone = world.store.put({"id": item["id"], "object": "invoiceitem", "deleted": True})
    if item["invoice"] is not None:
        _retotal(world, item["invoice"])
    return gone


def list_all(world: World, call: Call) -> Object:
    conditions = [
        Where(sql="json_extract(body, '$.deleted') is null"),
        *of_customer(call.params),
        *chosen(call.params, "invoice"),
    ]
    pending = call.params.flag("pending")
    if pending is not None:
        conditions.append(Where(sql=f"json_extract(body, '$.invoice') is {'' if pending else 'not'} null"))
    return listed(world, call, "invoiceitem", *conditions)


def _draft(world: World, id: str, customer: str) -> Object:
    """Raises: `Refusal` where it cannot be written on."""
    invoice = world.live("invoice", id, "invoice")
    if invoice["status"] != "draft":
        raise invalid("invoice", "The invoice is no longer a draft: its items cannot change.", "invoice_not_editable")
    if invoice["customer"] != customer:
        raise invalid("invoice", f"Invoice {id} belongs to another customer.")
    if len(world.store.children(id, "line_item")) >= _MOST_LINES:
        raise invalid("invoice", f"An invoice has up to {_MOST_LINES} items.")
    return invoice


def _retotal(world: World, invoice_id: str) -> None:
    before = world.store[invoice_id]
    world.changed("invoice.updated", before, drafting.total_up(world, before))


def _read(item: Object, params: Params) -> None:
    text_fields(item, params, "description")
    item["metadata"] = params.metadata(item["metadata"])
    discountable = params.flag("discountable")
    item["discountable"] = item["discountable"] if discountable is None else discountable
    period = params.nested("period")
    if period is not None:
        start, end = period.integer("start"), period.integer("end")
        if start is None or end is None or end < start:
            raise invalid("period", "A period has a start and an end that isn't earlier")
        item["period"] = {"start": start, "end": end}
    quantity, unit = params.integer("quantity"), params.decimal("unit_amount_decimal")
    amount = params.integer("amount")
    if amount is not None and (quantity is not None or unit is not None):
        raise invalid("amount", "You may only specify one of these parameters: amount, unit_amount_decimal.")
    if amount is not None:
        _set_amount(item, amount, 1, Decimal(amount))
    elif unit is not None or quantity is not None:
        unit = Decimal(item["pricing"]["unit_amount_decimal"]) if unit is None else unit
        count = item["quantity"] if quantity is None else quantity
        _set_amount(item, int((unit * count).quantize(Decimal(1), ROUND_HALF_UP)), count, unit)


def _set_amount(item: Object, cents: int, quantity: int, unit: Decimal) -> None:
    item |= {
        "amount": cents,
        "net_amount": cents,
        "pricing": {"type": "price_details", "unit_amount_decimal": str(unit)},
        "quantity": quantity,
        "quantity_decimal": str(quantity),
    }


def _new(customer: Object, at: int) -> Object:
    item: Object = {
        "id": new_id("ii"),
        "object": "invoiceitem",
        "currency": "usd",
        "customer": customer["id"],
        "customer_account": None,
        "date": at,
        "description": None,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": None,
        "period": {"end": at, "start": at},
        "proration": False,
        "tax_rates": [],
        "test_clock": customer["test_clock"],
    }
    _set_amount(item, 0, 1, Decimal(0))
    return item


ROUTES: list[Route] = [
    ("POST", "/v1/invoiceitems", create),
    ("GET", "/v1/invoiceitems", list_all),
    ("GET", "/v1/invoiceitems/{item}", retrieve),
    ("POST", "/v1/invoiceitems/{item}", update),
    ("DELETE", "/v1/invoiceitems/{item}", delete),
]
