"""A real browser: Debian's chromium, with a fresh profile for each test.

`SCALAR_PICTURES=1` keeps the screenshots in docs/pictures/, which is where the README's come from.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

_CHROMIUM = Path("/usr/bin/chromium")
_PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page() -> Iterator[Page]:
    if not _CHROMIUM.exists():
        if os.environ.get("SCALAR_REQUIRE_BROWSER") == "1":
            pytest.fail(f"SCALAR_REQUIRE_BROWSER=1, but there is no {_CHROMIUM}")
        pytest.skip(f"there is no {_CHROMIUM}")
    with tempfile.TemporaryDirectory(prefix="scalar-") as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=_CHROMIUM,
            headless=True,
            args=_ARGUMENTS,
            viewport={"width": 1440, "height": 900},
            color_scheme="light",
        )
        page = context.pages[0]
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield page
        context.close()


@pytest.fixture
def picture(page: Page, tmp_path: Path) -> Callable[[str], None]:
    """Keeps what the page shows, once nothing on it is loading any more."""

    def take(name: str) -> None:
        expect(page.get_by_text("Loading")).to_have_count(0)
        page.mouse.move(0, 0)
        folder = _PICTURES if os.environ.get("SCALAR_PICTURES") == "1" else tmp_path
        page.screenshot(path=folder / name)

    return take
