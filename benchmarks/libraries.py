"""Client libraries to compare: their pages, their servers, and friends who use them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks.machine import LOAD_CORES, SERVER_CORES
from benchmarks.pages import FRIENDS
from benchmarks.servers import PRESENCED, end, free_port, spawn, start, wait_listening

STAYING = [f"friend{number}" for number in range(8)]
LEAVING, ARRIVING, ABSENT = "leaving", "arriving", "absent"
ALL_FRIENDS = [*STAYING, LEAVING, ARRIVING, ABSENT]
VIEWER = "viewer"


class Library(NamedTuple):
    """One row of the tables.

    Args:
        page: Name of its file in `peers/friends/pages`.
        server: Kind of server and of friends; empty if no server can run here.
        written: Files in `peers/friends/servers` that an application needs besides the page.
        outage: Whether the outage is measured.
    """

    name: str
    page: str
    server: str
    written: Sequence[str] = ()
    outage: bool = True


LIBRARIES = (
    Library("presenced", "presenced", "presenced"),
    Library("presenced, React", "presenced-react", "presenced", outage=False),
    Library("socket.io-client", "socket-io", "socket-io", ["socket-io"]),
    Library("partysocket", "partysocket", "partysocket", ["partysocket"]),
    Library("pusher-js, soketi", "pusher", "pusher", ["pusher-auth"]),
    Library("ably", "ably", ""),
    Library("ably/modular", "ably-modular", ""),
)


class Stage:
    """A server, what it needs, and the friends who are online."""

    def __init__(self, library: Library, crowd: Path, options: Sequence[str]) -> None:
        self._library = library
        self._crowd_code = crowd
        self._options = options
        self.port = free_port()
        self.auth_port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._crowd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.serve()
            if self._library.server == "pusher":
                auth = spawn(["node", f"{FRIENDS}/servers/pusher-auth.js", str(self.auth_port)], set(LOAD_CORES))
                self._processes.append(auth)
                wait_listening("pusher-auth", self.auth_port, auth)
            addresses = [f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.auth_port}"]
            command = ["node", str(self._crowd_code), self._library.server, *addresses]
            self._crowd = spawn(command, set(LOAD_CORES), stdin=subprocess.PIPE)
            self._processes.append(self._crowd)
            for friend in [*STAYING, LEAVING]:
                self.order(f"join {friend}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._processes, *([self._server] if self._server else [])]:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()

    def serve(self) -> None:
        """Start the server, and wait until it accepts connections."""
        kind = self._library.server
        if kind == "presenced":
            self._server = start(PRESENCED, self.port, self._options)
        else:
            command, environ = ["node", f"{FRIENDS}/servers/{kind}.js", str(self.port)], {}
            if kind == "pusher":
                command = ["node", f"{FRIENDS}/node_modules/@soketi/soketi/bin/server.js", "start"]
                environ = {
                    "SOKETI_HOST": "127.0.0.1",
                    "SOKETI_PORT": str(self.port),
                    "SOKETI_METRICS_SERVER_PORT": str(free_port()),
                    "SOKETI_DEFAULT_APP_ID": "app",
                    "SOKETI_DEFAULT_APP_KEY": "key",
                    "SOKETI_DEFAULT_APP_SECRET": "secret",
                    "NODE_NO_WARNINGS": "1",
                }
            self._server = spawn(command, SERVER_CORES, environ)
        wait_listening(self._library.name, self.port, self._server)

    def kill(self) -> None:
        """Kill the server."""
        if self._server:
            end(self._server)

    def order(self, line: str) -> None:
        """Let the friends do something: `join ID` or `leave ID`."""
        if self._crowd and self._crowd.stdin:
            self._crowd.stdin.write(f"{line}\n".encode())
            self._crowd.stdin.flush()
