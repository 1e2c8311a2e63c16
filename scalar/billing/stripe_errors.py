"""What can go wrong with Stripe.

    StripeError
    ├── StripeUnavailable     no answer, or one of its own failure: it may have been done
    ├── CardDeclined          the card, its bank or the customer said no
    └── StripeRefused         a definite no, in Stripe's own words
        └── StripeMissing     there is no such object
    BadSignature              a webhook that Stripe did not send, or not just now

The first is also `scalar.errors.Unavailable`: at our own door, it is a 503. No message or cause holds the secret key.
"""

from scalar.errors import InvalidRequest, Unavailable


class StripeError(Exception):
    """The root: every method of the gateway raises only what is below."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class StripeUnavailable(StripeError, Unavailable):
    """`answered`: it said itself that it failed, and says so again for as long as it knows the idempotency key."""

    def __init__(self, message: str, *, answered: bool = False) -> None:
        Unavailable.__init__(self, message)
        self.answered = answered


class CardDeclined(StripeError):
    def __init__(self, message: str, *, decline_code: str) -> None:
        super().__init__(message)
        self.decline_code = decline_code


class StripeRefused(StripeError):
    """`code`: Stripe's word for the reason, where it has one."""

    def __init__(self, message: str, *, status: int | None, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class StripeMissing(StripeRefused):
    """It was never there, or was deleted."""


class BadSignature(InvalidRequest):
    status, type, title = 400, "bad-signature", "This was not sent by Stripe just now"


def burnt(error: Exception) -> bool:
    """Its idempotency key is answered with this error for a day. What was done is found by looking: use another."""
    return isinstance(error, StripeRefused) or (isinstance(error, StripeUnavailable) and error.answered)
