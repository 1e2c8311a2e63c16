"""Credit notes: what is taken back of an invoice, by amount or by lines.

Before payment it lowers what is left to pay. After payment the same amount must be given back: as a refund of the
charge, as credit on the customer's balance, or outside of Stripe.
"""

from dataclasses import dataclass
from typing import Any

from sandbox.stripe import refunds, settling
from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.customers import move_balance
from sandbox.stripe.form import Params
from sandbox.stripe.identity import ACCOUNT, new_id
from sandbox.stripe.listing import chosen, listed, of_customer, of_parent
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import field_is
from sandbox.stripe.world import World

_REASONS = ("duplicate", "fraudulent", "order_change", "product_unsatisfactory")


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """Cents of a credit note after payment."""

    refunded: int
    credited: int
    elsewhere: int

    @property
    def total(self) -> int:
        return self.refunded + self.credited + self.elsewhere


def create(world: World, call: Call) -> Object:
    note, lines, back, invoice = _asked(world, call.params)
    note["number"] = _number(world, invoice)
    world.store.add(note)
    for line in lines:
        world.store.add(line, parent=note["id"])
    if note["type"] == "pre_payment":
        settling.credited(world, invoice, note["amount"])
    else:
        note = _give_back(world, note, back, invoice)
    world.emit("credit_note.created", note)
    return note


def preview(world: World, call: Call) -> Object:
    """What would be made; nothing is kept."""
    note, lines, _, _ = _asked(world, call.params)
    url = "/v1/credit_notes/preview/lines"
    return {**note, "lines": {"object": "list", "data": lines, "has_more": False, "url": url}}


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("credit_note", call.names["note"])


def update(world: World, call: Call) -> Object:
    before = world.get("credit_note", call.names["note"])
    note = {**before, "metadata": call.params.metadata(before["metadata"])}
    if call.params.has("memo"):
        note["memo"] = call.params.text("memo")
    call.params.finish()
    return world.changed("credit_note.updated", before, note)


def void(world: World, call: Call) -> Object:
    """Of an open invoice's: what it took away is owed again."""
    nothing_else(call)
    note = world.get("credit_note", call.names["note"])
    invoice = world.store[note["invoice"]]
    if note["status"] == "void" or note["type"] != "pre_payment" or invoice["status"] != "open":
        raise invalid("id", "Only an issued credit note of an invoice that is open can be voided.")
    settling.credited(world, invoice, -note["amount"])
    voided = {**note, "status": "void", "voided_at": world.time_of(note["customer"])}
    world.store.put(voided)
    world.emit("credit_note.voided", voided)
    return voided


def list_all(world: World, call: Call) -> Object:
    return listed(world, call, "credit_note", *of_customer(call.params), *chosen(call.params, "invoice"))


def list_lines(world: World, call: Call) -> Object:
    note = world.get("credit_note", call.names["note"])
    return listed(world, call, "credit_note_line_item", of_parent(note["id"]), newest_first=False)


def _asked(world: World, params: Params) -> tuple[Object, list[Object], GivenBack, Object]:
    """The note, its lines, what is given back, and the invoice. Raises: `Refusal`."""
    invoice = world.live("invoice", params.required("invoice"), "invoice")
    amount, rows = params.cents("amount", least=1), params.rows("lines")
    lines = [_line(world, row, invoice) for row in rows or []]
    back = GivenBack(
        refunded=params.cents("refund_amount") or 0,
        credited=params.cents("credit_amount") or 0,
        elsewhere=params.cents("out_of_band_amount") or 0,
    )
    note = _new(world, invoice, _total(amount, lines, invoice))
    note["reason"] = params.choice("reason", *_REASONS)
    note["memo"], note["metadata"] = params.text("memo"), params.metadata()
    note["out_of_band_amount"] = back.elsewhere or None
    effective_at = params.integer("effective_at")
    note["effective_at"] = note["effective_at"] if effective_at is None else effective_at
    params.ignore("email_type")
    params.finish()
    _check(note, back, invoice)
    return note, lines or [_whole(note)], back, invoice


def _total(amount: int | None, lines: list[Object], invoice: Object) -> int:
    if amount is None and not lines:
        message = "You must specify an amount, lines, or a shipping cost."
        raise invalid("amount", message)
    total = sum(line["amount"] for line in lines)
    if amount is not None and lines and amount != total:
        message = f"The sum of credit note lines ({total}) does not equal the amount ({amount})."
        raise invalid("amount", message)
    if invoice["status"] not in {"open", "paid"}:
        message = f"Credit notes are for invoices that are open or paid; {invoice['id']} is {invoice['status']}."
        raise invalid("invoice", message)
    return total if amount is None else amount


