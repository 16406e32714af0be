"""`presenced/tabs` in Chromium with the real server: one connection, even if the leader closes, crashes or freezes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page
from tests.support.chromium import browser_path
from tests.support.client_pages import ClientSite
from tests.support.pages import StartServer, until
from tests.support.plain_chromium import PlainChromium, wait_until
from tests.support.process import ServerProcess
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 20.0

log = logging.getLogger(__name__)
"""Shows how long takeovers take, with `--log-cli-level=info`."""


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """Start a server whose grace periods are long enough for a slow machine. A lost session would show."""
    return start_server(grace_going_away=8, grace_lost=8)


@pytest.fixture
def site(server: ServerProcess) -> Iterator[ClientSite]:
    with ClientSite(server.url) as site:
        yield site


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[PlainChromium]:
    with PlainChromium(browser_path(), tmp_path / "profile") as browser:
        yield browser


class Watcher:
    """Another user's client. It watches ada and the room lobby, and records what it hears of ada."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.heard: list[str] = []
        self._ask({"type": "WATCH", "users": ["ada"], "rooms": ["lobby"]})

    def until(self, status: str) -> None:
        """Wait until ada has this status."""
        deadline = time.monotonic() + PATIENCE_S
        while f"ada {status}" not in self.heard:
            self._read(deadline)

    def hear_nothing(self) -> None:
        """Check that nothing has been said of ada since the last call."""
        self._ask({"type": "PING"})
        assert self.heard == []

    def forget(self) -> None:
        self._ask({"type": "PING"})
        self.heard.clear()

    def _ask(self, request: dict[str, Any]) -> None:
        self._connection.send(json.dumps({**request, "id": 1}))
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline).get("id") != 1:
            pass

    def _read(self, deadline: float) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(max(0.0, deadline - time.monotonic())))
        if message["type"] == "PRESENCE_CHANGES":
            self.heard += [f"ada {user['status']}" for user in message["users"] if user["userId"] == "ada"]
        if message["type"] == "ROOM_CHANGES":
            self.heard += [f"joined {member['userId']}" for member in message.get("members", [])]
            self.heard += [f"left {user_id}" for user_id in message.get("left", [])]
        return message


@pytest.fixture
def watcher(server: ServerProcess) -> Iterator[Watcher]:
    address = f"{server.websocket_url}?userId=watcher&watch=none"
    # A plain string is a subprotocol, too.
    with connect(address, subprotocols=["presenced.v1"]) as connection:  # type: ignore[list-item]  # see above
        yield Watcher(connection)


def address(site: ClientSite, read: str = "watcher", more: str = "") -> str:
    return f"{site.origin}/?user=ada&read={read}{more}"


def open_tab(context: BrowserContext, url: str) -> Page:
    """Open a tab, and wait until it knows what it reads."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("isCurrent()")
    return page


def connections(server: ServerProcess) -> int:
    """Return the number of connections, without the watcher's."""
    total: int = httpx.get(f"{server.url}stats").json()["totalConnections"]
    return total - 1


def sessions(server: ServerProcess, how: str) -> float:
    """Return the number of sessions that began in this way."""
    sample = f'presenced_sessions_total{{how="{how}"}} '
    lines = httpx.get(f"{server.url}metrics").text.splitlines()
    return sum(float(line.removeprefix(sample)) for line in lines if line.startswith(sample))


def leaders(pages: list[Page]) -> list[Page]:
    return [page for page in pages if page.evaluate("isLeading()")]


def crash(page: Page) -> None:
    """Kill the process of a tab."""
    client = page.context.new_cdp_session(page)
    with pytest.raises(Error):  # nobody is left to answer
        client.send("Page.crash", timeout=100)


def close(page: Page) -> None:
    page.close()


def navigate(page: Page) -> None:
    """Go to a page of another origin, without a client."""
    page.goto("about:blank")


def reload(page: Page) -> None:
    page.reload()


@pytest.mark.parametrize("leave", [close, crash, navigate, reload])
def test_the_next_tab_goes_on_and_nobody_notices(
    leave: Callable[[Page], None],
    server: ServerProcess,
    site: ClientSite,
    context: BrowserContext,
    watcher: Watcher,
) -> None:
    url = address(site, more="&room=lobby")
    pages = [open_tab(context, url) for _ in range(3)]
    assert connections(server) == 1, "three tabs, one socket"
    assert leaders(pages) == pages[:1]
    watcher.until("online")
    watcher.forget()
    before = sessions(server, "resumed")

    pages[1].evaluate("states.length = 0")
    left_at = time.time()
    leave(pages[0])
    rest = pages[1:]
    until(lambda: len(leaders(rest)) == 1 and all(page.evaluate("isCurrent()") for page in rest))
    opened_at = rest[0].evaluate("states.find(([, state]) => state === 'open')?.[0]")
    log.info("%s: the next tab is open after %d ms", leave.__name__, opened_at - left_at * 1000)

    assert leaders(rest) == rest[:1]
    assert sessions(server, "resumed") == before + 1
    assert connections(server) == 1
    watcher.hear_nothing()
    rest[1].evaluate("client.setStatus({ status: 'busy' })")
    watcher.until("busy")
    for page in rest:
        page.wait_for_function("client.self.get().status === 'busy'")


