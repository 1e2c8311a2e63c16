"""Stripe's objects, read into values: what the library gives, without the library."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scalar.billing.stripe_answers import (
    Movement,
    StripeCustomer,
    StripeDispute,
    StripeEvent,
    StripeIntent,
    StripeInvoice,
    StripeItem,
)


def metadata_of(found: Any) -> Mapping[str, str]:
    metadata = getattr(found, "metadata", None)
    return dict(metadata.to_dict()) if metadata else {}


def customer(found: Any) -> StripeCustomer:
    settings = getattr(found, "invoice_settings", None)
    return StripeCustomer(
        id=found.id,
        deleted=bool(getattr(found, "deleted", False)),
        card=settings.default_payment_method if settings else None,
        metadata=metadata_of(found),
    )


def invoice(found: Any) -> StripeInvoice:
    return StripeInvoice(
        id=found.id,
        status=found.status,
        customer=found.customer,
        total=found.total,
        amount_due=found.amount_due,
        amount_remaining=found.amount_remaining,
        hosted_url=found.hosted_invoice_url,
        charges=tuple(_charges(found)),
        metadata=metadata_of(found),
    )


def _charges(found: Any) -> list[str]:
    payments = getattr(found, "payments", None)
    charges = [_charge(each.payment) for each in payments.data] if payments else []
    return [charge for charge in charges if charge]


def _charge(payment: Any) -> str | None:
    """Of an invoice's payment: by an intent, or by a charge without one. None: neither."""
    intent = getattr(payment, "payment_intent", None)
    charge = getattr(intent, "latest_charge", None) if intent else getattr(payment, "charge", None)
    return getattr(charge, "id", charge)


def item(found: Any) -> StripeItem:
    return StripeItem(id=found.id, cents=found.amount, metadata=metadata_of(found))


def intent(found: Any) -> StripeIntent:
    return StripeIntent(
        id=found.id,
        status=found.status,
        cents=found.amount,
        charge=found.latest_charge,
        customer=found.customer,
        client_secret=found.client_secret,
        metadata=metadata_of(found),
    )


def movement(found: Any) -> Movement:
    return Movement(
        id=found.id,
        type=found.type,
        category=found.reporting_category,
        source=found.source,
        cents=found.amount,
        fee=found.fee,
        at=time(found.created),
    )


def dispute(found: Any) -> StripeDispute:
    return StripeDispute(
        id=found.id,
        status=found.status,
        reason=found.reason,
        cents=found.amount,
        opened_at=time(found.created),
        movements=tuple(movement(each) for each in found.balance_transactions),
    )


def event(found: Mapping[str, Any]) -> StripeEvent:
    """Of a webhook's JSON. Raises: `KeyError`, `TypeError`."""
    about = found["data"]["object"]
    return StripeEvent(
        id=str(found["id"]),
        type=str(found["type"]),
        object_type=str(about.get("object", "")),
        object_id=str(about["id"]) if about.get("id") else None,
        created_at=time(found["created"]),
    )


def time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
