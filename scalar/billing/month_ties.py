"""Do a month's revenue, cost and cash tie: the ledger, the market's statement and Stripe's? In words: where they don't.

rated lines ─ ledger    nodes' and runs' costs ─ ledger    orders ─ market's statement    cash:stripe ─ Stripe's
"""

from collections.abc import Iterable
from datetime import date

from scalar.billing import cost_store, ledger_store, margin_store, stripe_statement, tie_store
from scalar.billing.margin import left_over
from scalar.billing.money import usd
from scalar.billing.months import end_of, start_of
from scalar.billing.stripe_settings import StripeSettings
from scalar.billing.tie_store import Tie
from scalar.database import Transaction
from scalar.metering.model import Window


def off(tx: Transaction, month: date) -> list[str]:
    """`month`: one that is over. Empty: all of it ties."""
    window = Window(start=start_of(month), end=end_of(month))
    return [
        *costs(tx, window),
        *_told("", [*tie_store.revenue_in_ledger(tx, window), *(t for t in tie_store.month_ties(tx, window) if t.off)]),
        *market(tx, window),
        *(stripe_statement.off_until(tx, window.end) if StripeSettings().configured else []),
        *ledger(tx),
    ]


def ledger(tx: Transaction) -> list[str]:
    """Balances that are not their entries, and node-hours that are prepaid in one book alone."""
    prepaid = tie_store.prepaid_in_ledger(tx)
    return [*unlike_entries(tx), *_told("", [prepaid] if prepaid.off else [])]


def unlike_entries(tx: Transaction) -> list[str]:
    return [
        f"{each.account}: its balance is {usd(each.balance)}, its entries add up to {usd(each.entries)}"
        for each in ledger_store.off_balances(tx)
    ]


def costs(tx: Transaction, window: Window) -> list[str]:
    """Hours that wait to be costed, costs that the ledger doesn't have, and blocks whose price went nowhere."""
    due = [each.hour for each in cost_store.due_hours(tx, window.end, since=window.start)]
    blocks = margin_store.pnl(tx, cost_store.blocks_in(tx, window), window.end)
    left = [] if due else left_over(blocks, window.end)
    return [
        *([f"{len(due)} hour(s) are not costed, the first {due[0]:%Y-%m-%d %H:%M}"] if due else []),
        *_told("the cost of ", tie_store.costs_in_ledger(tx, window)),
        *(f"{each.block_id}: of its price {usd(each.ahead)} went nowhere" for each in left),
    ]


def market(tx: Transaction, window: Window) -> list[str]:
    """Orders whose cash is not what the market's statement has, and what one of the two has alone."""
    read = tie_store.statement_read(tx, window)
    orders = tie_store.orders_on_statement(tx, window, read_until=read.until) if read.until is not None else []
    return [
        *([f"{read.unread_fills} fill(s) are newer than the market's statement"] if read.unread_fills else []),
        *(f"{each}: on the market's statement, and no order of ours" for each in read.strange_lines),
        *_told("", (each for each in orders if not each.agrees)),
    ]


def _told(what: str, ties: Iterable[Tie]) -> list[str]:
    return [f"{what}{each.what}: {usd(each.ours)} and {usd(each.theirs)} are not the same" for each in ties]
