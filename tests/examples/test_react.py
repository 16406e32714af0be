"""The hooks of `docs/how-to/connect/react.md`, bundled and run in StrictMode."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support.documents import NODE_MODULES, ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess
from tests.support.program import until
from websockets.sync.client import connect

pytestmark = pytest.mark.slow

DOCUMENT = (ROOT / "docs/how-to/connect/react.md").read_text("utf-8")
IDLE_DOCUMENT = (ROOT / "docs/how-to/build/status.md").read_text("utf-8")
REACT = ROOT / "examples/nextjs/node_modules"

MAIN = """
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.jsx";
import { useOnlineUsers } from "./use-online-users.jsx";

const url = new URLSearchParams(location.search).get("url");

function Classic() {
  return <p id="online">{[...useOnlineUsers(`${url}?userId=bo`)].join(",")}</p>;
}

function Page() {
  const [which, setWhich] = useState("v1");
  return (
    <>
      {which === "v1" && <App user={{ id: "bo" }} url={url} />}
      {which === "classic" && <Classic />}
      {["v1", "classic", "nothing"].map((name) => <button key={name} onClick={() => setWhich(name)}>{name}</button>)}
    </>
  );
}

createRoot(document.getElementById("root")).render(<StrictMode><Page /></StrictMode>);
"""

BUILD = """
import { build } from "vite";
const [root, react] = process.argv.slice(1);
await build({
  root, logLevel: "error", mode: "development", define: { "process.env.NODE_ENV": '"development"' },
  oxc: { jsx: { runtime: "automatic" } },
  resolve: { alias: [{ find: /^(react|react-dom)(\\/.*)?$/, replacement: `${react}/$1$2` }] },
  build: { minify: false },
});
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, module: str) -> Iterator[str]:
    """Bundle the files of the page, serve them, and return the URL."""
    folder = tmp_path_factory.mktemp("react")
    for name, code in re.findall(r"<!-- test: file (\S+) -->\n```jsx?\n(.*?)```", DOCUMENT + IDLE_DOCUMENT, re.DOTALL):
        (folder / name).write_text(code, "utf-8")
    (folder / "presence.js").write_text(module, "utf-8")
    (folder / "main.jsx").write_text(MAIN, "utf-8")
    (folder / "index.html").write_text(
        '<link rel="icon" href="data:,"><div id="root"></div><script type="module" src="main.jsx"></script>'
    )
    command = ["node", "--input-type=module", "-e", BUILD, str(folder), str(REACT)]
    done = subprocess.run(command, cwd=NODE_MODULES.parent, capture_output=True, text=True, check=False)
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
    page.goto(f"{site}?url={server.websocket_url}")
    yield page
    page.close()
    assert not errors


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


def test_the_hook_for_presenced_v1_opens_one_connection_in_strict_mode(page: Page, server: ServerProcess) -> None:
    expect(page.locator("[data-status]")).to_have_text(["offline", "offline"])
    with connect(f"{server.websocket_url}?userId=ada", proxy=None):
        expect(page.locator("[data-status]")).to_have_text(["online", "offline"])
    expect(page.locator("[data-status]")).to_have_text(["offline", "offline"])
    assert opened(server) == 2, "that of the page and that of ada"
    page.get_by_role("button", name="Busy").click()
    until(lambda: statuses(server)[-1] == "busy")
    server.kill()
    expect(page.get_by_role("status")).to_be_visible()
    server.start()
    expect(page.get_by_role("status")).to_be_hidden()
    assert statuses(server) == ["busy"], "nobody saw the user offline, or with another status"
    page.get_by_role("button", name="nothing").click()
    expect(page.locator("[data-status]")).to_have_count(0)
    until(lambda: statuses(server) == ["busy", "offline"])


def test_an_idle_user_is_away_until_the_pointer_moves(browser: Browser, site: str, server: ServerProcess) -> None:
    page = browser.new_page()
    page.clock.install()
    page.goto(f"{site}?url={server.websocket_url}")
    expect(page.locator("[data-status]")).to_have_text(["offline", "offline"])
    page.clock.fast_forward("05:01")
    until(lambda: statuses(server)[-1] == "away")
    page.mouse.move(50, 50)
    until(lambda: statuses(server)[-1] == "online")
    page.close()


def test_the_hook_for_the_classic_protocol_opens_one_connection_in_strict_mode(
    page: Page, server: ServerProcess
) -> None:
    expect(page.locator("[data-status]")).to_have_count(2)
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
        assert '"userId":"bo"' in str(grace.recv(30)), "the page has returned"
    with connect(f"{server.websocket_url}?userId=ada", proxy=None):
        expect(page.locator("#online")).to_have_text("ada")
    page.get_by_role("button", name="nothing").click()
    until(lambda: statuses(server)[-1] == "offline")
