"""A browser for tests of pages: Chromium without a window, and what it complains about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def chromium() -> Iterator[Any]:
    """Yields the browser; skips where playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as playing:
        one = playing.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


def opened(browser: Any, url: str, **context: Any) -> tuple[Any, list[str]]:
    """Returns a page, and a list that fills with what goes wrong in it: errors, console errors, dialogs."""
    page, faults = browser.new_context(**context).new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda box: (faults.append(box.message), box.dismiss()))
    page.goto(url)
    return page, faults
