"""Our money at the market, in whole cents."""

from pydantic import AliasChoices, AliasPath, Field

from scalar.market.answers.fields import Answer, Moment, Open


class Balances(Answer):
    """`current_cents`: what is ours. `available_cents`: what of it no open order has reserved."""

    available_cents: int = Field(validation_alias=AliasChoices("available_balance_cents", "available_cents"))
    current_cents: int = Field(validation_alias=AliasChoices("current_balance_cents", "current_cents"))
    current_overage_cents: int
    overage_limit_cents: int
    updated_at: Moment


class TransactionKind(Open):
    STRIPE_CARD_PAYMENT = "stripe_card_payment"
    MANUAL_PAYMENT = "manual_payment"
    CREDIT_GRANT = "credit_grant"
    REFUND = "refund"
    BUY_ORDER = "buy_order"
    SELL_ORDER = "sell_order"


class MarketTransaction(Answer):
    """The market doesn't say which sign its amounts have: take the direction from the kind."""

    cursor: str
    time: Moment = Field(validation_alias="transaction_time")
    amount_cents: int
    balance_cents: int = Field(validation_alias=AliasChoices("balance", "balance_cents"))
    """After it."""
    kind: TransactionKind = Field(validation_alias=AliasPath("details", "type"))
    order_id: str | None = Field(default=None, validation_alias=AliasPath("details", "order_id"))


class TransactionPage(Answer):
    data: tuple[MarketTransaction, ...]
    has_more: bool | None = None
    """None: not said; then a full page may have a successor."""
