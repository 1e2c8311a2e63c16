"""What the market says, as frozen values. No I/O.

An answer is read strictly where it matters and leniently where the market grows: an unknown field is ignored and an
unknown status kept as the word that it is, but a missing field, a number that is a string, a price that is a float or a
schedule that overlaps itself is an error that names the field. Nothing is guessed, and nothing missing is "none".
"""

from scalar.market.answers.book import BookDepth, BookQuote, BookWindow, PriceLevel, PublicFill
from scalar.market.answers.fields import FOREVER, Answer, Listed, Page, Read, nothing, reader
from scalar.market.answers.instances import (
    Image,
    ImageStatus,
    Instance,
    InstanceStatus,
    LogChunk,
    Priority,
    SshHostKey,
    SshInfo,
)
from scalar.market.answers.money import Balances, MarketTransaction, TransactionKind, TransactionPage
from scalar.market.answers.orders import (
    Fee,
    MarketFill,
    MarketOrder,
    Notice,
    OrderStatus,
    Preview,
    Previewed,
    Quoted,
    Unavailable,
    UnavailableReason,
)
from scalar.market.answers.pools import Account, Pool, Procurement, ProcurementState, Workspace
from scalar.market.answers.refusals import refusal
from scalar.market.answers.skus import Availability, PropertyDefinition, Sku

__all__ = [
    "FOREVER",
    "Account",
    "Answer",
    "Availability",
    "Balances",
    "BookDepth",
    "BookQuote",
    "BookWindow",
    "Fee",
    "Image",
    "ImageStatus",
    "Instance",
    "InstanceStatus",
    "Listed",
    "LogChunk",
    "MarketFill",
    "MarketOrder",
    "MarketTransaction",
    "Notice",
    "OrderStatus",
    "Page",
    "Pool",
    "Preview",
    "Previewed",
    "PriceLevel",
    "Priority",
    "Procurement",
    "ProcurementState",
    "PropertyDefinition",
    "PublicFill",
    "Quoted",
    "Read",
    "Sku",
    "SshHostKey",
    "SshInfo",
    "TransactionKind",
    "TransactionPage",
    "Unavailable",
    "UnavailableReason",
    "Workspace",
    "nothing",
    "reader",
    "refusal",
]
