"""Pages in the back/forward cache of plain Chromium, and frozen pages: their users are offline."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from tests.support.chromium import browser_path
from tests.support.pages import SCREENSHOTS, StartServer
from tests.support.plain_chromium import PlainChromium, wait_until
from tests.support.process import ServerProcess
from websockets.sync.client import ClientConnection, connect

SPECIFICATION = Path(__file__).parents[2] / "docs/reference"

GRACE_S = 1.0
"""`grace_going_away` of these servers in seconds. A loss has a minute, so that tests can tell the two apart."""

PATIENCE_S = 30.0
"""Seconds until a watcher must be notified. A slow machine needs some of them."""

RESUMED = "[...document.querySelectorAll('#log .says')].filter((p) => p.textContent === 'resumed').length"

RECORD = "globalThis.shown = []; addEventListener('pageshow', (event) => shown.push(event.persisted));"


class OtherSite:
    """Web server for pages of another origin: the applications of the first users, and the pages they go to."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {"/elsewhere": "<title>elsewhere</title>Another site."}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"<!doctype html>{pages.get(self.path, '')}".encode()
                self.send_response(200 if self.path in pages else 404)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.origin = f"http://localhost:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def other_site() -> Iterator[OtherSite]:
    site = OtherSite()
    yield site
    site.close()


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server(grace_going_away=GRACE_S, grace_lost=60)


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[PlainChromium]:
    with PlainChromium(browser_path(), tmp_path / "profile") as browser:
        yield browser


class RecordingClient:
    """A client of the classic protocol that records who comes and goes."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.heard: list[tuple[str, str]] = []

    def hear(self, *expected: tuple[str, str], within: float = PATIENCE_S) -> None:
        """Read until these messages arrived, in this order for each user, and no others."""
        deadline = time.monotonic() + within
        while len(self.heard) < len(expected):
            self._read(deadline)
        assert sorted(self.heard) == sorted(expected)
        self.heard.clear()

    def hear_nothing_before(self, server: ServerProcess, barrier: str) -> None:
        """Check that nothing was sent until now: the next message is about a user who connects now."""
        with connect(f"{server.websocket_url}?userId={barrier}"):
            self.hear((barrier, "USER_ONLINE"))
        self.hear((barrier, "USER_OFFLINE"))

    def _read(self, deadline: float) -> None:
        try:
            message = json.loads(self._connection.recv(max(0.0, deadline - time.monotonic())))
        except TimeoutError:
            raise AssertionError(f"heard only {self.heard}") from None
        if message["type"] != "CONNECTION_ESTABLISHED":
            self.heard.append((str(message["userId"]), message["type"]))


@pytest.fixture
def watcher(server: ServerProcess) -> Iterator[RecordingClient]:
    with connect(f"{server.websocket_url}?userId=watcher") as connection:
        yield RecordingClient(connection)


def recipe(document: str, address: str, url: str) -> str:
    """Return the program under "Pages that the browser keeps", for another address."""
    text = (SPECIFICATION / document).read_text("utf-8").partition("### Pages that the browser keeps\n")[2]
    [program] = re.findall(r"```js\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    assert address in program
    return f"<title>application</title><script>{RECORD}{program.replace(address, url)}</script>"


def connect_users(chromium: PlainChromium, protocol: str, *user_ids: str) -> None:
    """Connect these users on the test page."""
    chromium.run(f"document.querySelector('input[value={protocol}]').click()")
    for user_id in user_ids:
        chromium.run(
            f"document.querySelector('#user-id').value = '{user_id}';"
            "document.querySelector('#connect button.primary').click()"
        )
        chromium.wait_for(state_of(user_id, "open"))


def state_of(user_id: str, state: str) -> str:
    return f"document.querySelector('.card[data-user-id={user_id}] .connection').dataset.state === '{state}'"


def log(chromium: PlainChromium) -> list[str]:
    """Return the lines of the test page's log, oldest first."""
    entries: list[str] = chromium.run("[...document.querySelectorAll('#log li')].map((li) => li.textContent).reverse()")
    return entries


def came(*user_ids: str) -> list[tuple[str, str]]:
    return [(user_id, "USER_ONLINE") for user_id in user_ids]


def went(*user_ids: str) -> list[tuple[str, str]]:
    return [(user_id, "USER_OFFLINE") for user_id in user_ids]


def test_users_of_a_cached_page_are_offline_and_resume_when_it_is_shown_again(
    server: ServerProcess, other_site: OtherSite, chromium: PlainChromium, watcher: RecordingClient
) -> None:
    chromium.go(server.url)
    chromium.run(RECORD)
    connect_users(chromium, "classic", "ada", "bruno")
    connect_users(chromium, "v1", "chiara", "dalia")
    # After the listeners of the clients, which save their sessions.
    chromium.run("addEventListener('pagehide', () => { globalThis.stored = sessionStorage['presenced.desired']; })")
    users = ("ada", "bruno", "chiara", "dalia")
    watcher.hear(*came(*users))
    for turn in (1, 2):
        chromium.go(f"{other_site.origin}/elsewhere")
        watcher.hear(*went(*users))
        assert server.closed("keep_session") == 4 * turn, "by the code, not by a loss"
        chromium.go_back(server.url)
        chromium.wait_for(f"shown.length === {turn}")
        assert chromium.run("shown") == [True] * turn, "it was in the cache"
        sessions = [json.loads(desired)["session"] for desired in json.loads(chromium.run("stored")) if desired]
        assert [bool(session) for session in sessions] == [True, True], "had it been discarded, they would resume"
        watcher.hear(*came(*users))
        for user_id in users:
            chromium.wait_for(state_of(user_id, "open"))
        chromium.wait_for(f"{RESUMED} === {2 * turn}")
    chromium.screenshot(SCREENSHOTS / "after-the-cache.png")
    assert any("close 4001" in entry for entry in log(chromium))
    assert server.closed("lost") == server.closed("going_away") == 0


