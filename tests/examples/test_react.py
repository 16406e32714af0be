"""The components of pages about React, bundled with the package and run in StrictMode."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess
from tests.support.program import until
from websockets.sync.client import connect

pytestmark = pytest.mark.slow

DOCUMENT = (ROOT / "docs/how-to/connect/react.md").read_text("utf-8")
MIGRATION = (ROOT / "docs/how-to/migrate/hand-rolled.md").read_text("utf-8")
PACKAGE = ROOT / "clients/js"

MAIN = """
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { PresenceProvider } from "presenced/react";
import { App } from "./app.jsx";
import { Lobby } from "./lobby.jsx";
import { OnlineUsers, useOnlineUsers as useMigrated } from "./online-users.tsx";
import { useOnlineUsers } from "./use-online-users.jsx";

const url = new URLSearchParams(location.search).get("url");

function Classic() {
  return <p id="online">{[...useOnlineUsers(`${url}?userId=bo`)].join(",")}</p>;
}

function Migrated() {
  const { online, isOnline } = useMigrated();
  return <p id="migrated">{[...online].sort().join(",")}{isOnline(7) ? " with 7" : ""}</p>;
}

function Page() {
  const [which, setWhich] = useState("v1");
  return (
    <>
      {which === "v1" && <App user={{ id: "bo" }} url={url} />}
      {which === "lobby" && <PresenceProvider url={url} userId="bo"><Lobby /></PresenceProvider>}
      {which === "classic" && <Classic />}
      {which === "migrated" && <OnlineUsers url={url} userId="bo"><Migrated /></OnlineUsers>}
      {["v1", "lobby", "classic", "migrated", "nothing"].map((name) => (
        <button key={name} onClick={() => setWhich(name)}>{name}</button>
      ))}
    </>
  );
}

