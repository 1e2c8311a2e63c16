"""The printable invoice as a customer sees it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from scalar.accounts import store as accounts
from tests.api.conftest import Api
from tests.billing.billed import DOLLAR, a_job_with_a_run, at, opened, use
from tests.made_up import a_key

pytestmark = pytest.mark.browser


def test_an_invoice_is_one_page_with_each_job_its_seconds_and_what_is_due(
    api: Api, page: Page, picture: Callable[[str], None]
) -> None:
    with api.database.transaction() as tx:
        acme = accounts.create_organisation(tx, "acme")
        key, key_id = a_key(tx, organisation_id=acme.id)
        train = a_job_with_a_run(tx, (acme.id, key_id), name="fine-tune")
        evaluate = a_job_with_a_run(tx, (acme.id, key_id), name="evaluate", tier="flex")
        for day in range(3, 12):
            use(tx, train, at(1, day), 172 * DOLLAR + 800_000)
        use(tx, evaluate, at(1, 12), 43 * DOLLAR + 210_000)
        use(tx, train, at(1, 11), -28 * DOLLAR - 800_000)
        invoice = opened(tx, acme.id)
    page.set_viewport_size({"width": 900, "height": 680})
    page.set_extra_http_headers({"Authorization": f"Bearer {key.secret}"})
    page.goto(str(api.client(key.secret).base_url.join(f"/v1/invoices/{invoice.id}?format=html")))
    expect(page.get_by_text("INV-2026-0001").first).to_be_visible()
    for text in ("fine-tune", "evaluate", "$1,569.61"):
        expect(page.get_by_text(text).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 900, "it is wider than the page"
    picture("invoice.png")
