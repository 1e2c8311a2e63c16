"""A Stripe stand-in, our books, and the till between them; and ways for a process to die on the way."""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import requests
from pydantic import SecretStr

from scalar.billing import invoice_store, wallet_store
from scalar.billing.charging import charge_due
from scalar.billing.invoice_model import Invoice
from scalar.billing.ledger_store import summed
from scalar.billing.stripe import Stripe
from scalar.billing.stripe_answers import StripeEvent
from scalar.billing.stripe_events import handle_events, store_event
from scalar.billing.stripe_settings import DunningSettings
from scalar.billing.stripe_sync import sync
from scalar.billing.till import Till
from scalar.database import Database, Transaction
from tests.billing.billed import JANUARY, a_customer_with_a_job, at, opened, use
from tests.stripe_process import SandboxStripe

CENT = 10_000
Transact = Callable[[], AbstractContextManager[Transaction]]


class Shop:
    """What a test does with them. Amounts are cents."""

    def __init__(self, sandbox: SandboxStripe, database: Database, **settings: Any) -> None:
        self.sandbox = sandbox
        self.database = database
        self.v1: Any = sandbox.client().v1
        self.settings = DunningSettings(_env_file=None, **settings)
        self.stripe = self.a_stripe()
        self.till = self.a_till(self.stripe)
        newest = self.v1.events.list({"limit": 1}).data
        self._told_until: str | None = newest[0].id if newest else None

    def close(self) -> None:
        self.stripe.close()

    def a_stripe(self, session: requests.Session | None = None) -> Stripe:
        session = session or requests.Session()
        session.trust_env = False
        key = SecretStr(self.sandbox.key)
        return Stripe(lambda: key, api_base=self.sandbox.url, session=session, retries=0)

    def a_till(self, stripe: Stripe, transact: Transact | None = None) -> Till:
        return Till(
            stripe=stripe, settings=self.settings, transact=transact or self.database.transaction, clock=self.now
        )

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.sandbox.now, UTC)

    def later(self, **how: float) -> None:
        self.sandbox.advance(timedelta(**how).total_seconds())

    def an_organisation(
        self, name: str = "acme", *, card: str | None = "pm_card_visa", known: bool = True, **contact: Any
    ) -> tuple[str, str]:
        """(its id, the id of a job of it); it is a customer at Stripe, with a card, unless it isn't `known` there."""
        with self.database.transaction() as tx:
            org, job = a_customer_with_a_job(tx, name)
            wallet_store.open_account(tx, org)
            wallet_store.set_contact(tx, org, {"email": f"{name}@example.com", **contact})
        if known:
            sync(self.till)
        if known and card is not None:
            self.use_card(org, card)
        return org, job

    def use_card(self, org: str, card: str) -> None:
        self.stripe.use_card(self.customer(org), card, key=f"test:{uuid4()}")

    def customer(self, org: str) -> str:
        return str(
            self.row("select stripe_customer_id as id from billing_accounts where organisation_id = %s", org)["id"]
        )

    def card(self, org: str, declines: str | None) -> None:
        """Have the customer's card decline, or pay again."""
        found = self.v1.customers.retrieve(self.customer(org)).invoice_settings.default_payment_method
        self.sandbox.card(found, declines=declines)

    def an_invoice(self, org_and_job: tuple[str, str], cents: int = 10_000, **more: Any) -> Invoice:
        """Open, of January."""
        org, job = org_and_job
        with self.database.transaction() as tx:
            use(tx, job, at(1, 5), cents * CENT)
            return opened(tx, org, more.get("month", JANUARY), self.now())

    def tick(self) -> list[str]:
        """All the sensors once; what went wrong."""
        done = [sync(self.till), charge_due(self.till)]
        self.hear()
        while (heard := handle_events(self.till)).moved:
            done.append(heard)
        done.append(heard)
        return [problem for each in done for problem in each.problems]

    def hear(self) -> None:
        """Every event since, as Stripe's webhooks would tell them."""
        query: dict[str, Any] = {"limit": 100}
        if self._told_until is not None:
            query["ending_before"] = self._told_until
        events = self.v1.events.list(query).data
        with self.database.transaction() as tx:
            for each in events:
                store_event(tx, an_event(each), self.now())
        self._told_until = events[0].id if events else self._told_until

    def invoice(self, invoice_id: str) -> Invoice:
        with self.database.transaction() as tx:
            found = invoice_store.invoice(tx, invoice_id)
        assert found is not None
        return found

    def at_stripe(self, invoice_id: str) -> Any:
        return self.v1.invoices.retrieve(self.invoice(invoice_id).stripe_invoice_id)

    def charge_of(self, invoice_id: str) -> str:
        return str(self.row("select stripe_charge_id as id from payments where invoice_id = %s", invoice_id)["id"])

    def row(self, query: str, *parameters: Any) -> dict[str, Any]:
        (row,) = self.rows(query, *parameters)
        return row

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as tx:
            return tx.execute(query.encode(), parameters).fetchall()

    def books(self) -> dict[str, int]:
        """Cents by account, from the entries; an organisation's without its id."""
        with self.database.transaction() as tx:
            sums: dict[str, int] = {}
            for account, micros in summed(tx).items():
                name = account if account.startswith("cash:") else account.partition(":")[0]
                sums[name] = sums.get(name, 0) + micros // CENT
        return {name: cents for name, cents in sums.items() if cents}

    def balance_at_stripe(self) -> int:
        return sum(each.net for each in self.v1.balance_transactions.list({"limit": 100}).auto_paging_iter())


def an_event(found: Any) -> StripeEvent:
    about = found.data.object
    return StripeEvent(
        id=found.id,
        type=found.type,
        object_type=about["object"],
        object_id=about["id"],
        created_at=datetime.fromtimestamp(found.created, UTC),
    )


class Killed(BaseException):
    """The process is no more: nothing below may catch it."""


class Steps:
    """Counts the steps of a process, and ends it at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.passed: list[str] = []
        self._die_at = die_at

    def pass_by(self, step: str) -> None:
        self.passed.append(step)
        if self._die_at is not None and len(self.passed) > self._die_at:
            raise Killed(step)

    def transact(self, database: Database) -> Transact:
        @contextmanager
        def transact():
            with database.transaction() as tx:
                yield tx
            self.pass_by("after a commit")

        return transact


class DyingSession(requests.Session):
    """Dies at the nth step, after Stripe has done what it asked. (Before it is the same as after the step before.)"""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def request(self, method: str, url: str, *arguments: Any, **more: Any) -> requests.Response:
        answer = super().request(method, url, *arguments, **more)
        self._steps.pass_by(f"after {method} {url}")
        return answer
