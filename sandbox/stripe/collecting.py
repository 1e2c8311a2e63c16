"""An invoice's life after the draft: finalized, collected or not, paid, void or uncollectible.

    draft ── finalize ──▶ open ──▶ paid
                           ├────▶ uncollectible ──▶ paid | void
                           └────▶ void

With `auto_advance` that happens by itself: a draft is finalized an hour after it was made, and collected at once; one
that was finalized by hand is collected an hour later. A failed attempt is repeated after `--retry-days`.
"""

from sandbox.stripe import cards, charging, settling
from sandbox.stripe.finalizing import finalize
from sandbox.stripe.payment_methods import usable
from sandbox.stripe.refusals import Object, Refusal, invalid
from sandbox.stripe.world import World


def finalize_when_due(world: World, id: str) -> None:
    draft = world.store[id]
    if draft.get("status") == "draft" and draft["auto_advance"]:
        invoice = finalize(world, draft)
        if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
            collect(world, invoice["id"])


def collect(world: World, id: str) -> None:
    """An attempt of the schedule."""
    invoice = world.store[id]
    if invoice["status"] == "open" and invoice["auto_advance"]:
        _attempt(world, invoice, None, scheduled=True)


def pay(world: World, invoice: Object, *, card: str | None) -> Object:
    """By hand. Raises: `Refusal`."""
    invoice = _payable(world, invoice)
    if invoice["status"] == "paid":
        return invoice
    method = None if card is None else _method(world, invoice, card)
    invoice, refusal = _attempt(world, invoice, method, scheduled=False)
    if refusal is not None:
        raise refusal
    return invoice


def pay_elsewhere(world: World, invoice: Object) -> Object:
    """Paid out of band. Raises: `Refusal`."""
    invoice = _payable(world, invoice)
    if invoice["status"] == "paid":
        return invoice
    settling.cancel_payment(world, invoice, None)
    return settling.settle(world, {**invoice, "amount_paid": invoice["amount_due"]})


def intent_moved(world: World, intent: Object) -> None:
    """An intent of an invoice was confirmed or authenticated by itself: the invoice follows."""
    invoice = settling.invoice_of(world, intent)
    if invoice is None or invoice["status"] not in {"open", "uncollectible"}:
        return
    _follow(world, invoice, intent, scheduled=False)


def _payable(world: World, invoice: Object) -> Object:
    """Finalized, and open to be paid. Raises: `Refusal`."""
    if invoice["status"] == "draft":
        return finalize(world, invoice)
    if invoice["status"] == "paid":
        raise invalid("invoice", "Invoice is already paid")
    settling.must_be(invoice, "pay", "open", "uncollectible")
    return invoice


def _method(world: World, invoice: Object, card: str) -> Object:
    """The customer's own card, or a test card that is used once."""
    method = usable(world, card, "payment_method")
    if method["customer"] != invoice["customer"] and cards.by_token(card) is None:
        raise invalid("payment_method", "The payment method must be attached to the customer of the invoice.")
    return method


def _default_method(world: World, invoice: Object) -> Object | None:
    """The invoice's own, or the customer's, as long as it is attached."""
    settings = world.store[invoice["customer"]].get("invoice_settings") or {}
    card = invoice["default_payment_method"] or settings.get("default_payment_method")
    method = world.store[card] if card else None
    return method if method and method["customer"] == invoice["customer"] else None


def _attempt(world: World, invoice: Object, method: Object | None, *, scheduled: bool) -> tuple[Object, Refusal | None]:
    """The invoice afterwards, and why it isn't paid."""
    method = method or _default_method(world, invoice)
    if method is None:
        refusal = Refusal(
            400,
            "This customer has no attached payment source or default payment method. Please consider adding a default"
            " payment method.",
            code="resource_missing",
            kept=True,
        )
        return _failed(world, invoice, scheduled=scheduled), refusal
    _, intent = settling.payment_of(world, invoice)
    intent = charging.attempt(world, intent, method, off_session=False)
    invoice = _follow(world, invoice, intent, scheduled=scheduled)
    if intent["status"] == "requires_action":
        message = "This payment requires additional user action before it can be completed successfully."
        code = "invoice_payment_intent_requires_action"
        return invoice, Refusal(402, message, type="card_error", code=code, kept=True, payment_intent=intent)
    return invoice, None if intent["status"] == "succeeded" else charging.refusal(intent)


def _follow(world: World, invoice: Object, intent: Object, *, scheduled: bool) -> Object:
    """The invoice after its intent moved."""
    if intent["status"] == "succeeded":
        counted = {**invoice, "attempt_count": max(1, invoice["attempt_count"] + scheduled)}
        return settling.settle(
            world, {**counted, "attempted": True, "amount_paid": invoice["amount_due"]}, before=invoice
        )
    if intent["status"] == "requires_action":
        world.emit("invoice.payment_action_required", invoice)
    return _failed(world, invoice, scheduled=scheduled)


def _failed(world: World, invoice: Object, *, scheduled: bool) -> Object:
    """Any first attempt counts, and afterwards those of the schedule."""
    before = invoice
    counts = scheduled or invoice["attempt_count"] == 0
    invoice = {**invoice, "attempted": True, "attempt_count": invoice["attempt_count"] + counts}
    if counts and invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
        invoice = _try_again_later(world, invoice)
    world.changed("invoice.updated", before, invoice)
    world.emit("invoice.payment_failed", invoice)
    settling.mark_delinquent(world, invoice, True)
    is_last = scheduled and invoice["next_payment_attempt"] is None
    if is_last and invoice["status"] == "open" and world.options.after_retries == "uncollectible":
        return settling.mark_uncollectible(world, invoice)
    return invoice


def _try_again_later(world: World, invoice: Object) -> Object:
    world.store.drop_deadlines(invoice["id"], "collect")
    waits = world.options.retry_seconds
    if invoice["attempt_count"] > len(waits):
        return {**invoice, "next_payment_attempt": None}
    at = world.time_of(invoice["customer"]) + waits[invoice["attempt_count"] - 1]
    world.later(at, "collect", invoice)
    return {**invoice, "next_payment_attempt": at}