def test_nobody_is_notified_if_a_cached_page_is_shown_again_within_the_grace_period(
    start_server: StartServer, other_site: OtherSite, chromium: PlainChromium
) -> None:
    server = start_server(grace_going_away=60, grace_lost=60)
    with connect(f"{server.websocket_url}?userId=watcher") as connection:
        watcher = RecordingClient(connection)
        chromium.go(server.url)
        connect_users(chromium, "classic", "ada")
        connect_users(chromium, "v1", "bruno")
        watcher.hear(*came("ada", "bruno"))
        chromium.go(f"{other_site.origin}/elsewhere")
        wait_until(lambda: server.closed("keep_session") == 2, PATIENCE_S, "both connections are closed")
        chromium.go_back(server.url)
        for user_id in ("ada", "bruno"):
            chromium.wait_for(state_of(user_id, "open"))
        watcher.hear_nothing_before(server, "barrier")


def test_users_of_a_frozen_tab_are_offline(
    server: ServerProcess, other_site: OtherSite, chromium: PlainChromium, watcher: RecordingClient
) -> None:
    # Not the test page: it has its sockets in workers, which may be frozen before they can close one.
    other_site.pages["/application"] = (
        f"<title>application</title><script type=module>import {{ createPresence }} from '{server.url}client.js';"
        f"globalThis.presence = createPresence({{ url: '{server.url}', userId: 'ada' }}); presence.connect()</script>"
    )
    chromium.go(f"{other_site.origin}/application")
    watcher.hear(*came("ada"))
    chromium.wait_for("presence.connection.get().state === 'open'")
    chromium.freeze()
    watcher.hear(*went("ada"))
    assert server.closed("keep_session") == 1
    chromium.unfreeze()
    watcher.hear(*came("ada"))
    chromium.wait_for("presence.connection.get().state === 'open'")


@pytest.mark.parametrize(
    ("document", "address"),
    [
        ("websocket-classic.md", "ws://localhost:3001/ws-online-status?userId=123"),
        ("websocket-v1.md", "ws://localhost:3001/ws-online-status?userId=ada"),
    ],
)
def test_the_recipe_of_the_specification_works_in_a_plain_page(
    document: str,
    address: str,
    server: ServerProcess,
    other_site: OtherSite,
    chromium: PlainChromium,
    watcher: RecordingClient,
) -> None:
    other_site.pages["/application"] = recipe(document, address, f"{server.websocket_url}?userId=eve")
    application = f"{other_site.origin}/application"
    chromium.go(application)
    watcher.hear(*came("eve"))
    chromium.go(server.url)  # another site, because it is another origin
    watcher.hear(*went("eve"))
    assert server.closed("keep_session") == 1
    chromium.go_back(application)
    watcher.hear(*came("eve"))
    chromium.wait_for("shown.includes(true)")
    chromium.freeze()
    watcher.hear(*went("eve"))
    chromium.unfreeze()
    watcher.hear(*came("eve"))
    assert server.closed("keep_session") == 2
    sample = 'presenced_sessions_total{how="resumed"}'
    if document == "websocket-v1.md":
        assert figure(server, sample) == 2


def figure(server: ServerProcess, sample: str) -> float:
    """Return the value of a metric."""
    [line] = [text for text in httpx.get(f"{server.url}metrics").text.splitlines() if text.startswith(sample)]
    return float(line.rpartition(" ")[2])


def test_a_reload_and_a_closed_tab_need_no_script(
    server: ServerProcess, other_site: OtherSite, chromium: PlainChromium, watcher: RecordingClient
) -> None:
    """The recipe leaves reloads alone, so the browser sends 1001."""
    address = "ws://localhost:3001/ws-online-status?userId=123"
    other_site.pages["/application"] = recipe("websocket-classic.md", address, f"{server.websocket_url}?userId=eve")
    chromium.go(f"{other_site.origin}/application")
    watcher.hear(*came("eve"))
    chromium.run("void setTimeout(() => location.reload())")
    wait_until(lambda: server.closed("going_away") == 1, PATIENCE_S, "the reload ends the connection")
    assert server.closed("keep_session") == server.closed("closed") == 0


def test_a_socket_closed_while_connecting_leaves_nobody_online(
    server: ServerProcess, other_site: OtherSite, chromium: PlainChromium, watcher: RecordingClient
) -> None:
    """React's StrictMode does this with the first of two sockets. The server sees a connection that opens and
    breaks."""
    chromium.go(f"{other_site.origin}/elsewhere")

    def close_while_connecting(delay_ms: int) -> bool:
        return bool(
            chromium.run(
                f"""(async () => {{
                  const socket = new WebSocket("{server.websocket_url}?userId=eve");
                  await new Promise((resolve) => setTimeout(resolve, {delay_ms}));
                  const wasConnecting = socket.readyState === WebSocket.CONNECTING;
                  socket.close();
                  await new Promise((resolve) => socket.addEventListener("close", resolve));
                  return wasConnecting;
                }})()"""
            )
        )

    # Depending on the delay, it has not left the browser, has reached the server, or is open. Some are in between.
    tries = itertools.cycle(range(6))
    wait_until(lambda: close_while_connecting(next(tries)) and server.closed("lost") > 0, 60, "one reaches the server")
    wait_until(lambda: json.loads(stats(server))["totalConnections"] == 1, PATIENCE_S, "all connections are over")
    wait_until(lambda: json.loads(stats(server))["onlineUsers"] == 1, PATIENCE_S, "only the watcher is online")


def stats(server: ServerProcess) -> bytes:
    return httpx.get(f"{server.url}stats").content
