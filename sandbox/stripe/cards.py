"""The test cards, and what each does when it is attached, charged, or disputed afterwards.

As with the real ones, a card that declines every charge also declines to be attached to a customer; only
`pm_card_chargeCustomerFail` can be attached and then declines. What an attached card does can be changed by
POST /sandbox/v1/payment_methods/{id}.
"""

from dataclasses import dataclass
from hashlib import sha256

_MESSAGES = {
    "card_declined": "Your card was declined.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}
_INSUFFICIENT = "Your card has insufficient funds."
_OWN_CODES = {"expired_card", "incorrect_cvc", "processing_error", "authentication_required"}


@dataclass(frozen=True, kw_only=True)
class Card:
    token: str
    """Without `pm_card_`, which is also what stands after `tok_`."""
    number: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    declines: str | None = None
    """The decline code of every charge."""
    attaches: bool = True
    authenticates: bool = False
    """Every payment has to be authenticated by the customer."""
    disputes: str | None = None
    """The reason of a dispute that follows every charge."""
    refunds: str | None = None
    """What becomes of a refund a day later: `pending` until then, or it `fails`, or both: `pending_fails`."""

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def fingerprint(self) -> str:
        return sha256(self.number.encode()).hexdigest()[:16]


def _declining(token: str, number: str, decline_code: str) -> tuple[Card, Card]:
    """Under its name of today and its older one."""
    return (
        Card(token=f"visa_{token}", number=number, declines=decline_code, attaches=False),
        Card(token=token, number=number, declines=decline_code, attaches=False),
    )


CARDS = (
    Card(token="visa", number="4242424242424242"),  # noqa: S106 - not a password, but a card that everybody knows
    Card(token="visa_debit", number="4000056655665556", funding="debit"),  # noqa: S106
    Card(token="mastercard", number="5555555555554444", brand="mastercard"),  # noqa: S106
    Card(token="amex", number="378282246310005", brand="amex"),  # noqa: S106
    Card(token="discover", number="6011111111111117", brand="discover"),  # noqa: S106
    Card(token="de", number="4000002760000016", country="DE"),  # noqa: S106
    *_declining("chargeDeclined", "4000000000000002", "generic_decline"),
    *_declining("chargeDeclinedInsufficientFunds", "4000000000009995", "insufficient_funds"),
    *_declining("chargeDeclinedLostCard", "4000000000009987", "lost_card"),
    *_declining("chargeDeclinedStolenCard", "4000000000009979", "stolen_card"),
    *_declining("chargeDeclinedExpiredCard", "4000000000000069", "expired_card"),
    *_declining("chargeDeclinedIncorrectCvc", "4000000000000127", "incorrect_cvc"),
    *_declining("chargeDeclinedProcessingError", "4000000000000119", "processing_error"),
    *_declining("chargeDeclinedVelocityLimitExceeded", "4000000000006975", "card_velocity_exceeded"),
    Card(token="chargeCustomerFail", number="4000000000000341", declines="generic_decline"),  # noqa: S106
    Card(token="visa_chargeCustomerFail", number="4000000000000341", declines="generic_decline"),  # noqa: S106
    Card(token="authenticationRequired", number="4000002760003184", authenticates=True),  # noqa: S106
    Card(token="createDispute", number="4000000000000259", disputes="fraudulent"),  # noqa: S106
    Card(token="pendingRefund", number="4000000000007726", refunds="pending"),  # noqa: S106
    Card(token="refundFail", number="4000000000005126", refunds="fails"),  # noqa: S106
    Card(token="createDisputeProductNotReceived", number="4000000000002685", disputes="product_not_received"),  # noqa: S106
)
_BY_TOKEN = {card.token: card for card in CARDS}
_BY_NUMBER = {card.number: card for card in reversed(CARDS)}


def by_token(token: str) -> Card | None:
    """`pm_card_visa` or `tok_visa`."""
    for prefix in ("pm_card_", "tok_"):
        if token.startswith(prefix):
            return _BY_TOKEN.get(token.removeprefix(prefix))
    return None


def by_number(number: str) -> Card | None:
    return _BY_NUMBER.get(number.replace(" ", ""))


def code_of(decline_code: str) -> str:
    """The error's code: most declines are `card_declined`, and the decline code says why."""
    return decline_code if decline_code in _OWN_CODES else "card_declined"


def message_of(decline_code: str) -> str:
    return _INSUFFICIENT if decline_code == "insufficient_funds" else _MESSAGES[code_of(decline_code)]
