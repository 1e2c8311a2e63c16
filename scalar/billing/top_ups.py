"""A wallet topped up by card: written down, asked of Stripe under its own key, and credit once the money has come."""

from datetime import datetime, timedelta

from scalar.accounts.store import audit
from scalar.billing import top_up_store as store
from scalar.billing import wallet_store
from scalar.billing.payment_model import TopUp, TopUpState
from scalar.billing.stripe_answers import StripeIntent
from scalar.billing.stripe_customer_store import customer_of
from scalar.billing.stripe_customers import sync_customers
from scalar.billing.stripe_errors import CardDeclined, StripeError, StripeRefused, StripeUnavailable
from scalar.billing.stripe_following import follow_intent
from scalar.billing.till import LEASE, Done, Till, pause_after
from scalar.database import Transaction
from scalar.errors import IdempotencyConflict

LEAST = 50
"""Cents: a card is charged no less."""
_AT_ONCE = 20
_CLOCKS_DIFFER_BY = timedelta(hours=1)
_LOOK_AGAIN = timedelta(hours=1)


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


def send(till: Till, only: str | None = None) -> tuple[Done, StripeIntent | None]:
    """Ask Stripe for what was asked of us, and look at what waits for the customer; with the last of its answers."""
    done, now, intent = Done(), till.clock(), None
    if only is not None:
        sync_customers(till, done)
    with till.transact() as tx:
        leased = store.lease_top_ups(tx, now, now + LEASE, _AT_ONCE, only=only)
    for each in leased:
        try:
            intent = _send(till, each) or intent
            done.moved += 1
        except (CardDeclined, StripeRefused) as error:
            with till.transact() as tx:
                store.move_top_up(
                    tx, each.id, TopUpState.FAILED, stripe_id=None, now=till.clock(), message=error.message
                )
        except StripeError as error:
            with till.transact() as tx:
                new_key = isinstance(error, StripeUnavailable) and error.answered
                store.put_top_up_off(tx, each.id, till.clock() + pause_after(each.tries), new_key=new_key)
            done.note(each.id, error)
    return done, intent


def _send(till: Till, top_up: TopUp) -> StripeIntent | None:
    """None: its customer isn't at Stripe yet."""
    with till.transact() as tx:
        customer = customer_of(tx, top_up.organisation_id)
        # What waits for the customer is looked at again; should this end early, it is sent again sooner.
        if customer is None or top_up.state is TopUpState.PENDING:
            store.put_top_up_off(tx, top_up.id, till.clock() + (_LOOK_AGAIN if customer else pause_after(1)))
    if customer is None:
        return None
    intent = till.stripe.intent(top_up.stripe_id) if top_up.stripe_id else _there(till, top_up, customer)
    if intent is None:
        card = till.stripe.customer(customer).card
        metadata = {"scalar_top_up": top_up.id, "scalar_organisation": top_up.organisation_id}
        intent = till.stripe.create_intent(customer, top_up.cents, card=card, metadata=metadata, key=top_up.key)
    follow_intent(till, intent)
    return intent


def _there(till: Till, top_up: TopUp, customer: str) -> StripeIntent | None:
    """Who took it up before may have asked for it, and died."""
    if top_up.tries == 1:
        return None
    theirs = till.stripe.intents_of(customer, top_up.created_at - _CLOCKS_DIFFER_BY)
    return next((each for each in theirs if each.metadata.get("scalar_top_up") == top_up.id), None)