def test_a_duplicated_tab_is_one_more_follower(
    server: ServerProcess, site: ClientSite, context: BrowserContext, watcher: Watcher
) -> None:
    """`window.open` copies the sessionStorage, as duplicating a tab does."""
    original = open_tab(context, address(site))
    watcher.until("online")
    watcher.forget()
    with context.expect_page() as opening:
        original.evaluate("void window.open(location.href)")
    copy = opening.value
    copy.wait_for_function("globalThis.isCurrent?.()")  # it may still be about:blank
    assert leaders([original, copy]) == [original]
    assert connections(server) == 1
    watcher.hear_nothing()


def test_tabs_read_different_users_and_leave_one_by_one(
    server: ServerProcess, site: ClientSite, context: BrowserContext, watcher: Watcher
) -> None:
    one = open_tab(context, address(site, "watcher"))
    two = open_tab(context, address(site, "watcher,bo"))
    assert [page.evaluate("statusOf('bo')") for page in (one, two)] == ["unknown", "offline"]
    with connect(f"{server.websocket_url}?userId=bo"):
        two.wait_for_function("statusOf('bo') === 'online'")
    two.wait_for_function("statusOf('bo') === 'offline'", timeout=PATIENCE_S * 1000)
    assert one.evaluate("statusOf('watcher')") == "online"
    one.evaluate("client.close()")
    until(lambda: leaders([one, two]) == [two])
    two.wait_for_function("isCurrent()")
    two.evaluate("client.close()")
    watcher.until("offline")
    assert connections(server) == 0


def test_all_tabs_return_after_the_server_was_killed(
    server: ServerProcess, site: ClientSite, context: BrowserContext
) -> None:
    pages = [open_tab(context, f"{site.origin}/?user=ada&read=ada") for _ in range(3)]
    server.kill()
    for page in pages:
        page.wait_for_function("client.connection.get().stale")
    server.start()
    for page in pages:
        page.wait_for_function("isCurrent() && statusOf('ada') === 'online'", timeout=60_000)
    assert connections(server) == 0, "one, and no watcher"


def test_each_tab_has_its_own_socket_without_the_option(
    server: ServerProcess, site: ClientSite, context: BrowserContext, watcher: Watcher
) -> None:
    for _ in range(2):
        open_tab(context, address(site, more="&alone"))
    assert connections(server) == 2


def test_a_leader_in_the_back_forward_cache_leads_no_more(
    server: ServerProcess,
    site: ClientSite,
    chromium: PlainChromium,
    watcher: Watcher,
) -> None:
    url = address(site, more="&room=lobby")
    first = chromium.tab
    chromium.go(url)
    chromium.wait_for("isCurrent() && isLeading()")
    second = chromium.open_tab()
    chromium.go(url)
    chromium.wait_for("isCurrent() && !isLeading()")
    watcher.until("online")
    watcher.forget()

    chromium.use(first)
    left_at = time.time()
    chromium.go(f"{site.origin}/elsewhere")
    chromium.use(second)
    chromium.wait_for("isCurrent() && isLeading()")
    opened_at = chromium.run("states.findLast(([, state]) => state === 'open')[0]")
    log.info("%s: the next tab is open after %d ms", "kept by the browser", opened_at - left_at * 1000)
    assert connections(server) == 1

    chromium.use(first)
    chromium.go_back(url)
    chromium.wait_for("shown.includes(true)")
    chromium.wait_for("isCurrent() && !isLeading()")
    assert connections(server) == 1
    watcher.hear_nothing()


def test_a_frozen_leader_leads_no_more(
    server: ServerProcess,
    site: ClientSite,
    chromium: PlainChromium,
    watcher: Watcher,
) -> None:
    first = chromium.tab
    chromium.go(address(site))
    chromium.wait_for("isCurrent() && isLeading()")
    second = chromium.open_tab()
    chromium.go(address(site))
    chromium.wait_for("isCurrent() && !isLeading()")
    watcher.until("online")
    watcher.forget()

    chromium.use(first)
    chromium.freeze()
    left_at = time.time()
    chromium.use(second)
    chromium.wait_for("isCurrent() && isLeading()")
    opened_at = chromium.run("states.findLast(([, state]) => state === 'open')[0]")
    log.info("%s: the next tab is open after %d ms", "frozen", opened_at - left_at * 1000)
    assert connections(server) == 1

    chromium.use(first)
    chromium.unfreeze()
    chromium.wait_for("isCurrent() && !isLeading()")
    wait_until(lambda: connections(server) == 1, PATIENCE_S, "one connection")
    watcher.hear_nothing()
