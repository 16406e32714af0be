"""A browser, a server per test, and pages that must stay free of faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.support.chromium import launch
from tests.support.pages import OpenPage, PresencePage, StartServer
from tests.support.process import ServerProcess


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module, not of the session: while it lives, Playwright runs an event loop in this thread, and the
    asynchronous tests of other directories need that for themselves.
    """
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


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
