"""Every error that Scalar raises on purpose.

    ScalarError
    ├── InvalidRequest            what was asked can't be right, whenever it is asked
    │   └── Unsatisfiable         no node of the fleet could ever run it
    ├── NotAuthenticated          no key, or none that we know
    ├── PaymentRequired           a job for which too little is left of the organisation's money
    │   └── SpendCapReached       too little of what it lets itself spend in a month
    ├── Forbidden                 a known key without the role
    ├── NotFound                  no such thing, or another tenant's
    ├── Conflict                  right, but not in this state
    │   ├── IdempotencyConflict   the same key came with another body
    │   ├── IllegalMove           a job, run or order can't go from this state to that
    │   └── SpendRefused          a guard stands between this order and the money
    ├── TooLarge                  a body over the limit
    └── Unavailable               the platform's fault, and may pass

Each knows its HTTP status and its `type`, which never changes: programs branch on it, people read the message.
`scalar_api.problems` renders all of them, once.
"""

from typing import ClassVar


class ScalarError(Exception):
    """`message` is for whoever made the request: it says what to do, and holds no secret."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidRequest(ScalarError):
    status, type, title = 422, "invalid-request", "The request is not valid"


class Unsatisfiable(InvalidRequest):
    type, title = "unsatisfiable", "No node could ever run this"


class NotAuthenticated(ScalarError):
    status, type, title = 401, "not-authenticated", "A valid API key is needed"


class PaymentRequired(ScalarError):
    status, type, title = 402, "payment-required", "There is not enough credit left for this"


class SpendCapReached(PaymentRequired):
    type, title = "spend-cap-reached", "A spending cap is in the way of this"


class Forbidden(ScalarError):
    status, type, title = 403, "forbidden", "This key may not do that"


class NotFound(ScalarError):
    status, type, title = 404, "not-found", "There is no such thing"


class Conflict(ScalarError):
    status, type, title = 409, "conflict", "Not possible in this state"


class IdempotencyConflict(Conflict):
    type, title = "idempotency-conflict", "This idempotency key was used with another request"


class IllegalMove(Conflict):
    type, title = "illegal-move", "This can't change to that state"


class SpendRefused(Conflict):
    type, title = "spend-refused", "The guards refuse this order"


class TooLarge(ScalarError):
    status, type, title = 413, "too-large", "The request is too large"


class Unavailable(ScalarError):
    status, type, title = 503, "unavailable", "The platform can't answer right now"
