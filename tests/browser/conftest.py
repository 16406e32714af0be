"""A browser, a server per test, and pages that must stay free of faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.support.pages import PresencePage
from tests.support.process import ServerProcess

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

OpenPage = Callable[..., PresencePage]
StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module, not of the session: while it lives, Playwright runs an event loop in this thread, and the
    asynchronous tests of other directories need that for themselves.
    """
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"no browser: the tests of the page need one of {', '.join(BROWSERS)} (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(**settings)` starts one; all end when the test is over, after the pages that ask them for figures
    once a second (`open_page` is built on this fixture, so it is taken down first).
    """
    with ExitStack() as servers:
        yield lambda environ=None, **settings: servers.enter_context(ServerProcess(environ, **settings))


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server()


@pytest.fixture
def patient_server(start_server: StartServer) -> ServerProcess:
    """Its graces outlast any test: who comes back is in time, however slow the machine."""
    return start_server(grace_going_away=60, grace_lost=60)


@pytest.fixture
def open_page(browser: Browser, start_server: StartServer) -> Iterator[OpenPage]:
    """`open_page(server)` opens the page in a new context; at the end no page may have had a fault."""
    pages: list[PresencePage] = []

    def open_one(server: ServerProcess, **options: Any) -> PresencePage:
        page = PresencePage(browser, server.url, **options)
        pages.append(page)
        return page.open()

    yield open_one
    for page in pages:
        page.context.close()
    faults = [fault for page in pages for fault in page.faults]
    assert not faults, "\n".join(faults)
