"""What the engine refuses.

MarketError
├── Rejected                 an order that was not taken; nothing has changed
│   ├── InvalidOrder
│   ├── InsufficientBalance
│   └── InsufficientCapacity
├── NotCancellable           the order has already ended
├── Unknown                  no such account, pool or order
└── Taken                    the id is in use
"""


class MarketError(Exception):
    """Anything the market refuses; the message is fit for whoever asked."""


class Rejected(MarketError):
    """An order that was not taken."""


class InvalidOrder(Rejected):
    """The order makes no sense: its times, size, price or owner."""


class InsufficientBalance(Rejected):
    """The buyer's free cash doesn't cover the order at its limit."""


class InsufficientCapacity(Rejected):
    """The pool doesn't own, or has already offered, what is to be sold."""


class NotCancellable(MarketError):
    """The order is filled or cancelled already."""


class Unknown(MarketError):
    """No such account, pool or order."""


class Taken(MarketError):
    """An account or pool with this id is open already."""
