"""Collecting what is due: each try is written down, made under its own key, and its outcome written back.

A try that nobody saw the end of is taken up again: the invoice at Stripe tells whether it was paid.
"""

from datetime import timedelta

from scalar.billing import dunning, invoice_store, invoices, turns
from scalar.billing import dunning_store as store
from scalar.billing.dunning_store import Collectable
from scalar.billing.payment_model import AttemptState
from scalar.billing.stripe_answers import StripeInvoice
from scalar.billing.stripe_errors import CardDeclined, StripeError, StripeRefused, StripeUnavailable, burnt
from scalar.billing.stripe_following import follow_invoice
from scalar.billing.till import Done, Till, pause_after

_AT_ONCE = 20
_PAUSE = timedelta(minutes=10)
"""After what nobody has thought of, which somebody has to look at."""


def charge_due(till: Till, *, again: bool = False, seconds: float = turns.SECONDS) -> Done:
    """Charge each invoice that is to be charged for the first time, or `again` now; and tries that nobody ended."""
    with till.transact() as tx:
        store.intend_attempts(tx, till.clock(), _AT_ONCE, again=again)
    return turns.take(till, _TRIES, seconds=seconds)


def _charge(till: Till, each: Collectable) -> None:
    theirs = till.stripe.invoice(each.stripe_id)
    if theirs.status == "open":
        _check_amount(till, each, theirs)
        try:
            theirs = till.stripe.pay(each.stripe_id, key=each.attempt.key)
        except CardDeclined as error:
            with till.transact() as tx:
                dunning.declined(
                    tx,
                    each.attempt,
                    decline_code=error.decline_code,
                    message=error.message,
                    settings=till.settings,
                    now=till.clock(),
                )
            return
    follow_invoice(till, each.attempt.invoice_id, theirs)
    with till.transact() as tx:
        state = AttemptState.PAID if theirs.status == "paid" else AttemptState.WITHDRAWN
        store.end_attempt(tx, each.attempt.id, state, till.clock())


def _check_amount(till: Till, each: Collectable, theirs: StripeInvoice) -> None:
    """Nothing but what is due with us is taken. Raises: `StripeRefused`."""
    with till.transact() as tx:
        ours = invoices.existing(invoice_store.invoice(tx, each.attempt.invoice_id))
    if theirs.amount_remaining != ours.outstanding:
        message = f"Stripe would take {theirs.amount_remaining} cents, but {ours.outstanding} are due: not charged."
        raise StripeRefused(message, status=None, code="differs")


def _put_off(till: Till, each: Collectable, error: Exception) -> None:
    with till.transact() as tx:
        if isinstance(error, StripeError) and not isinstance(error, StripeUnavailable):
            dunning.refused(tx, each.attempt, message=error.message, settings=till.settings, now=till.clock())
            return
        pause = pause_after(1) if isinstance(error, StripeUnavailable) else _PAUSE
        store.put_attempt_off(tx, each.attempt.id, till.clock() + pause, new_key=burnt(error))


_TRIES = turns.Waiting(
    lease=store.lease_attempts,
    work=_charge,
    put_off=_put_off,
    name=lambda each: each.attempt.invoice_id,
    at_most=_AT_ONCE,
)
