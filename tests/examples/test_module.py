"""The module `presence.js` of the documentation in Chromium: tokens, lost connections, cached and frozen pages."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page
from tests.support.chromium import browser_path
from tests.support.pages import StartServer
from tests.support.plain_chromium import PlainChromium
from tests.support.process import ServerProcess
from tests.support.program import until
from tests.support.raw import PATIENCE
from tests.support.tokens import KEY, SECRET, token

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><title>page</title><link rel="icon" href="data:,">
<script type="module">
import { connectPresence } from "./presence.js";
window.start = (options) => {
  window.states = [];
  window.presence = connectPresence({
    ...options,
    onMessage: ({ type }) => states.push(type),
    token: window.giveToken ? () => giveToken() : undefined,
  });
  window.stop = presence.subscribe(() => states.push(presence.getState().connection));
};
window.online = () =>
  [...presence.getState().users.values()].filter((user) => user.status !== "offline").map((user) => user.userId).sort();
const url = new URLSearchParams(location.search).get("url");
if (url) start({ url, userId: "ada" });
window.loaded = true;
</script>
"""


@pytest.fixture
def site(module: str) -> Iterator[str]:
    """Serve a page with the module, and return its URL."""
    files = {"/": (PAGE, "text/html"), "/presence.js": (module, "text/javascript"), "/other": ("<p>Other", "text/html")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text, kind = files[self.path.partition("?")[0]]
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://localhost:{serving.server_port}/"
        serving.shutdown()
        thread.join()


class Tokens:
    """Tokens that the application's backend returns, one after the other; the last one again and again."""

    def __init__(self, *given: str) -> None:
        self.given = list(given)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        text = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        if text == "fails":
            raise RuntimeError("the backend fails")
        return token("ada", seconds=3) if text == "short" else token("ada") if text == "long" else text


def start(page: Page, site: str, server: ServerProcess, tokens: Tokens) -> None:
    page.expose_function("giveToken", tokens)
    page.goto(site)
    page.wait_for_function("window.loaded")
    page.evaluate("(url) => start({ url })", server.websocket_url)


def wait_for(page: Page, connection: str) -> None:
    page.wait_for_function(
        "(wanted) => presence.getState().connection === wanted", arg=connection, timeout=PATIENCE * 1000
    )


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_context().new_page()
    yield page
    page.context.close()


@pytest.fixture
def token_server(start_server: StartServer) -> ServerProcess:
    return start_server({"PRESENCED_JWT_KEY": SECRET}, auth="jwt", auth_warning=2, jwt_leeway=0)


def test_a_token_is_renewed_before_it_expires(page: Page, site: str, token_server: ServerProcess) -> None:
    tokens = Tokens("short")
    start(page, site, token_server, tokens)
    until(lambda: page.evaluate("states").count("AUTH_EXPIRING") >= 3)
    assert tokens.count >= 4
    assert page.evaluate("states.includes('waiting')") is False, "the connection was open all the time"


def test_a_refused_token_is_replaced_once(page: Page, site: str, token_server: ServerProcess) -> None:
    tokens = Tokens("forged", "long")
    start(page, site, token_server, tokens)
    wait_for(page, "open")
    assert tokens.count == 2
    page.evaluate("presence.close()")


def test_a_client_whose_tokens_are_refused_gives_up_with_the_reason(
    page: Page, site: str, token_server: ServerProcess
) -> None:
    tokens = Tokens("forged")
    start(page, site, token_server, tokens)
    wait_for(page, "failed")
    assert tokens.count == 2
    assert "token" in page.evaluate("presence.getState().reason")


def test_a_page_returns_after_a_revocation_although_iat_is_in_whole_seconds(
    page: Page, site: str, start_server: StartServer
) -> None:
    """The user has changed the password, for example. Tokens of the second of the revocation are refused."""
    server = start_server({"PRESENCED_JWT_KEY": SECRET, "PRESENCED_API_KEYS": KEY.entry}, auth="jwt")
    start(page, site, server, Tokens("long"))
    wait_for(page, "open")
    until(lambda: time.time() % 1 < 0.2)
    revoked = httpx.post(
        f"{server.url}api/v1/users/ada/revoke", headers={"authorization": f"Bearer {KEY.key}"}, trust_env=False
    )
    assert revoked.json() == {"closed": 1}
    page.wait_for_function("states.filter((type) => type === 'CONNECTION_ESTABLISHED').length === 2")
    assert page.evaluate("states.includes('failed')") is False


def test_a_page_whose_user_has_signed_out_stops(page: Page, site: str, token_server: ServerProcess) -> None:
    """`token` calls `close` if the backend no longer knows the user."""
    page.goto(site)
    page.wait_for_function("window.loaded")
    page.evaluate(
        """(url) => {
          window.asked = 0;
          window.giveToken = async () => {
            asked += 1;
            presence.close();
            throw new Error("no token: 401");
          };
          start({ url });
        }""",
        token_server.websocket_url,
    )
    page.wait_for_function("asked === 1 && presence.getState().connection === 'closed'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange')), dispatchEvent(new Event('online'))")
    assert page.evaluate("[asked, presence.getState().connection]") == [1, "closed"]


def test_a_backend_that_fails_is_asked_again(page: Page, site: str, token_server: ServerProcess) -> None:
    start(page, site, token_server, Tokens("fails", "fails", "long"))
    wait_for(page, "open")
    assert page.evaluate("online()") == ["ada"]


def test_requests_made_without_a_connection_take_effect_later(page: Page, site: str, start_server: StartServer) -> None:
    """They are part of `requests`, which each connection repeats."""
    server = start_server(grace_lost=20)
    page.goto(site)
    page.wait_for_function("window.loaded")
    page.evaluate(
        """(url) => {
          window.shown = ["bo"];
          start({ url, userId: "ada", watch: "none", requests: () => [{ type: "WATCH", users: shown }] });
        }""",
        server.websocket_url,
    )
    wait_for(page, "open")
    for user_id in ("bo", "grace"):
        httpx.post(f"{server.url}api/v1/users/{user_id}/announce", json={"online": True}, trust_env=False)
    page.wait_for_function("online().includes('bo')")
    page.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait_for(page, "waiting")
    assert page.evaluate("(shown.push('grace'), presence.send({ type: 'WATCH', users: ['grace'] }))") is False
    page.context.set_offline(False)
    page.wait_for_function("online().includes('grace')", timeout=PATIENCE * 1000)


def test_users_of_requests_are_unknown_until_they_are_known(page: Page, site: str, start_server: StartServer) -> None:
    """A page that watches only some users never shows all of them as offline while it loads."""
    server = start_server()
    httpx.post(f"{server.url}api/v1/users/bo/announce", json={"online": True}, trust_env=False)
    page.goto(site)
    page.wait_for_function("window.loaded")
    page.evaluate(
        """(url) => {
          window.seen = [];
          start({ url, userId: "ada", watch: "none", requests: () => [{ type: "WATCH", users: ["bo"] }] });
          presence.subscribe(() => presence.getState().ready && seen.push(online().join()));
        }""",
        server.websocket_url,
    )
    wait_for(page, "open")
    assert page.evaluate("[...new Set(seen)]") == ["bo"]


@pytest.mark.parametrize(
    "request_",
    ['{ type: "WATCH", users: [] }', '{ type: "WATCH", rooms: ["hall"] }', '{ type: "WATCH", users: ["\\0"] }'],
)
def test_requests_without_users_do_not_keep_a_page_waiting(
    request_: str, page: Page, site: str, start_server: StartServer
) -> None:
    server = start_server()
    page.goto(site)
    page.wait_for_function("window.loaded")
    page.evaluate(
        f"(url) => start({{ url, userId: 'ada', watch: 'none', requests: () => [{request_}] }})", server.websocket_url
    )
    wait_for(page, "open")


def test_the_last_unsubscribed_listener_closes_the_connection(page: Page, site: str, start_server: StartServer) -> None:
    server = start_server(grace_lost=60, grace_going_away=60)
    page.goto(f"{site}?url={server.websocket_url}")
    page.wait_for_function("window.presence?.getState().connection === 'open'")
    page.evaluate("(stop(), window.stop = presence.subscribe(() => {}))")
    page.evaluate("stop()")
    wait_for(page, "closed")
    until(lambda: status(server) == "offline")
    page.evaluate("(window.stop = presence.subscribe(() => {}), 0)")
    wait_for(page, "open")
    assert page.evaluate("online()") == ["ada"]


def status(server: ServerProcess) -> Any:
    return httpx.get(f"{server.url}api/v1/users/ada", trust_env=False).json()["status"]


@pytest.mark.parametrize("way", ["kept", "frozen"])
def test_the_user_of_a_page_that_does_not_run_is_offline(
    way: str, site: str, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(grace_going_away=1, grace_lost=60)
    with PlainChromium(browser_path(), tmp_path / "profile") as chromium:
        url = f"{site}?url={server.websocket_url}"
        chromium.go(url)
        chromium.wait_for("presence.getState().connection === 'open'")
        session = chromium.run("window.mark = 1")
        if way == "kept":
            chromium.go(f"{site}other")
        else:
            chromium.freeze()
        until(lambda: status(server) == "offline")
        if way == "kept":
            chromium.go_back(url)
        else:
            chromium.unfreeze()
        chromium.wait_for("presence.getState().connection === 'open'")
        assert chromium.run("window.mark") == session, "it is the same page, from the browser's memory"
        assert chromium.run("states.filter((type) => type === 'CONNECTION_ESTABLISHED').length") == 2
        until(lambda: status(server) == "online")
