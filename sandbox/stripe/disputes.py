"""Disputes: opened by a test card or by POST /sandbox/v1/disputes, answered with evidence, won or lost.

The money and a fee of $15 leave the balance when a dispute opens; the money comes back when it is won.
"""

from typing import Any

from sandbox.stripe import balance_transactions
from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.identity import new_id
from sandbox.stripe.listing import chosen, listed
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.world import World

FEE = 1500
_DAYS_TO_ANSWER = 21
_EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_OUTCOMES = {"winning_evidence": "won", "losing_evidence": "lost"}


def open_dispute(world: World, charge: Object, *, reason: str, cents: int | None = None) -> Object:
    """Raises: `Refusal` where the charge cannot be disputed."""
    if not charge["paid"] or charge["disputed"]:
        raise invalid("charge", f"{charge['id']} cannot be disputed: it failed, or is disputed already")
    at = world.time_of(charge["customer"])
    amount = cents or charge["amount"]
    if amount > charge["amount"]:
        raise invalid("amount", "A dispute cannot be for more than the charge")
    dispute = _new(charge, at, amount, reason)
    taken = _move(world, dispute, -amount, at, fee=FEE)
    dispute["balance_transactions"] = [taken]
    world.store.add(dispute, parent=charge["id"])
    world.changed("charge.updated", charge, {**charge, "disputed": True})
    world.emit("charge.dispute.created", dispute)
    world.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def close_dispute(world: World, dispute: Object, outcome: str) -> Object:
    """`outcome` is won or lost."""
    if dispute["status"] in {"won", "lost"}:
        raise invalid("dispute", "This dispute is already closed")
    dispute = {**dispute, "status": outcome}
    if outcome == "won":
        customer = world.store[dispute["charge"]]["customer"]
        returned = _move(world, dispute, dispute["amount"], world.time_of(customer))
        dispute["balance_transactions"] = [*dispute["balance_transactions"], returned]
    world.store.put(dispute)
    world.emit("charge.dispute.closed", dispute)
    if outcome == "won":
        world.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("dispute", call.names["dispute"])


def update(world: World, call: Call) -> Object:
    """Evidence; submitted at once unless `submit` is false. winning_evidence and losing_evidence decide it."""
    params = call.params
    before = world.get("dispute", call.names["dispute"])
    dispute = {**before, "metadata": params.metadata(before["metadata"])}
    evidence = params.nested("evidence")
    given = {name: evidence.text(name) for name in _EVIDENCE if evidence.has(name)} if evidence else {}
    submits = params.flag("submit") is not False
    params.finish()
    if given:
        dispute["evidence"] = {**before["evidence"], **given}
        count = before["evidence_details"]["submission_count"] + submits
        details = {**before["evidence_details"], "has_evidence": True, "submission_count": count}
        dispute |= {"evidence_details": details, "status": "under_review" if submits else before["status"]}
    world.changed("charge.dispute.updated", before, dispute)
    outcome = _OUTCOMES.get(dispute["evidence"]["uncategorized_text"] or "")
    return close_dispute(world, dispute, outcome) if outcome and given and submits else dispute


def close(world: World, call: Call) -> Object:
    """Accepted as lost."""
    nothing_else(call)
    return close_dispute(world, world.get("dispute", call.names["dispute"]), "lost")


def list_all(world: World, call: Call) -> Object:
    return listed(world, call, "dispute", *chosen(call.params, "charge", "payment_intent"))


def _move(world: World, dispute: Object, cents: int, at: int, fee: int = 0) -> Object:
    category = "dispute" if cents < 0 else "dispute_reversal"
    what = f"Chargeback {'withdrawal' if cents < 0 else 'reversal'} for {dispute['charge']}"
    return balance_transactions.move(
        world, cents=cents, type="adjustment", category=category, source=dispute, at=at, description=what, fee=fee
    )


def _new(charge: Object, at: int, cents: int, reason: str) -> Object:
    details: dict[str, Any] = {
        "due_by": at + _DAYS_TO_ANSWER * 86_400,
        "enhanced_eligibility": {},
        "has_evidence": False,
        "past_due": False,
        "submission_count": 0,
    }
    brand = charge["payment_method_details"]["card"]["brand"]
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": cents,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": at,
        "currency": "usd",
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": details,
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {"brand": brand, "case_type": "chargeback", "network": brand, "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }


ROUTES: list[Route] = [
    ("GET", "/v1/disputes", list_all),
    ("GET", "/v1/disputes/{dispute}", retrieve),
    ("POST", "/v1/disputes/{dispute}", update),
    ("POST", "/v1/disputes/{dispute}/close", close),
]