createRoot(document.getElementById("root")).render(<StrictMode><Page /></StrictMode>);
"""

BUILD = """
import { build } from "vite";
const [root, folder] = process.argv.slice(1);
await build({
  root, logLevel: "error", mode: "development", define: { "process.env.NODE_ENV": '"development"' },
  oxc: { jsx: { runtime: "automatic" } },
  resolve: {
    alias: [
      { find: /^presenced\\/react$/, replacement: `${folder}/src/react/index.ts` },
      { find: /^presenced\\/react\\/dots.css$/, replacement: `${folder}/src/react/dots.css` },
      { find: /^(react|react-dom)(\\/.*)?$/, replacement: `${folder}/node_modules/$1$2` },
    ],
  },
  build: { minify: false },
});
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bundle the files of the page, serve them, and return the URL."""
    folder = tmp_path_factory.mktemp("react")
    for name, code in re.findall(r"<!-- test: file (\S+) -->\n```[jt]sx?\n(.*?)```", DOCUMENT + MIGRATION, re.DOTALL):
        (folder / name).write_text(code, "utf-8")
    (folder / "main.jsx").write_text(MAIN, "utf-8")
    (folder / "index.html").write_text(
        '<link rel="icon" href="data:,"><div id="root"></div><script type="module" src="main.jsx"></script>'
    )
    command = ["node", "--input-type=module", "-e", BUILD, str(folder), str(PACKAGE)]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    handler = functools.partial(_QuietHandler, directory=str(folder / "dist"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://localhost:{serving.server_port}/"
        serving.shutdown()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server(grace_lost=20)


@pytest.fixture
def page(browser: Browser, site: str, server: ServerProcess) -> Iterator[Page]:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("websocket", print_frames)
    page.goto(f"{site}?url={server.websocket_url}")
    yield page
    page.close()
    assert not errors


def print_frames(socket: WebSocket) -> None:
    """Print what a WebSocket of the page receives, to explain a failure."""

    def note(what: str, text: object = "") -> None:
        sys.stdout.write(f"{time.monotonic():.3f} {what} {text}\n")

    note("opened", socket.url)
    socket.on("framereceived", lambda text: note("received", text))
    socket.on("socketerror", lambda text: note("failed", text))
    socket.on("close", lambda _: note("closed"))


def opened(server: ServerProcess) -> int:
    """Return the number of connections since the start of the server."""
    text = httpx.get(f"{server.url}metrics", trust_env=False).text
    return int(
        sum(float(value) for value in re.findall(r"^presenced_connections_opened_total\S* (\S+)", text, re.MULTILINE))
    )


def statuses(server: ServerProcess) -> list[str]:
    """Return the statuses of bo that others saw."""
    found = httpx.get(f"{server.url}api/v1/users/bo/explain", trust_env=False).json()["changes"]
    return [change["status"] for change in reversed(found)]


def dots(page: Page, *names: str) -> None:
    """Expect these statuses of ada and 7."""
    shown = page.get_by_role("listitem").get_by_role("img")
    expect(shown).to_have_count(len(names))
    for number, name in enumerate(names):
        expect(shown.nth(number)).to_have_accessible_name(name)


def test_the_list_of_friends_opens_one_connection_in_strict_mode(page: Page, server: ServerProcess) -> None:
    dots(page, "Offline", "Offline")
    with connect(f"{server.websocket_url}?userId=ada", proxy=None):
        dots(page, "Online", "Offline")
        expect(page.get_by_text("1 of 2 friends, 2 users")).to_be_visible()
    dots(page, "Offline", "Offline")
    expect(page.locator(".presenced-last-seen").first).to_have_text("just now")
    assert opened(server) == 2, "that of the page and that of ada"
    page.get_by_role("button", name="busy").click()
    until(lambda: statuses(server)[-1] == "busy")
    expect(page.get_by_role("button", name="auto")).to_be_visible()
    server.kill()
    expect(page.get_by_role("status")).to_contain_text("No connection", timeout=10_000)
    server.start()
    expect(page.get_by_role("status")).to_be_empty()
    assert statuses(server) == ["busy"], "nobody saw the user offline, or with another status"
    page.get_by_role("button", name="nothing").click()
    dots(page)
    until(lambda: statuses(server) == ["busy", "offline"])


def test_a_room_is_joined_while_its_component_is_mounted(page: Page, server: ServerProcess) -> None:
    members = f"{server.url}api/v1/rooms/lobby"

    def data() -> list[object]:
        """Return the data of the members that the server knows."""
        found = httpx.get(members, trust_env=False).json().get("members", [])
        return [member.get("data") for member in found]

    page.get_by_role("button", name="lobby").click()
    expect(page.get_by_role("group")).to_have_accessible_name("1 online")
    until(lambda: data() == [{"typing": False}])
    page.get_by_role("button", name="Type to 0 others").click()
    until(lambda: data() == [{"typing": True}])
    page.get_by_role("button", name="nothing").click()
    until(lambda: data() == [])


def test_the_hook_for_the_classic_protocol_opens_one_connection_in_strict_mode(
    page: Page, server: ServerProcess
) -> None:
    dots(page, "Offline", "Offline")
    before = opened(server)
    page.get_by_role("button", name="classic").click()
    expect(page.locator("#online")).to_be_attached()
    until(lambda: opened(server) > before)
    with connect(f"{server.websocket_url}?userId=ada", proxy=None):
        expect(page.locator("#online")).to_have_text("ada")
    assert opened(server) == before + 2, "that of the page and that of ada"
    expect(page.locator("#online")).to_have_text("")
    server.kill()
    server.start()
    with connect(f"{server.websocket_url}?userId=grace", proxy=None) as grace:
        assert '"CONNECTION_ESTABLISHED"' in str(grace.recv())
        assert '"type":"USER_ONLINE","userId":"bo"' in str(grace.recv(30)), "the page has returned"
    with connect(f"{server.websocket_url}?userId=ada", proxy=None):
        expect(page.locator("#online")).to_have_text("ada")
    page.get_by_role("button", name="nothing").click()
    until(lambda: statuses(server)[-1] == "offline")


def test_the_migrated_hook_shows_who_is_online_and_who_was_before(page: Page, server: ServerProcess) -> None:
    with connect(f"{server.websocket_url}?userId=7", proxy=None):
        page.get_by_role("button", name="migrated").click()
        expect(page.locator("#migrated")).to_have_text("7,bo with 7")
        with connect(f"{server.websocket_url}?userId=ada", proxy=None):
            expect(page.locator("#migrated")).to_have_text("7,ada,bo with 7")
    expect(page.locator("#migrated")).to_have_text("bo")
