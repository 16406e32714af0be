"""Chromium's own `EventSource` with a ticket in its URL, as the documentation describes, on an unreliable network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, Route
from tests.support.pages import StartServer
from tests.support.process import ServerProcess
from tests.support.relay import Relay

from presenced.auth.api_keys import new_key

KEY = new_key("admin")

PATIENCE_MS = 30_000
"""Milliseconds to wait. A browser takes up to 5 s to reconnect, and the recipe up to 10 s to request a new ticket."""

RECIPE = re.findall(
    r"```js\n(async function watchPresence.*?)```",
    (Path(__file__).parents[2] / "docs/reference/http-api.md").read_text("utf-8"),
    re.DOTALL,
)


class WatchingPage:
    """A page that watches user 7 with the recipe, and the application's backend."""

    def __init__(self, page: Page, server: ServerProcess, relay: Relay) -> None:
        self.page = page
        self.relay = relay
        self.server = server
        self.tickets = 0
        """Number of tickets that the page requested."""
        self.is_down = False
        """Whether the application's backend fails."""

    def ask(self, path: str, body: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {KEY.key}"}
        answer = httpx.post(f"{self.server.url}api/v1{path}", json=body, headers=headers, trust_env=False)
        return answer.raise_for_status()

    def start(self) -> None:
        (recipe,) = RECIPE
        show = "window.shown = []; const show = users => shown.push(...users.map(user => user.status));"
        self.page.route("**/my-backend/presence-ticket", self._answer)
        self.page.evaluate(f"() => {{ {show} {recipe} watchPresence(); }}")

    def expect(self, *shown: str) -> None:
        """Wait until the page has shown exactly these statuses since it began to watch."""
        self.page.wait_for_function("count => shown.length >= count", arg=len(shown), timeout=PATIENCE_MS)
        assert self.page.evaluate("shown") == list(shown)

    def announce(self, status: str) -> None:
        self.ask("/users/7/announce", {"online": status == "online"})

    def _answer(self, route: Route) -> None:
        self.tickets += 1
        if self.is_down:
            route.abort()
            return
        made = self.ask("/tickets", {"userId": "ada"}).json()["ticket"]
        route.fulfill(body=json.dumps({"ticket": made}), content_type="application/json")


@pytest.fixture
def watching(browser: Browser, start_server: StartServer) -> Iterator[WatchingPage]:
    server = start_server({"PRESENCED_API_KEYS": KEY.entry}, auth="ticket")
    with Relay(server.port) as relay:
        context = browser.new_context()
        page = context.new_page()
        page.goto(relay.url)
        yield WatchingPage(page, server, relay)
        context.close()


def test_a_stream_resumes_with_the_same_ticket_after_each_loss_and_misses_nothing(watching: WatchingPage) -> None:
    watching.start()
    seen = ["offline"]
    watching.expect(*seen)
    for status in ("online", "offline", "online"):
        watching.relay.cut()
        watching.announce(status)
        seen.append(status)
        watching.expect(*seen)
    assert watching.tickets == 1


def is_for_a_ticket(request: Request) -> bool:
    """Return whether this is a request for a ticket. The stream that ends may count as a failed request, too."""
    return request.url.endswith("/presence-ticket")


def test_a_stream_ended_by_the_server_continues_with_a_new_ticket(watching: WatchingPage) -> None:
    watching.start()
    watching.expect("offline")
    watching.is_down = True
    watching.ask("/users/ada/disconnect", {})
    with watching.page.expect_event("requestfailed", is_for_a_ticket, timeout=PATIENCE_MS):
        pass
    watching.announce("online")
    watching.is_down = False
    watching.expect("offline", "online")
    assert watching.tickets == 3, "one for the first stream, one that was not given, one for the second"


def test_a_page_continues_with_a_new_ticket_after_a_restart_of_the_server(watching: WatchingPage) -> None:
    watching.start()
    watching.expect("offline")
    watching.server.kill()
    watching.relay.cut()
    watching.server.start()
    watching.announce("online")
    watching.expect("offline", "online")
    assert watching.tickets == 2
