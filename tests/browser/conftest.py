"""Fixtures: a browser, a server per test, and pages that must not report errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.support.chromium import launch
from tests.support.pages import OpenPage, PresencePage, StartServer
from tests.support.process import ServerProcess


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser for one module. Playwright runs an event loop in this thread as long as the browser lives, so a
    browser for the whole session would break the asynchronous tests of other folders.
    """
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Return `start_server(**settings)`. The servers end after the test and after its pages, which poll them
    (`open_page` uses this fixture, so pytest tears it down first).
    """
    with ExitStack() as servers:
        yield lambda environ=None, **settings: servers.enter_context(ServerProcess(environ, **settings))


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server()


@pytest.fixture
def patient_server(start_server: StartServer) -> ServerProcess:
    """Start a server with long grace periods, so that users reconnect in time on a slow machine."""
    return start_server(grace_going_away=60, grace_lost=60)


@pytest.fixture
def open_page(browser: Browser, start_server: StartServer) -> Iterator[OpenPage]:
    """Return `open_page(server)`, which opens the page in a new context. No page may report an error.

    `protocol` is the one of connections, and `folded` leaves the page as it opens.
    """
    pages: list[PresencePage] = []

    def open_one(
        server: ServerProcess, *, protocol: str = "presenced.v1", folded: bool = False, **options: Any
    ) -> PresencePage:
        page = PresencePage(browser, server.url, **options)
        pages.append(page)
        page.open()
        if not folded:
            page.unfold().speak(protocol)
        return page

    yield open_one
    for page in pages:
        page.context.close()
    faults = [fault for page in pages for fault in page.faults]
    assert not faults, "\n".join(faults)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of the page as slow: each starts a server, and most open several pages."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)
