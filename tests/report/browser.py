"""A real headless Chromium for the tests of the report, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

REQUIRED = "CAMGATE_REQUIRE_CHROMIUM"
"""Environment variable: where it is set, a machine without Chromium fails instead of skipping."""


@dataclass
class Seen:
    """A page, and what it said and asked for while it was open."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or any `chromium` on the path."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get(REQUIRED):
            pytest.fail("no chromium on this machine, and it is required here")
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **options: object) -> Iterator[Seen]:
    """A page in a context of its own; whatever it asks for besides itself is written down and refused."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    page = context.new_page()
    seen = Seen(page)
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.console.append(str(error)))

    def asked(route: object, request: object) -> None:
        address = request.url  # type: ignore[attr-defined]
        if address.split("#")[0] == url.split("#")[0]:
            route.continue_()  # type: ignore[attr-defined]
            return
        seen.requests.append(address)
        route.abort()  # type: ignore[attr-defined]

    context.route(lambda address: not address.startswith(("data:", "about:")), asked)
    page.goto(url)
    yield seen
    context.close()
