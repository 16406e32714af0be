"""Listener: binds the sockets, accepts connections for the front door, and closes them all when the server stops.

- `bind` makes the sockets itself, because all addresses of a host name must have one port. With port 0 the first
  address gets a free port, which may be taken on the next address, so `bind` tries again.
- `TCP_NOTSENT_LOWAT` is set on the listening socket, and each accepted socket inherits it (`MAX_UNSENT_BYTES`).
- The backlog is set twice: the loop uses one number for the kernel's queue and for the accepts in one turn
  (`ACCEPTS_PER_TURN`).

`stop` ends connections in three steps:

    1. shutdown   a WebSocket gets a close frame; a request being answered gets its response; others are closed
    2. abort      after `close_timeout` plus `EXTRA_STOP_S`: requests are cancelled and connections aborted
    3. close      up to `EXTRA_STOP_S` for the loop to close the listening sockets, which no longer accept
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from presenced.errors import ListenError, PortInUse
from presenced.net.hosts import AllowedHosts
from presenced.net.origins import Origins
from presenced.transports.base import ConnectionHandler
from presenced.transports.front_door import FrontDoor, OpenConnection
from presenced.transports.tls import Certificate
from presenced.transports.websocket.handshake import Handshake

BACKLOG = 4096
"""Maximum number of connections that wait in the kernel to be accepted (`net.core.somaxconn` may cap it lower). At the
bound the kernel ignores further attempts, and clients retry."""

ACCEPTS_PER_TURN = 128
"""Backlog passed to the loop. asyncio (3.11) accepts up to this many connections in one turn. If it were `BACKLOG`, a
process without free file descriptors would fail and log that many times at once."""

MAX_UNSENT_BYTES = 131_072
"""Maximum number of bytes that the kernel buffers beyond a client's receive window (`TCP_NOTSENT_LOWAT`).

By default Linux buffers up to 4 MB. A client that reads nothing for a minute would then cost that much memory without
appearing slow. It would have to read all of it before its view is right again. With this bound a client is up to date
0.4 s after it resumes reading, instead of 13 s (100 of 5,000 clients, after a minute; `benchmarks/slow_watchers.py`).
"""

STOP_CHECK_S = 0.02
"""Seconds between two checks whether all connections have ended."""

EXTRA_STOP_S = 1.0
"""Seconds beyond `close_timeout` for a request that does not end, and again for connections that were aborted."""

Addresses = tuple[tuple[socket.AddressFamily, str], ...]

LOOPBACK: Addresses = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""Addresses of `localhost`."""

_PORT_ATTEMPTS = 20
"""Maximum number of attempts with port 0. A port that is free on one address may be taken on the next."""

_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listener:
    """Listens for one handler until it is stopped. `app` answers the requests that are not WebSocket handshakes."""

    def __init__(self, handler: ConnectionHandler, app: ASGIApp) -> None:
        settings = handler.settings
        self._handler = handler
        self._certificate: Certificate | None = None
        """None without TLS."""
        if settings.tls_certificate:
            self._certificate = Certificate(Path(settings.tls_certificate), Path(settings.tls_key))
        self._peers: set[OpenConnection] = set()
        hosts = AllowedHosts.of(settings)
        origins = Origins(settings.origins, hosts.allow)
        compressed = handler.compressed if settings.compression else ()
        handshakes = {
            path: Handshake(subprotocols=subprotocols, compressed=compressed, origins=origins, hosts=hosts)
            for path, subprotocols in handler.subprotocols.items()
        }
        self._door = FrontDoor(handler, app, handshakes, self._peers)
        self._servers: list[asyncio.Server] = []
        self.port = 0
        """TCP port; 0 before `start`."""

    async def start(self) -> None:
        """Start listening.

        Raises:
            PortInUse, ListenError: The address is not available. No socket stays open.
        """
        sockets = await bind(self._handler.settings.host, self._handler.settings.port)
        self.port = sockets[0].getsockname()[1]
        tls: dict[str, Any] = {}
        if self._certificate is not None:
            settings = self._handler.settings
            tls["ssl"] = self._certificate.context
            tls["ssl_handshake_timeout"] = settings.head_timeout  # otherwise the loop's own default, 60 s
            tls["ssl_shutdown_timeout"] = settings.close_timeout
            self._certificate.watch(self._handler.clock, self._handler.timer)
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(self._door.connection, sock=sock, backlog=ACCEPTS_PER_TURN, **tls)
            self._servers.append(server)
            sock.listen(BACKLOG)  # the loop has lowered it to ACCEPTS_PER_TURN

    def reload_certificate(self) -> None:
        """Reload the certificate if its files have changed; no-op without TLS."""
        if self._certificate is not None:
            self._certificate.reload()

    @property
    def open_connections(self) -> int:
        """Number of open connections of either kind."""
        return len(self._peers)

    def stop_accepting(self) -> None:
        """Stop accepting connections. Open ones stay open."""
        for server in self._servers:
            server.close()

    async def stop(self) -> None:
        """Stop accepting, end every connection, and wait until all have ended.

        Bound: after `close_timeout` plus `EXTRA_STOP_S`, the remaining connections are aborted.
        """
        self.stop_accepting()
        for peer in list(self._peers):
            peer.shutdown()
        await self._wait_for_end(self._handler.settings.close_timeout + EXTRA_STOP_S)
        for task in self._door.tasks:
            task.cancel()
        for peer in list(self._peers):
            peer.abort()
        await self._wait_for_end(EXTRA_STOP_S)
        for server in self._servers:
            with contextlib.suppress(TimeoutError):  # a connection that outlives its abort must not block the stop
                await asyncio.wait_for(server.wait_closed(), EXTRA_STOP_S)

    async def _wait_for_end(self, seconds: float) -> None:
        """Wait until no connection is open and no request is being answered, or until the timeout."""
        ends = self._handler.clock.monotonic() + seconds
        # Polling, because an event would have to be kept in step with two sets that others change.
        while (self._peers or self._door.tasks) and self._handler.clock.monotonic() < ends:  # noqa: ASYNC110  # see above
            await asyncio.sleep(STOP_CHECK_S)


async def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on all addresses of `host`, with one port for all. Port 0 selects a free one.

    `localhost` means both 127.0.0.1 and ::1, regardless of the resolver, because clients try either. Addresses that
    the machine does not have are skipped, as long as one remains.

    Raises:
        PortInUse, ListenError: Nothing was bound.
    """
    addresses = LOOPBACK
    if host.lower() != "localhost":
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is empty or too long
            raise ListenError(host, port, error) from error
        addresses = tuple(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
    for attempt in range(_PORT_ATTEMPTS):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ListenError(host, port, error) from error
            if port or attempt == _PORT_ATTEMPTS - 1:
                raise PortInUse(host, port) from error
    raise AssertionError("the last attempt returns or raises")


def _bind_all(addresses: Addresses, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_bind_one(family, address, port))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
            else:
                port = sockets[-1].getsockname()[1]
        if missing and not sockets:
            raise missing
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    return sockets


def _bind_one(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # inherited by accepted sockets
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        sock.bind((address, port))
        sock.listen(BACKLOG)  # if two servers start at the same moment, the second fails only here
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
