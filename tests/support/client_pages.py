"""Pages with the npm package: bundled by esbuild, and served from an origin of their own."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

PACKAGE = Path(__file__).parents[2] / "clients/js"

ENTRY = """
export { createPresence } from "./src/index.js";
export { sharedTabs } from "./src/tabs/index.js";
"""

PAGE = """<!doctype html><title>tab</title><link rel="icon" href="data:,">
<script type="module">
import { createPresence, sharedTabs } from "/client.js";
const parameters = new URLSearchParams(location.search);
const userId = parameters.get("user");
globalThis.sockets = [];
globalThis.states = [];
globalThis.shown = [];
addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
globalThis.client = createPresence({
  url: SERVER,
  userId,
  tabs: parameters.has("alone") ? undefined : sharedTabs(userId),
  host: {
    openSocket(url, protocols) {
      const socket = new WebSocket(url, protocols);
      sockets.push(socket);
      return socket;
    },
  },
});
client.connection.subscribe(() => {
  const { state } = client.connection.get();
  if (states.at(-1)?.[1] !== state) states.push([Date.now(), state]);
});
globalThis.isLeading = () => sockets.some(({ readyState }) => readyState === WebSocket.OPEN);
globalThis.isCurrent = () => client.connection.get().state === "open" && !client.connection.get().stale;
globalThis.statusOf = (id) => client.user(id).get().status;
client.users((parameters.get("read") ?? "").split(",").filter(Boolean)).subscribe(() => {});
if (parameters.has("room")) client.join(parameters.get("room"));
client.connect();
</script>"""


def bundle() -> str:
    """Return the client and `/tabs` as one module."""
    esbuild = str(PACKAGE / "node_modules/.bin/esbuild")
    command = [esbuild, "--bundle", "--format=esm", "--target=es2022", "--loader=ts"]
    done = subprocess.run(command, input=ENTRY, capture_output=True, text=True, cwd=PACKAGE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class ClientSite:
    """Web server for pages that connect to a presence server. `/elsewhere` has no client."""

    def __init__(self, server_url: str) -> None:
        pages = {
            "/": ("text/html", PAGE.replace("SERVER", json.dumps(server_url))),
            "/client.js": ("text/javascript", bundle()),
            "/elsewhere": ("text/html", "<!doctype html><title>elsewhere</title>"),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, text = pages.get(self.path.partition("?")[0], ("text/plain", ""))
                body = text.encode()
                self.send_response(200 if body else 404)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        # Locks need a secure context: localhost is one, although it is served by HTTP.
        self.origin = f"http://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
