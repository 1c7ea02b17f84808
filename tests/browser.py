"""A headless browser for the tests of pages: no network, and a page that complains of anything fails its test."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    """Give a browser of this computer, or the one of playwright; skip without, but where REFLOSS_BROWSER is needed."""
    with sync_playwright() as playwright:
        browser = _launched(playwright)
        yield browser
        browser.close()


def _launched(playwright: Playwright) -> Browser:
    found = [path for path in map(shutil.which, PROGRAMS) if path]
    ways: list[dict[str, Any]] = [*({"executable_path": path} for path in found), {"channel": "chrome"}, {}]
    reasons = []
    for way in ways:
        try:
            return playwright.chromium.launch(**way)
        except Error as error:
            reasons.append(f"{way}: {error.message.splitlines()[0]}")
    told = "found no Chromium or Chrome to open the page in: " + "; ".join(reasons)
    if os.environ.get("REFLOSS_BROWSER") == "needed":
        pytest.fail(told)
    pytest.skip(told)


@contextlib.contextmanager
def opened(browser: Browser, path: Path, fragment: str = "", **context: Any) -> Iterator[Page]:
    """Open a file, and at the end assert that the page said nothing, asked nothing, and fetched nothing but itself."""
    page = browser.new_page(**context)
    said: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(path.as_uri() + fragment)
    yield page
    assert said == []
    assert [url.partition("#")[0] for url in fetched] == [path.as_uri()]
    page.close()
