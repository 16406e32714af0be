"""Pages in headless Chromium: their bundles, the server of their files, and a slow network before any server."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.load import LoadError

HERE = Path(__file__).parent
FRIENDS = HERE / "peers/friends"
"""Folder with the pages, the servers that they need, and the libraries of both."""

CLIENT = HERE.parent / "clients/js/src"
ESBUILD = FRIENDS / "node_modules/.bin/esbuild"

ROUND_TRIP = 0.15
BYTES_PER_SECOND = 1_638_400 / 8
"""Slow network: round trip in seconds and bandwidth in each direction, as the mobile preset of Lighthouse has them."""

_HTML = (
    '<!doctype html><meta charset="utf-8"><title>Friends</title><link rel="icon" href="data:,">'
    "<style>[data-status]{{display:inline-block;width:.6em;height:.6em;border-radius:50%;background:#ccc}}"
    "[data-status=online]{{background:#2a2}}[data-status=busy]{{background:#c22}}</style>"
    '<div id="root"></div><script type="module" src="/{name}.js"></script>'
)


def check_installed() -> None:
    """Check that the libraries are installed.

    Raises:
        LoadError: They are not.
    """
    if not ESBUILD.exists():
        raise LoadError(f"npm --prefix {FRIENDS} ci --ignore-scripts installs the libraries, as `make bench` does")


def library_versions() -> str:
    """Return the versions of all libraries and servers in the pages' folder."""
    dependencies = json.loads((FRIENDS / "package.json").read_text())["dependencies"]
    return ", ".join(f"{name} {version}" for name, version in dependencies.items())


def bundle(source: Path, *options: str) -> bytes:
    """Return the minified code of a file with everything that it imports. `presenced` is the client of this folder."""
    command = [str(ESBUILD), str(source), "--bundle", "--minify", "--log-level=error", "--jsx=automatic"]
    aliases = {"presenced": CLIENT / "index.ts", "presenced/react": CLIENT / "react/index.ts"}
    # Otherwise the hooks would use the copy of React beside them.
    aliases["react"] = FRIENDS / "node_modules/react"
    own = [f"--alias:{name}={path}" for name, path in aliases.items()]
    production = '--define:process.env.NODE_ENV="production"'
    return subprocess.run(
        [*command, *own, production, *options], check=True, stdout=subprocess.PIPE, cwd=FRIENDS
    ).stdout


def page_code(name: str) -> bytes:
    """Return the code of a page, for browsers since 2022."""
    [source] = (FRIENDS / "pages").glob(f"{name}.js*")
    return bundle(source, "--format=esm", "--target=es2022")


def zipped(code: bytes) -> bytes:
    """Return the code as a server sends it."""
    return gzip.compress(code, 9, mtime=0)


@contextmanager
def serving(pages: Mapping[str, bytes]) -> Iterator[int]:
    """Serve `/NAME` for each page, with its zipped code, and yield the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name that http.server calls
            name = urlsplit(self.path).path.strip("/")
            is_code = name.endswith(".js")
            body = pages[name.removesuffix(".js")] if is_code else zipped(_HTML.format(name=name).encode())
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if is_code else "text/html")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server calls
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Direction:
    """One direction of the slow network, which all connections share."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def arrival(self, now: float, size: int) -> float:
        """Return when bytes arrive that are sent now."""
        self._free_at = max(now, self._free_at) + size / BYTES_PER_SECOND
        return self._free_at + ROUND_TRIP / 2


class SlowNetwork:
    """Slow network between a page and servers of this machine."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._up, self._down = Direction(), Direction()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> SlowNetwork:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def relay(self, port: int) -> int:
        """Return a port that forwards to `port`."""
        starting = asyncio.start_server(partial(self._accept, port), "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return int(server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, upwriter = await asyncio.open_connection("127.0.0.1", port)
        # The kernel has already accepted the connection, so its handshake is added to the first bytes.
        for pumping in (
            self._pump(reader, upwriter, self._up, ROUND_TRIP),
            self._pump(upstream, writer, self._down, 0.0),
        ):
            task = asyncio.create_task(pumping)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, handshake: float
    ) -> None:
        due = self._loop.time() + handshake
        while data := await _read(reader):
            due = max(due + 1e-6, direction.arrival(self._loop.time(), len(data)) + handshake)
            handshake = 0.0
            self._loop.call_at(due, writer.write, data)
        self._loop.call_at(max(due + 1e-6, self._loop.time() + ROUND_TRIP / 2), writer.close)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 16)
    except ConnectionResetError:
        return b""
