"""The API's own page, on a machine without the internet."""

import pytest
from playwright.sync_api import Page, expect

from tests.api.conftest import Api

pytestmark = pytest.mark.browser


def test_the_page_of_the_api_needs_nothing_from_elsewhere(shared_api: Api, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    here = shared_api.customer().base_url
    page.goto(str(here.join("/docs")))
    expect(page.get_by_text("Run GPU container jobs.")).to_be_visible()
    expect(page.get_by_text("/v1/jobs", exact=True).first).to_be_visible()
    assert [url for url in asked if not url.startswith((str(here), "data:"))] == []
