"""uvicorn, with our two protocol classes, on sockets of our own."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from presenced.auth.hosts import AllowedHosts
from presenced.auth.origin import Origins
from presenced.errors import ListenError, PortInUse
from presenced.transports.frames import FrameParsers
from presenced.transports.front import FrontDoor
from presenced.transports.handshake import Handshake
from presenced.transports.service import Service
from presenced.transports.tls import Certificate
from presenced.transports.websocket import WebSocketConnection

BACKLOG = 4096
"""Connections the kernel holds until they are accepted (`net.core.somaxconn` may cap it lower)."""

ACCEPTS_PER_TURN = 128
"""What uvicorn and the loop are told is the backlog. asyncio (3.11) tries to accept so many at a time, and goes on
trying, logging each failure, when the process has run out of files."""

MAX_UNSENT = 131_072
"""Bytes that the kernel holds of what a client's receive window has no room for. Linux by itself takes up to 4 MB: a
client that reads nothing for a minute would then not even be known to be slow, cost so much memory, and later have to
read all of it before it is right again."""

KEEP_ALIVE = 5
"""Seconds an HTTP connection may idle between two requests."""

Addresses = tuple[tuple[socket.AddressFamily, str], ...]

LOOPBACK: Addresses = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_PORT_ATTEMPTS = 20
"""With port 0, the port that is free on one address may be taken on the next; so often another one is tried."""

_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listener:
    """Listens for one service until stopped; HTTP that is not the WebSocket's goes to `app`."""

    def __init__(self, service: Service, app: ASGIApp) -> None:
        settings = service.settings
        self._service = service
        self._certificate: Certificate | None = None
        """None where the server does no TLS."""
        if settings.tls_certificate:
            self._certificate = Certificate(Path(settings.tls_certificate), Path(settings.tls_key))
        parsers = FrameParsers(service.settings.max_message_size)
        hosts = AllowedHosts.of(settings)
        handshake = Handshake(settings.compression, Origins(settings.origins, hosts.allow), hosts)
        config = uvicorn.Config(
            cast(Any, app),
            http=cast(Any, functools.partial(FrontDoor, service, handshake)),
            ws=cast(Any, functools.partial(WebSocketConnection, service, parsers)),
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            backlog=ACCEPTS_PER_TURN,
            timeout_keep_alive=KEEP_ALIVE,
        )
        # Connections cut themselves off after close_timeout; this is for a request that will not end.
        config.timeout_graceful_shutdown = cast(Any, service.settings.close_timeout + 1)
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._main: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. Signals stay as they are (`uvicorn.Server.serve` would take them).

        Raises:
            PortInUse, ListenError: The address can't be had; nothing is listened on.
        """
        sockets = await bind(self._service.settings.host, self._service.settings.port)
        self.port = sockets[0].getsockname()[1]
        # As `uvicorn.Server.startup`, but for the time that a TLS handshake may take (there, 60 s).
        tls: dict[str, Any] = {}
        if self._certificate is not None:
            settings = self._service.settings
            tls["ssl"] = self._certificate.context
            tls["ssl_handshake_timeout"] = settings.head_timeout
            tls["ssl_shutdown_timeout"] = settings.close_timeout
            self._certificate.watch(self._service.clock, self._service.timer)
        loop = asyncio.get_running_loop()
        self._server.servers = []
        for sock in sockets:
            server = await loop.create_server(self._make_protocol, sock=sock, backlog=ACCEPTS_PER_TURN, **tls)
            self._server.servers.append(server)
            sock.listen(BACKLOG)  # the loop has set it to what it was told
        self._server.started = True
        self._main = asyncio.create_task(self._server.main_loop(), name="presenced: uvicorn")

    def reload_certificate(self) -> None:
        """Take the certificate's files if they have changed; no-op without TLS."""
        if self._certificate is not None:
            self._certificate.reload()

    def _make_protocol(self) -> asyncio.Protocol:
        config, state = self._server.config, self._server.server_state
        make: Callable[..., asyncio.Protocol] = cast(Any, config.http_protocol_class)
        return make(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())

    def stop_accepting(self) -> None:
        """Accept no more; what is open stays so."""
        for server in self._server.servers:
            server.close()

    async def stop(self) -> None:
        """Accept no more, have every connection closed, and wait for that: `close_timeout` and a little at most."""
        assert self._main is not None, "started"
        self._server.should_exit = True
        await self._main
        await self._server.shutdown()


async def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of `host`, one port for all; port 0 takes a free one.

    `localhost` is 127.0.0.1 and ::1, whatever the resolver says, because clients differ in which they try. An address
    that the machine does not have is left out, as long as one remains.

    Raises:
        PortInUse, ListenError: Nothing was bound.
    """
    addresses = LOOPBACK
    if host.lower() != "localhost":
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
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
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # what is accepted inherits it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
        sock.bind((address, port))
        sock.listen(BACKLOG)  # of two servers that start at the same moment, the second fails only here
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