def _check(note: Object, back: GivenBack, invoice: Object) -> None:
    if invoice["status"] == "open":
        if back.total:
            raise invalid("refund_amount", "Nothing was paid yet that could be given back.")
        if note["amount"] > invoice["amount_remaining"]:
            left = invoice["amount_remaining"]
            raise invalid("amount", f"The credit note is for more than what is left to pay of the invoice ({left}).")
        return
    left = invoice["total"] - invoice["pre_payment_credit_notes_amount"] - invoice["post_payment_credit_notes_amount"]
    if note["amount"] > left:
        raise invalid("amount", f"The credit notes of an invoice cannot be for more than it was ({left} is left).")
    if back.total != note["amount"]:
        message = (
            "The sum of credit amount, refund amount and out of band amount must equal the credit note amount"
            f" ({note['amount']})."
        )
        raise invalid("amount", message)


def _give_back(world: World, note: Object, back: GivenBack, invoice: Object) -> Object:
    if back.refunded:
        refund = refunds.refund_charge(world, _charge(world, invoice), back.refunded)
        entry = {"amount_refunded": back.refunded, "payment_record_refund": None}
        note = {**note, "refunds": [{**entry, "refund": refund["id"], "type": "refund"}]}
    if back.credited:
        customer = world.live("customer", invoice["customer"], "invoice")
        moved = move_balance(world, customer, -back.credited, "credit_note", credit_note=note["id"])
        note = {**note, "customer_balance_transaction": moved["id"]}
    given = invoice["post_payment_credit_notes_amount"] + note["amount"]
    world.changed("invoice.updated", invoice, {**invoice, "post_payment_credit_notes_amount": given})
    return world.store.put(note)


def _charge(world: World, invoice: Object) -> Object:
    for payment in world.store.children(invoice["id"], "invoice_payment"):
        if payment["status"] == "paid":
            return world.store[world.store[payment["payment"]["payment_intent"]]["latest_charge"]]
    raise invalid("refund_amount", "The invoice was not paid by a charge that could be refunded.")


def _number(world: World, invoice: Object) -> str:
    count = len(world.store.find("credit_note", field_is("invoice", invoice["id"])))
    return f"{invoice['number']}-CN-{count + 1:02d}"


def _line(world: World, row: Params, invoice: Object) -> Object:
    if row.choice("type", "invoice_line_item", "custom_line_item") == "custom_line_item":
        quantity = row.integer("quantity") or 1
        unit = row.cents("unit_amount")
        if unit is None:
            raise row.lacks("unit_amount")
        return _new_line(unit * quantity, row.text("description"), quantity, unit=unit)
    line = world.get("line_item", row.required("invoice_line_item"), row.named("invoice_line_item"))
    if line["invoice"] != invoice["id"]:
        raise invalid(row.named("invoice_line_item"), f"{line['id']} is not a line of {invoice['id']}.")
    given, count = row.cents("amount", least=1), row.integer("quantity") or line["quantity"]
    cents: int = line["amount"] * count // line["quantity"] if given is None else given
    if cents > line["amount"]:
        raise invalid(row.named("amount"), f"The line is for {line['amount']} only.")
    return _new_line(cents, line["description"], count, of=line["id"])


def _whole(note: Object) -> Object:
    """Where only an amount was given, one line of it."""
    return _new_line(note["amount"], None, 1, unit=note["amount"])


def _new_line(
    cents: int, description: str | None, quantity: int, *, of: str | None = None, unit: int | None = None
) -> Object:
    own: dict[str, Any] = {} if of is None else {"invoice_line_item": of}
    return {
        **own,
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": cents,
        "description": description,
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": "invoice_line_item" if of else "custom_line_item",
        "unit_amount": unit,
        "unit_amount_decimal": None if unit is None else str(unit),
    }


def _new(world: World, invoice: Object, cents: int) -> Object:
    at, note_id = world.time_of(invoice["customer"]), new_id("cn")
    before_payment = invoice["status"] == "open"
    totals = ("amount", "subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax")
    return {
        "id": note_id,
        "object": "credit_note",
        **dict.fromkeys(totals, cents),
        "amount_shipping": 0,
        "created": at,
        "currency": "usd",
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": at,
        "invoice": invoice["id"],
        "livemode": False,
        "memo": None,
        "metadata": {},
        "number": f"{invoice['number']}-CN-XX",
        "out_of_band_amount": None,
        "pdf": f"{world.base_url}/credit_notes/{ACCOUNT}/{note_id}/pdf",
        "post_payment_amount": 0 if before_payment else cents,
        "pre_payment_amount": cents if before_payment else 0,
        "pretax_credit_amounts": [],
        "reason": None,
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "total_taxes": [],
        "type": "pre_payment" if before_payment else "post_payment",
        "voided_at": None,
    }


ROUTES: list[Route] = [
    ("POST", "/v1/credit_notes", create),
    ("GET", "/v1/credit_notes", list_all),
    ("GET", "/v1/credit_notes/preview", preview),
    ("GET", "/v1/credit_notes/{note}", retrieve),
    ("POST", "/v1/credit_notes/{note}", update),
    ("POST", "/v1/credit_notes/{note}/void", void),
    ("GET", "/v1/credit_notes/{note}/lines", list_lines),
]
