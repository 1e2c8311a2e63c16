"""What can go wrong with the market.

    MarketError
    ├── MarketUnavailable             no answer: connection, timeout, 5xx, 429 after patience, circuit open
    │   └── OutcomeUnknown            a write that must not be sent twice was sent: it may or may not have happened
    ├── MarketAnswerMalformed         an answer that isn't what the schema says: never read as "nothing" or "zero"
    └── MarketRefused                 a definite no, in the market's own words
        ├── MarketNotAuthenticated    401
        ├── InsufficientFunds         402
        └── MarketNotFound            404

The first two are also `scalar.errors.Unavailable`: at our own door, they are a 503. A refusal is no `ScalarError`: its
`status` and `type` are the market's to us, and must never reach a customer as ours to him (a 401 least of all).

No message, repr or cause holds the token or what a machine is started with.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from scalar.errors import Unavailable


class Outcome(StrEnum):
    """How one attempt ended."""

    OK = "ok"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    MALFORMED = "malformed"
    CIRCUIT_OPEN = "circuit_open"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the market says is wrong with one field of a request."""

    field: str | None
    code: str
    message: str


class MarketError(Exception):
    """The root: every method of the client raises only what is below."""

    outcome: ClassVar[Outcome]


class MarketUnavailable(MarketError, Unavailable):
    """`retry_after`: seconds to wait, where the market or the open circuit says so. `maybe_done`: it may have acted."""

    outcome = Outcome.UNAVAILABLE

    def __init__(self, message: str, *, retry_after: float | None = None, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.maybe_done = maybe_done


class OutcomeUnknown(MarketUnavailable):
    """Look whether it happened before sending it again."""


class MarketAnswerMalformed(MarketError, Unavailable):
    """`path`: the field that is missing or wrong, empty where it is the whole answer."""

    outcome = Outcome.MALFORMED

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class MarketRefused(MarketError):
    """`status`: of the market's answer. `type`: its word for the reason; new ones appear. `details`: field by field."""

    outcome = Outcome.REFUSED

    def __init__(self, message: str, *, status: int, type: str, details: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.details = details


class MarketNotAuthenticated(MarketRefused):
    """No token, or one that the market doesn't take."""


class InsufficientFunds(MarketRefused):
    """The balance doesn't cover the order."""


class MarketNotFound(MarketRefused):
    """The market itself says that there is no such thing. A gateway's 404 page is `MarketAnswerMalformed`."""
