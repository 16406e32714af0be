"""Foreign pages in a real browser, against the open API and the WebSocket of a server on loopback.

The browser resolves `evil.example` to 127.0.0.1. A page of that name on another port is a foreign page on the visitor's
machine. The same name on the server's own port is the result of DNS rebinding: the page has the server's origin.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.support.chromium import launch
from tests.support.pages import StartServer
from tests.support.process import ServerProcess

NAME = "evil.example"

ATTEMPTS = """
async (base) => {
  const made = {};
  const settled = (work) => Promise.race([work, new Promise((done) => setTimeout(done, 5000, "nothing came"))]);
  const read = async (name, path, options) => {
    try {
      const answer = await fetch(base + path, { cache: "no-store", ...options });
      made[name] = answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`;
    } catch (error) {
      made[name] = `failed: ${error.name}`;
    }
  };
  const heard = (source, kind) =>
    new Promise((done) => {
      source.onmessage = (event) => done(`heard ${event.data}`);
      for (const name of ["snapshot", "changes"]) source.addEventListener(name, (event) => done(`heard ${event.data}`));
      if (kind === "socket") source.onclose = (event) => done(`closed ${event.code}`);
      source.onerror = () => kind === "stream" && done("error");
    });
  const form = (name, path, method) =>
    new Promise((done) => {
      const frame = Object.assign(document.createElement("iframe"), { name: `frame-${name}` });
      document.body.append(frame);
      const made = Object.assign(document.createElement("form"), {
        action: base + path, method, enctype: "text/plain", target: frame.name,
      });
      const field = Object.assign(document.createElement("input"), { name: '{"online": true, "x', value: '": 1}' });
      if (method === "post") made.append(field);
      document.body.append(made);
      frame.onload = () => frame.contentWindow.location.href !== "about:blank" && done();
      setTimeout(done, 1500);
      try { made.submit(); } catch { done(); }
    });
  const image = (path) =>
    new Promise((done) => {
      const made = new Image();
      made.onload = () => done("loaded");
      made.onerror = () => done("error");
      made.src = base + path;
    });
  const script = (path) =>
    new Promise((done) => {
      const made = document.createElement("script");
      made.onload = () => done("loaded");
      made.onerror = () => done("error");
      made.src = base + path;
      document.body.append(made);
    });

  for (const path of PATHS) await read(`GET ${path}`, path);
  const json = { "content-type": "application/json" };
  const text = { "content-type": "text/plain" };
  for (const [name, headers] of [["preflighted", json], ["simple", text]]) {
    const on = '{"online": true}';
    await read(`${name} announce`, "/api/v1/users/mallory/announce", { method: "POST", headers, body: on });
    await read(`${name} disconnect`, "/api/v1/users/ada/disconnect", { method: "POST", headers, body: "" });
    await read(`${name} ticket`, "/api/tickets", { method: "POST", headers, body: '{"userId": "ada"}' });
  }
  for (const method of ["PUT", "DELETE"]) {
    const body = method === "PUT" ? '{"status": "busy"}' : undefined;
    await read(`${method} status`, "/api/v1/users/ada/status", { method, headers: json, body });
  }
  await read("erase", "/api/v1/users/ada", { method: "DELETE" });
  const blind = { method: "POST", mode: "no-cors" };
  await read("blind announce", "/api/v1/users/mallory/announce", { ...blind, body: '{"online": true}' });
  await read("blind disconnect", "/api/v1/users/ada/disconnect", blind);
  await read("blind GET", "/api/v1/changes?after=0&wait=1", { mode: "no-cors" });
  await read("quiet announce", "/api/v1/users/mallory/announce",
    { ...blind, body: '{"online": true}', referrerPolicy: "no-referrer" });
  await form("post", "/api/v1/users/mallory/announce", "post");
  await form("get", "/api/v1/online", "get");
  for (const path of ["/api/v1/online", "/stats"]) made[`image ${path}`] = await image(path);
  for (const path of ["/api/v1/online", "/stats", "/metrics"]) made[`script ${path}`] = await script(path);
  for (const path of ["/api/v1/watch?users=ada", "/api/v1/watch?everyone=true", "/api/v1/changes"]) {
    made[`EventSource ${path}`] = await settled(heard(new EventSource(base + path), "stream"));
  }
  const socket = base.replace("http", "ws") + "/ws-online-status?userId=mallory";
  made["WebSocket classic"] = await settled(heard(new WebSocket(socket), "socket"));
  made["WebSocket v1"] = await settled(heard(new WebSocket(socket, "presenced.v1"), "socket"));
  return made;
}
"""

SHOWN = ["/", "/docs/", "/healthz", "/readyz", "/stats", "/metrics", "/ws-online-status"]
READ = [
    "/api/v1/online",
    "/api/v1/users/ada",
    "/api/v1/counts",
    "/api/v1/changes?after=0",
    "/api/v1/users/ada/sessions",
]


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Serve an empty page at every path."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title><body></body>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Log nothing."""


@pytest.fixture
def stranger() -> Iterator[int]:
    """Return the port of a foreign web server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving.server_address[1]
        serving.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def victim() -> Iterator[Browser]:
    """Start a browser that resolves the foreign name to the visitor's own machine."""
    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
        # Chromium itself blocks some pages from the visitor's machine. Not all browsers do.
        checks = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
        with launch(playwright, rules, checks) as browser:
            yield browser


class VisitedServer:
    """A server where ada is online, with the state that an attack could change."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.base = f"http://127.0.0.1:{server.port}"
        answer = httpx.post(f"{self.base}/api/v1/users/ada/announce", json={"online": True})
        assert answer.status_code == 200
        self.before = self.state()

    def state(self) -> dict[str, Any]:
        """Return the state that any effect would change."""
        metrics = httpx.get(f"{self.base}/metrics").text.splitlines()
        counted = [line for line in metrics if line.startswith(("presenced_connections_opened_total", "presenced_ch"))]
        return {
            "online": httpx.get(f"{self.base}/api/v1/online").json()["users"],
            "ada": httpx.get(f"{self.base}/api/v1/users/ada").json(),
            "changes": httpx.get(f"{self.base}/api/v1/changes").json(),
            "counted": counted,
        }


@pytest.fixture
def visited(start_server: StartServer) -> VisitedServer:
    return VisitedServer(start_server())


def attempts(page: Page, base: str) -> dict[str, str]:
    """Let the page try everything, and return the results."""
    made = page.evaluate(ATTEMPTS.replace("PATHS", json.dumps(SHOWN + READ)), base)
    assert isinstance(made, dict)
    assert len(made) > 30, "it went to the end"
    return made


def is_nothing(result: str) -> bool:
    """Return whether the page learned nothing except its failure."""
    return result in ("error", "opaque", "closed 1006", "nothing came") or result.startswith("failed: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_foreign_page_reads_and_changes_nothing(
    victim: Browser, visited: VisitedServer, stranger: int, host: str
) -> None:
    page = victim.new_page()
    page.goto(f"http://{NAME}:{stranger}/")
    made = attempts(page, f"http://{host}:{visited.server.port}")
    page.close()
    assert {name: result for name, result in made.items() if not is_nothing(result)} == {}
    assert made["WebSocket classic"] == "closed 1006"
    assert visited.state() == visited.before
    said = f"page http://{NAME}:{stranger} may not connect; to allow it, add http://{NAME}:{stranger} to the setting"
    assert said in visited.server.output


def test_a_sandboxed_frame_of_a_foreign_page_reads_and_changes_nothing(
    victim: Browser, visited: VisitedServer, stranger: int
) -> None:
    """A sandboxed frame sends `Origin: null`, as pages from files do."""
    page = victim.new_page()
    page.goto(f"http://{NAME}:{stranger}/")
    page.set_content('<iframe sandbox="allow-scripts allow-forms" srcdoc="<body></body>"></iframe>')
    (frame,) = page.frames[1:]
    made = frame.evaluate(ATTEMPTS.replace("PATHS", json.dumps(SHOWN + READ)), visited.base)
    page.close()
    assert {name: result for name, result in made.items() if not is_nothing(result)} == {}
    assert visited.state() == visited.before


def rebound(page: Page, server: ServerProcess) -> str:
    """Give the page the server's own origin: its document loaded while the name still pointed at the attacker.

    Returns:
        The origin, at which every other request reaches the server.
    """
    base = f"http://{NAME}:{server.port}"
    page.route(f"{base}/lure", lambda route: route.fulfill(content_type="text/html", body="<body></body>"))
    page.goto(f"{base}/lure")
    assert page.evaluate("location.origin") == base
    return base


def test_a_page_that_rebinds_its_name_reads_only_health_and_changes_nothing(
    victim: Browser, visited: VisitedServer
) -> None:
    page = victim.new_page()
    made = attempts(page, rebound(page, visited.server))
    page.close()
    health = {made.pop(f"GET {path}").partition(" ")[0] for path in ("/healthz", "/readyz")}
    assert health == {"200"}, "which names no user"
    for name, result in made.items():
        if not is_nothing(result):
            assert result.startswith("421 "), f"{name}: {result}"
            assert "MISDIRECTED" in result, f"{name}: {result}"
            assert "ada" not in result.partition(" ")[2], name
    assert made["WebSocket v1"] == "closed 1006"
    assert visited.state() == visited.before
    assert f"{NAME}:{visited.server.port} is not a name of this server" in visited.server.output


def test_pages_allowed_by_the_settings_succeed_with_the_same_requests(
    victim: Browser, start_server: StartServer, stranger: int
) -> None:
    """Control: without it, the tests above would prove nothing."""
    origin = f"http://{NAME}:{stranger}"
    visited = VisitedServer(start_server(origins=f"{origin},http://{NAME}"))
    for lure in (False, True):
        page = victim.new_page()
        base = visited.base
        if lure:
            visited = VisitedServer(start_server(allowed_hosts=NAME))
            base = rebound(page, visited.server)
        else:
            page.goto(f"{origin}/")
        made = attempts(page, base)
        page.close()
        assert "ada" in made["GET /api/v1/online"]
        assert made["WebSocket classic"].startswith("heard ")
        assert made["EventSource /api/v1/watch?users=ada"].startswith("heard ")
        assert made["erase"].startswith("200 ")
        assert visited.state() != visited.before
