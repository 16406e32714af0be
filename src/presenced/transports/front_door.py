"""The HTTP front door: admits connections and upgrades handshakes to WebSockets.

Each connection is an `HttpConnection` (`http1/connection.py`), which parses requests and lets the application answer
them. The server has a single parser of heads. It used to be llhttp, behind uvicorn. llhttp assumes that a request with
an `Upgrade` field has no body, so it read the body as the next request (RFC 9112 section 11.2, request smuggling).
httptools offers no way to make it continue with the body. A scanner in front that hides the field would be a second
parser of the same bytes, and parsers that disagree make smuggling possible. Parsing a head takes 6 microseconds in
Python. httptools with its callbacks took 4 of the 80 microseconds of a handshake, and uvicorn's own work cost more than
the difference.

Rules:

- A handshake is a GET of a WebSocket path that offers `websocket` and nothing else. The server ignores any other
  offer to upgrade (RFC 9110 section 7.8). It reads the body as usual and sends one response per request.
- A handshake has no body. It may arrive on a connection that was used before, and frames may follow it immediately.
- Limits are checked in a fixed order. When a client connects: connections of the whole server, then of one address. At
  the handshake: whether the server is stopping or behind, then the rate of the address.
- Every refusal goes through `FrontDoor.refused`, which logs and counts it.

`tests/security/test_smuggling.py` checks the HTTP rules, directly and behind nginx and Caddy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp

from presenced.errors import Problem
from presenced.net.proxy_protocol import parse_proxy_header
from presenced.net.query import parameter
from presenced.net.refusals import Refusal
from presenced.protocols.base import ConnectRequest
from presenced.transports.http1.connection import HttpConnection
from presenced.transports.http1.faults import Faults
from presenced.transports.http1.head import Head
from presenced.transports.http1.scope import address
from presenced.transports.websocket.handshake import Handshake

if TYPE_CHECKING:
    from presenced.transports.base import ConnectionHandler
    from presenced.transports.websocket.connection import WebSocketConnection

MAX_RETRY = 10
"""Maximum number of seconds in `Retry-After` when the server is behind."""


class Peer(Protocol):
    """An open connection of either kind."""

    def shutdown(self) -> None:
        """End soon, because the server is stopping."""

    def cut(self) -> None:
        """End immediately."""


class FrontDoor:
    """The state and decisions shared by one listener's connections; implements `Door` (`http1/door.py`).

    Bounds: `max_connections` for connections; the service's gate for connections of one address.

    Args:
        app: Answers every request that is not a handshake.
        handshakes: Rules of the handshake for each path of a WebSocket.
        open_websocket: Returns the protocol of an upgraded connection.
        peers: All open connections, of either kind.
    """

    def __init__(
        self,
        service: ConnectionHandler,
        app: ASGIApp,
        handshakes: Mapping[bytes, Handshake],
        open_websocket: Callable[[], WebSocketConnection],
        peers: set[Peer],
    ) -> None:
        self.settings = service.settings
        self.clock = service.clock
        self.timer = service.timer
        self.app = app
        self.tasks: set[asyncio.Task[None]] = set()
        self.faults = Faults(service.clock)
        self._service = service
        self._handshakes = handshakes
        self._open_websocket = open_websocket
        self._peers = peers

    def connection(self) -> HttpConnection:
        """Return the protocol of a new connection."""
        return HttpConnection(self, not self.settings.proxy_protocol)

    def came(self, connection: HttpConnection) -> None:
        """Register a new connection, or refuse it."""
        self._peers.add(connection)
        gate = self._service.throttle
        if not (gate.is_disabled or self.settings.proxy_protocol):
            found = address(connection.transport)
            connection.peer = found[0] if found else ""
            if not gate.proxies.trusts(connection.peer):
                self._count(connection, gate.key(connection.peer, ()))
        if len(self._peers) > self._service.max_connections:
            detail = f"all {self._service.max_connections} connections are taken; retry later"
            connection.refuse(Refusal(Problem.UNAVAILABLE, detail, ((b"retry-after", b"5"),), "full"))

    def left(self, connection: HttpConnection) -> None:
        """Unregister a connection that ended without an upgrade."""
        self._peers.discard(connection)
        self._service.throttle.release_connection(connection.key)

    def identify(self, connection: HttpConnection, data: bytes) -> bytes | None:
        """Return the bytes after the PROXY header; None if the header is incomplete or was refused."""
        try:
            found = address(connection.transport)
            if found is None or not self._service.throttle.proxies.trusts(found[0]):
                raise ValueError("only a trusted proxy may connect")
            header = parse_proxy_header(data)
        except ValueError as error:
            connection.refuse(Refusal(Problem.BAD_REQUEST, str(error)))
            return None
        if header is None:
            return None
        connection.peer = header.address or found[0]
        self._count(connection, self._service.throttle.key(connection.peer, ()))
        return data[header.size :]

    def upgrades(self, connection: HttpConnection, head: Head) -> bool:
        """Return whether the request was a handshake, which upgrades the connection or refuses it."""
        if head.method != b"GET" or (handshake := self._handshakes.get(head.path)) is None:
            return False
        refusal = self._why_not(head) or self._barred(connection, head)
        if refusal is None:
            answer = handshake.answer(head.version, head.headers)
            if not isinstance(answer, Refusal):
                token = answer.token or _token(head.query)
                websocket = self._hand_over(connection)
                request = ConnectRequest(head.path, head.query, answer.subprotocol, token)
                websocket.upgrade(answer.response, request, answer.deflates)
                if early := connection.hand_over():
                    websocket.data_received(early)
                return True
            refusal = answer
        connection.refuse(refusal)
        return True

    def refused(self, connection: HttpConnection, refusal: Refusal) -> None:
        """Log and count `refusal`. The connection calls this for every refusal, before writing it."""
        origin = next((value for name, value in connection.headers if name == b"origin"), b"")
        self._service.turned_away(refusal, origin)

    def _hand_over(self, connection: HttpConnection) -> WebSocketConnection:
        self._peers.discard(connection)
        websocket = self._open_websocket()
        websocket.address, connection.key = connection.key, ""
        connection.transport.set_protocol(websocket)
        websocket.connection_made(connection.transport)
        websocket.paused = connection.is_behind  # it may not have read the answers before the handshake
        return websocket

    def _why_not(self, head: Head) -> Refusal | None:
        """Return the refusal that applies to every client now, or to this request."""
        if head.length != 0:
            return Refusal(Problem.BAD_HANDSHAKE, "a handshake has no body")
        if self._service.draining:
            retry = ((b"retry-after", b"1"),)
            return Refusal(Problem.UNAVAILABLE, "the server is stopping; retry in a moment", retry, "stopping")
        if self._service.is_behind:
            # A random delay, because otherwise all clients would reconnect at once.
            retry = ((b"retry-after", b"%d" % random.randint(1, MAX_RETRY)),)  # noqa: S311  # no secret
            return Refusal(Problem.UNAVAILABLE, "the server is behind; retry in a moment", retry, "behind")
        return None

    def _barred(self, connection: HttpConnection, head: Head) -> Refusal | None:
        """Return the refusal that applies to the client's address."""
        gate = self._service.throttle
        if gate.is_disabled:
            return None
        if not connection.key:  # a proxy: its header names the client
            values = [value for name, value in head.headers if name == gate.proxy_header]
            if (refusal := self._counted(connection, gate.key(connection.peer, values))) is not None:
                return refusal
        refused = gate.admit_handshake(connection.key, self.clock.monotonic())
        if refused is None:
            return None
        retry = ((b"retry-after", b"%d" % refused.retry_after),)
        return Refusal(Problem.TOO_MANY_REQUESTS, refused.detail, retry, "address")

    def _count(self, connection: HttpConnection, key: str) -> None:
        if (refusal := self._counted(connection, key)) is not None:
            connection.refuse(refusal)

    def _counted(self, connection: HttpConnection, key: str) -> Refusal | None:
        """Count the connection for the address `key`; return the refusal if the address is at its limit."""
        if self._service.throttle.admit_connection(key):
            connection.key = key
            return None
        detail = "this address has reached its limit of open connections"
        return Refusal(Problem.TOO_MANY_REQUESTS, detail, ((b"retry-after", b"5"),), "address")


def _token(query: bytes) -> str:
    """Of `?token=...`, for clients that can show it in no other way: URLs reach the logs of proxies."""
    found = parameter(query, b"token") if b"token=" in query else []
    return found[0].decode("utf-8", "replace") if len(found) == 1 else ""
