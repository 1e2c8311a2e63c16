"""A wallet topped up by card: written down, asked of Stripe under its own key, and credit once the money has come."""

from datetime import datetime, timedelta
from functools import partial

from scalar.accounts.store import audit
from scalar.billing import top_up_store as store
from scalar.billing import turns, wallet_store
from scalar.billing.payment_model import TopUp, TopUpState
from scalar.billing.stripe_answers import StripeIntent
from scalar.billing.stripe_customer_store import customer_of
from scalar.billing.stripe_customers import sync_customers
from scalar.billing.stripe_errors import CardDeclined, StripeRefused, StripeUnavailable, burnt
from scalar.billing.stripe_following import follow_intent
from scalar.billing.till import Done, Till, pause_after
from scalar.database import Transaction
from scalar.errors import IdempotencyConflict, NotFound

LEAST = 50
"""Cents: a card is charged no less."""
_AT_ONCE = 20
_CLOCKS_DIFFER_BY = timedelta(hours=1)
_LOOK_AGAIN = timedelta(hours=1)
_PATIENCE = timedelta(days=3)
"""A top-up that nobody has confirmed by then is cancelled."""
_UNCONFIRMED = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


def request(
    tx: Transaction, organisation_id: str, cents: int, *, actor: str, now: datetime, key: str | None = None
) -> TopUp:
    """The same key is the same top-up. Raises: `IdempotencyConflict`."""
    wallet_store.open_account(tx, organisation_id)
    made = store.insert_top_up(tx, organisation_id, cents, by=actor, now=now, idempotency_key=key)
    if made is not None:
        audit(tx, actor, "top_up.intended", made.id, cents=cents)
        return made
    earlier = store.top_up_of_key(tx, organisation_id, str(key))
    if earlier.cents != cents:
        raise IdempotencyConflict("This idempotency key belongs to another top-up.")
    return earlier


def send(till: Till, *, seconds: float = turns.SECONDS) -> Done:
    """Ask Stripe for what was asked of us, and look at what waits for the customer."""
    return _take(till, seconds=seconds)


def send_now(till: Till, top_up: TopUp) -> tuple[TopUp, StripeIntent | None]:
    """The one that somebody waits for, as `look` has it; without the intent where Stripe does not answer."""
    sync_customers(till, only=top_up.organisation_id)
    _take(till, only=top_up.id)
    try:
        return look(till, top_up.id)
    except StripeUnavailable:
        return _existing(till, top_up.id), None


def _take(till: Till, *, only: str | None = None, seconds: float = turns.SECONDS) -> Done:
    waiting = turns.Waiting(
        lease=partial(store.lease_top_ups, only=only),
        work=_send,
        put_off=_put_off,
        name=lambda top_up: top_up.id,
        at_most=_AT_ONCE,
    )
    return turns.take(till, waiting, seconds=seconds)


def look(till: Till, top_up_id: str) -> tuple[TopUp, StripeIntent | None]:
    """As it is now, with Stripe's intent where the customer may have to confirm it.

    Raises: `NotFound`, `StripeError`.
    """
    top_up = _existing(till, top_up_id)
    if top_up.state is not TopUpState.PENDING or top_up.stripe_id is None:
        return top_up, None
    intent = till.stripe.intent(top_up.stripe_id)
    follow_intent(till, intent)
    return _existing(till, top_up_id), intent


def _existing(till: Till, top_up_id: str) -> TopUp:
    with till.transact() as tx:
        found = store.top_up(tx, top_up_id)
    if found is None:
        raise NotFound("There is no such top-up.")
    return found


def _send(till: Till, top_up: TopUp) -> None:
    try:
        _ask(till, top_up)
    except (CardDeclined, StripeRefused) as error:
        with till.transact() as tx:
            store.move_top_up(tx, top_up.id, TopUpState.FAILED, stripe_id=None, now=till.clock(), message=error.message)


def _put_off(till: Till, top_up: TopUp, error: Exception) -> None:
    with till.transact() as tx:
        store.put_top_up_off(tx, top_up.id, till.clock() + pause_after(top_up.tries), new_key=burnt(error))


def _ask(till: Till, top_up: TopUp) -> None:
    with till.transact() as tx:
        customer = customer_of(tx, top_up.organisation_id)
        # What waits for the customer is looked at again; should this end early, it is sent again sooner.
        if customer is None or top_up.state is TopUpState.PENDING:
            store.put_top_up_off(tx, top_up.id, till.clock() + (_LOOK_AGAIN if customer else pause_after(1)))
    if customer is None:
        return
    intent = till.stripe.intent(top_up.stripe_id) if top_up.stripe_id else _there(till, top_up, customer)
    if intent is None:
        card = till.stripe.customer(customer).card
        metadata = {"scalar_top_up": top_up.id, "scalar_organisation": top_up.organisation_id}
        intent = till.stripe.create_intent(customer, top_up.cents, card=card, metadata=metadata, key=top_up.key)
    if intent.status in _UNCONFIRMED and till.clock() - top_up.created_at >= _PATIENCE:
        intent = _cancelled(till, top_up, intent)
    follow_intent(till, intent)


def _cancelled(till: Till, top_up: TopUp, intent: StripeIntent) -> StripeIntent:
    try:
        return till.stripe.cancel_intent(intent.id, key=f"{top_up.key}:cancel")
    except StripeRefused:
        # It was paid just now.
        return till.stripe.intent(intent.id)


def _there(till: Till, top_up: TopUp, customer: str) -> StripeIntent | None:
    """Who took it up before may have asked for it, and died."""
    if top_up.tries == 1:
        return None
    theirs = till.stripe.intents_of(customer, top_up.created_at - _CLOCKS_DIFFER_BY)
    return next((each for each in theirs if each.metadata.get("scalar_top_up") == top_up.id), None)
