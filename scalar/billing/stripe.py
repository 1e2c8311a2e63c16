"""Stripe, as Scalar sees it: one method a call, values in, values out. No other module imports the library.

Every write carries an idempotency key that is made of our own ids: the same key again is the same deed. Every method
raises what `scalar.billing.stripe_errors` draws. Amounts are cents of US dollars.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self, TypeVar

import requests
import stripe
from pydantic import SecretStr

from scalar.billing import stripe_wire as wire
from scalar.billing.stripe_answers import (
    Charge,
    Movement,
    StripeCustomer,
    StripeEvent,
    StripeIntent,
    StripeInvoice,
    StripeItem,
    StripeRefund,
)
from scalar.billing.stripe_errors import BadSignature, CardDeclined, StripeMissing, StripeRefused, StripeUnavailable
from scalar.errors import InvalidRequest

NO_PAYMENT_METHOD = "no_payment_method"
"""The decline code where there is nothing to charge."""
_USD = "usd"
_T = TypeVar("_T")
_PAGE = 100
_OF_AN_INVOICE = ["payments.data.payment.payment_intent"]


class Stripe:
    """`with Stripe(settings.read_key) as stripe`. `read_key` is asked for each call: a key can be rotated."""

    def __init__(
        self,
        read_key: Callable[[], SecretStr],
        *,
        api_base: str | None = None,
        session: requests.Session | None = None,
        retries: int = 1,
        timeout: float = 20.0,
    ) -> None:
        self._read_key = read_key
        self._session = session or requests.Session()
        client = stripe.StripeClient(
            "sk_given_with_each_call",
            base_addresses={"api": api_base} if api_base else {},
            http_client=stripe.RequestsClient(timeout=timeout, session=self._session),
            max_network_retries=retries,
        )
        # The library's types are of one version of the API; what we read of it is in `stripe_answers`.
        self._v1: Any = client.v1

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Customers

    def create_customer(self, details: Mapping[str, Any], *, key: str) -> StripeCustomer:
        with _answers():
            return wire.customer(self._v1.customers.create(dict(details), self._with(key)))

    def update_customer(self, id: str, details: Mapping[str, Any], *, key: str) -> StripeCustomer:
        with _answers():
            return wire.customer(self._v1.customers.update(id, dict(details), self._with(key)))

    def customer(self, id: str) -> StripeCustomer:
        with _answers():
            return wire.customer(self._v1.customers.retrieve(id, {}, self._with()))

    def customers_since(self, since: datetime) -> Iterator[StripeCustomer]:
        """Newest first."""
        query = {"created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        yield from self._pages(self._v1.customers, query, wire.customer)

    def use_card(self, customer: str, payment_method: str, *, key: str) -> None:
        """Attach a card, and charge it for invoices from now on. Raises: `CardDeclined`."""
        with _answers():
            attached = self._v1.payment_methods.attach(
                payment_method, {"customer": customer}, self._with(f"{key}:attach")
            )
            default = {"invoice_settings": {"default_payment_method": attached.id}}
            self._v1.customers.update(customer, default, self._with(f"{key}:default"))

    # Invoices

    def create_invoice(self, details: Mapping[str, Any], *, key: str) -> StripeInvoice:
        """A draft without lines."""
        wanted = {**details, "currency": _USD, "pending_invoice_items_behavior": "exclude", "auto_advance": False}
        with _answers():
            return wire.invoice(self._v1.invoices.create(wanted, self._with(key)))

    def add_item(
        self, customer: str, invoice: str, cents: int, description: str, *, metadata: Mapping[str, str], key: str
    ) -> None:
        wanted = {
            "customer": customer,
            "invoice": invoice,
            "amount": cents,
            "currency": _USD,
            "description": description,
            "metadata": dict(metadata),
        }
        with _answers():
            self._v1.invoice_items.create(wanted, self._with(key))

    def items(self, invoice: str) -> list[StripeItem]:
        return list(self._pages(self._v1.invoice_items, {"invoice": invoice, "limit": _PAGE}, wire.item))

    def finalize(self, invoice: str, *, key: str) -> StripeInvoice:
        """It has a number, and can be paid; it is not collected by itself."""
        with _answers():
            self._v1.invoices.finalize_invoice(invoice, {"auto_advance": False}, self._with(key))
        return self.invoice(invoice)

    def send(self, invoice: str, *, key: str) -> StripeInvoice:
        """Finalize it, and e-mail it to the customer."""
        with _answers():
            self._v1.invoices.send_invoice(invoice, {}, self._with(key))
        return self.invoice(invoice)

    def pay(self, invoice: str, *, key: str) -> StripeInvoice:
        """Charge what is left of it to the customer's card. Raises: `CardDeclined`."""
        try:
            with _answers():
                self._v1.invoices.pay(invoice, {"off_session": True}, self._with(key))
        except StripeRefused as error:
            if error.code == "resource_missing" and not isinstance(error, StripeMissing):
                raise CardDeclined(error.message, decline_code=NO_PAYMENT_METHOD) from None
            raise
        return self.invoice(invoice)

    def paid_elsewhere(self, invoice: str, *, key: str) -> StripeInvoice:
        with _answers():
            self._v1.invoices.pay(invoice, {"paid_out_of_band": True}, self._with(key))
        return self.invoice(invoice)

    def void_invoice(self, invoice: str, *, key: str) -> StripeInvoice:
        with _answers():
            return wire.invoice(self._v1.invoices.void_invoice(invoice, {}, self._with(key)))

    def mark_uncollectible(self, invoice: str, *, key: str) -> StripeInvoice:
        with _answers():
            return wire.invoice(self._v1.invoices.mark_uncollectible(invoice, {}, self._with(key)))

    def delete_draft(self, invoice: str, *, key: str) -> None:
        with _answers():
            self._v1.invoices.delete(invoice, {}, self._with(key))

    def invoice(self, id: str) -> StripeInvoice:
        with _answers():
            return wire.invoice(self._v1.invoices.retrieve(id, {"expand": _OF_AN_INVOICE}, self._with()))

    def invoices_of(self, customer: str, since: datetime) -> Iterator[StripeInvoice]:
        """Newest first, without their charges."""
        query = {"customer": customer, "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        yield from self._pages(self._v1.invoices, query, wire.invoice)

    def create_credit_note(self, invoice: str, cents: int, *, elsewhere: int, note: str, key: str) -> str:
        """Its id. `elsewhere`: of a paid invoice's, what was given back outside of Stripe."""
        wanted = {"invoice": invoice, "amount": cents, "metadata": {"scalar_credit_note": note}}
        wanted |= {"out_of_band_amount": elsewhere} if elsewhere else {}
        with _answers():
            return str(self._v1.credit_notes.create(wanted, self._with(key)).id)

    def credit_notes(self, invoice: str) -> dict[str, str]:
        """Ours → Stripe's, of an invoice."""
        rows = self._pages(self._v1.credit_notes, {"invoice": invoice, "limit": _PAGE}, lambda each: each)
        return {wire.metadata_of(row).get("scalar_credit_note", ""): str(row.id) for row in rows}

    # Payments

    def create_intent(
        self, customer: str, cents: int, *, card: str | None, metadata: Mapping[str, str], key: str
    ) -> StripeIntent:
        """Take money outside of an invoice: at once with `card`, or once the customer confirms it.

        Raises: `CardDeclined`.
        """
        wanted = {"customer": customer, "amount": cents, "currency": _USD, "metadata": dict(metadata)}
        if card is None:
            wanted |= {"automatic_payment_methods": {"enabled": True}}
        else:
            wanted |= {"payment_method": card, "confirm": True, "payment_method_types": ["card"]}
        with _answers():
            return wire.intent(self._v1.payment_intents.create(wanted, self._with(key)))

    def intent(self, id: str) -> StripeIntent:
        with _answers():
            return wire.intent(self._v1.payment_intents.retrieve(id, {}, self._with()))

    def cancel_intent(self, id: str, *, key: str) -> StripeIntent:
        """Nobody can pay it any more. Raises: `StripeRefused` where it was paid meanwhile."""
        with _answers():
            abandoned = {"cancellation_reason": "abandoned"}
            return wire.intent(self._v1.payment_intents.cancel(id, abandoned, self._with(key)))

    def intents_of(self, customer: str, since: datetime) -> Iterator[StripeIntent]:
        query = {"customer": customer, "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        yield from self._pages(self._v1.payment_intents, query, wire.intent)

    def invoice_of_intent(self, intent: str) -> str | None:
        query = {"payment": {"type": "payment_intent", "payment_intent": intent}, "limit": 1}
        found = list(self._pages(self._v1.invoice_payments, query, lambda each: str(each.invoice)))
        return found[0] if found else None

    def charge(self, id: str) -> Charge:
        """With its refunds and disputes, as they are now."""
        with _answers():
            found = self._v1.charges.retrieve(id, {"expand": ["balance_transaction"]}, self._with())
        refunds = tuple(self._refunds(id)) if found.paid else ()
        disputes = tuple(self._pages(self._v1.disputes, {"charge": id, "limit": _PAGE}, wire.dispute))
        return Charge(
            id=found.id,
            cents=found.amount,
            paid=found.paid,
            intent=found.payment_intent,
            at=wire.time(found.created),
            movement=wire.movement(found.balance_transaction) if found.balance_transaction else None,
            refunds=refunds,
            disputes=disputes if found.disputed else (),
        )

    def create_refund(self, charge: str, cents: int, *, metadata: Mapping[str, str], key: str) -> StripeRefund:
        wanted = {"charge": charge, "amount": cents, "metadata": dict(metadata), "expand": ["balance_transaction"]}
        with _answers():
            return self._refund(self._v1.refunds.create(wanted, self._with(key)))

    def refund_charge(self, refund: str) -> str | None:
        """Of which charge it is."""
        with _answers():
            found = self._v1.refunds.retrieve(refund, {}, self._with())
        return str(found.charge) if found.charge else None

    def dispute_charge(self, dispute: str) -> str:
        with _answers():
            return str(self._v1.disputes.retrieve(dispute, {}, self._with()).charge)

    def movements_since(self, since: datetime) -> Iterator[Movement]:
        """Stripe's statement of its balance, newest first."""
        query = {"created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        yield from self._pages(self._v1.balance_transactions, query, wire.movement)

    def _refunds(self, charge: str) -> Iterator[StripeRefund]:
        query = {"charge": charge, "limit": _PAGE, "expand": ["data.balance_transaction"]}
        rows = list(self._pages(self._v1.refunds, query, lambda each: each))
        # Newest first, as they come.
        yield from (self._refund(row) for row in reversed(rows))

    def _refund(self, row: Any) -> StripeRefund:
        failed = getattr(row, "failure_balance_transaction", None)
        moved = [wire.movement(row.balance_transaction)] if row.balance_transaction else []
        if failed is not None:
            with _answers():
                moved.append(wire.movement(self._v1.balance_transactions.retrieve(failed, {}, self._with())))
        return StripeRefund(
            id=row.id,
            status=row.status,
            cents=row.amount,
            movements=tuple(moved),
            failure=getattr(row, "failure_reason", None),
            metadata=wire.metadata_of(row),
        )

    def _pages(self, service: Any, query: Mapping[str, Any], read: Callable[[Any], _T]) -> Iterator[_T]:
        query = dict(query)
        while True:
            with _answers():
                page = service.list(query, self._with())
            yield from (read(row) for row in page.data)
            if not page.has_more or not page.data:
                return
            query["starting_after"] = page.data[-1].id

    def _with(self, key: str | None = None) -> dict[str, Any]:
        try:
            options: dict[str, Any] = {"api_key": self._read_key().get_secret_value()}
        except InvalidRequest as error:
            raise StripeUnavailable(error.message) from error
        return {**options, "idempotency_key": key} if key else options


def verified(payload: bytes, signature: str | None, secrets: Iterable[SecretStr]) -> StripeEvent:
    """The event of a webhook that one of these secrets has signed within five minutes. Raises: `BadSignature`."""
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(
                payload, signature or "", secret.get_secret_value(), stripe.Webhook.DEFAULT_TOLERANCE
            )
            return wire.event(json.loads(payload))
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadSignature("What was signed is not an event.") from error
    raise BadSignature("The signature is not of this endpoint's secret, or older than five minutes.")


@contextmanager
def _answers() -> Iterator[None]:
    """The library's errors as ours; their causes are left out, since a request holds the key."""
    try:
        yield
    except stripe.CardError as error:
        raise CardDeclined(_message(error), decline_code=_decline_code(error)) from None
    except stripe.InvalidRequestError as error:
        kind = StripeMissing if error.http_status == 404 else StripeRefused
        raise kind(_message(error), status=error.http_status, code=error.code) from None
    except (stripe.AuthenticationError, stripe.PermissionError):
        # Nothing is wrong with what was asked: it waits for a key that is taken.
        raise StripeUnavailable("Stripe doesn't take the secret key.") from None
    except stripe.IdempotencyError as error:
        # Either somebody else is at the very same deed just now, or a key of ours has come to mean another one.
        if error.http_status == 409:
            raise StripeUnavailable("The same request is under way.") from None
        raise StripeRefused(_message(error), status=error.http_status, code="idempotency") from None
    except stripe.APIConnectionError as error:
        raise StripeUnavailable(f"Stripe does not answer ({type(error).__name__}).") from None
    except stripe.StripeError as error:
        answered = (error.http_status or 0) >= 500
        raise StripeUnavailable(f"Stripe answers {error.http_status}: {_message(error)}", answered=answered) from None


def _decline_code(error: stripe.CardError) -> str:
    """The bank's reason, or Stripe's own word: such as that the customer is to authenticate the payment."""
    return str(getattr(error.error, "decline_code", None) or error.code or "declined")


def _message(error: stripe.StripeError) -> str:
    return (error.user_message or str(error))[:500]
