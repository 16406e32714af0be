"""Chromium, as the tests of the page start it."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def browser_path() -> str:
    """Return the path of an installed browser."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"the tests of the page need one of {', '.join(BROWSERS)} (apt-get install chromium)"
    return path


def launch(playwright: Playwright, *arguments: str) -> Browser:
    """Start a browser, with more `arguments` than usual."""
    return playwright.chromium.launch(executable_path=browser_path(), args=[*ARGUMENTS, *arguments])
