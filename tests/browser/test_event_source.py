"""Chromium's own `EventSource`, with a ticket in its URL, on a network that breaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page
from tests.browser.conftest import StartServer
from tests.process import ServerProcess
from tests.relay import Relay

from presenced.auth.api_keys import new_key

KEY = new_key("admin")

PATIENCE_MS = 20_000
"""Milliseconds: a browser waits up to 5 s before it reconnects, as the stream says."""

WATCH = """
ticket => {
    window.seen = [];
    window.errors = [];
    window.source = new EventSource(`/api/v1/watch?users=bo&token=${encodeURIComponent(ticket)}`);
    for (const kind of ["snapshot", "changes"])
        source.addEventListener(kind, event => seen.push(
            ...JSON.parse(event.data).users.map(user => `${kind} ${user.userId} ${user.status}`)));
    source.onerror = () => errors.push(source.readyState);
}
"""


class Watching:
    """A page that watches bo, and a backend."""

    def __init__(self, page: Page, server: ServerProcess, relay: Relay) -> None:
        self.page = page
        self.relay = relay
        self.server = server

    def ask(self, path: str, body: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {KEY.key}"}
        answer = httpx.post(f"{self.server.url}api/v1{path}", json=body, headers=headers, trust_env=False)
        return answer.raise_for_status()

    def watch(self) -> None:
        self.page.evaluate(WATCH, self.ask("/tickets", {"userId": "ada"}).json()["ticket"])

    def expect(self, *seen: str) -> None:
        """Wait until the page has seen exactly this since it began to watch."""
        self.page.wait_for_function("count => seen.length >= count", arg=len(seen), timeout=PATIENCE_MS)
        assert self.page.evaluate("seen") == list(seen)

    def expect_error(self, state: str) -> None:
        """Wait until the last error left the source in this state."""
        condition = f"() => errors.length && errors.at(-1) === EventSource.{state}"
        self.page.wait_for_function(condition, timeout=PATIENCE_MS)


@pytest.fixture
def watching(browser: Browser, start_server: StartServer) -> Iterator[Watching]:
    server = start_server({"PRESENCED_API_KEYS": KEY.entry}, auth="ticket")
    with Relay(server.port) as relay, page_of(browser, relay.url) as page:
        yield Watching(page, server, relay)


@contextmanager
def page_of(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()


def test_it_comes_back_after_each_loss_and_misses_nothing(watching: Watching) -> None:
    watching.watch()
    seen = ["snapshot bo offline"]
    watching.expect(*seen)
    for status in ("online", "offline", "online"):
        watching.relay.cut()
        watching.expect_error("CONNECTING")
        watching.ask("/users/bo/announce", {"online": status == "online"})
        seen.append(f"changes bo {status}")
        watching.expect(*seen)
        watching.page.evaluate("errors.length = 0")


def test_it_ends_when_its_user_is_disconnected_and_goes_on_with_a_new_ticket(watching: Watching) -> None:
    watching.watch()
    watching.expect("snapshot bo offline")
    watching.ask("/users/ada/disconnect", {})
    watching.expect_error("CLOSED")
    watching.watch()
    watching.expect("snapshot bo offline")


def test_after_a_restart_of_the_server_it_ends_and_goes_on_with_a_new_ticket(
    watching: Watching,
) -> None:
    watching.watch()
    watching.expect("snapshot bo offline")
    watching.server.kill()
    watching.expect_error("CONNECTING")
    watching.server.start()
    watching.expect_error("CLOSED")
    watching.watch()
    watching.expect("snapshot bo offline")
