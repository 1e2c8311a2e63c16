"""What is told of an invoice to whoever listens: an event in the outbox, in the transaction of the deed."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from scalar.billing.invoice_model import Invoice
from scalar.database import Transaction
from scalar.webhooks.model import EventType
from scalar.webhooks.outbox import moment, publish


def tell(tx: Transaction, invoice: Invoice, type: EventType, at: datetime, **more: Any) -> None:
    """`more`: what else belongs to this event; amounts in cents are named `…_cents` and told in dollars."""
    amounts = {name.removesuffix("_cents"): _dollars(value) for name, value in more.items() if name.endswith("_cents")}
    rest = {name: value for name, value in more.items() if not name.endswith("_cents")}
    data = {
        "invoice_id": invoice.id,
        "number": invoice.number,
        "month": f"{invoice.month:%Y-%m}",
        "state": invoice.state.value,
        "total": _dollars(invoice.total),
        "due": _dollars(invoice.due),
        "outstanding": _dollars(invoice.outstanding),
        "due_at": moment(invoice.due_at) if invoice.due_at else None,
    }
    publish(tx, organisation_id=invoice.organisation_id, type=type, data={**data, **amounts, **rest}, at=at)


def _dollars(cents: int) -> str:
    return str((Decimal(cents) / 100).quantize(Decimal("0.01")))
