"""Fixtures: the examples, a browser, and servers."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.support.chromium import launch
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess

MODULE = re.compile(r"^// presence\.js: .*?^}\n", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser for one module."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Return `start_server(environ, **settings)`. The servers end after the test."""
    with ExitStack() as servers:
        yield lambda environ=None, **settings: servers.enter_context(ServerProcess(environ, **settings))


@pytest.fixture(scope="session")
def module() -> str:
    """Return `presence.js` from the documentation."""
    (code,) = MODULE.findall((ROOT / "docs/how-to/connect/browser.md").read_text("utf-8"))
    return str(code)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def plain_page() -> Iterator[str]:
    """Serve `examples/plain-page` like `python3 -m http.server`, and return its URL."""
    handler = functools.partial(_QuietHandler, directory=str(ROOT / "examples/plain-page"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://localhost:{serving.server_port}/"
        serving.shutdown()
        thread.join()
