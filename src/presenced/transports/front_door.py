"""The HTTP front door: admits connections and upgrades handshakes to WebSockets.

Each connection is an `HttpConnection` (`http1/connection.py`), which parses requests and lets the application answer
them. The server has a single parser of heads. It used to be llhttp, behind uvicorn. llhttp assumes that a request with
an `Upgrade` field has no body, so it read the body as the next request (RFC 9112 section 11.2, request smuggling).
httptools offers no way to make it continue with the body. A scanner in front that hides the field would be a second
parser of the same bytes, and parsers that disagree make smuggling possible. Parsing a head takes 6 microseconds in
Python. httptools with its callbacks took 4, of the 80 microseconds of a handshake. Uvicorn's own work cost more than
the difference.

Rules:

- A handshake is a GET of a WebSocket path that offers `websocket` and nothing else. The server ignores any other
  offer to upgrade (RFC 9110 section 7.8). It reads the body as usual and sends one response per request.
- A handshake has no body. It may arrive on a connection that was used before, and frames may follow it immediately.
- Limits are checked in a fixed order. When a client connects: connections of its address, then of the whole server. At
  the handshake: whether the server is stopping or behind, then the limits of the address. Behind a proxy the address is
  known only at the handshake, and its connections are counted there.
- Every refusal goes through `FrontDoor.refused`, which logs and counts it.

`tests/security/test_smuggling.py` checks the HTTP rules, directly and behind nginx and Caddy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from starlette.types import ASGIApp

from presenced.errors import Problem
from presenced.net.proxy_protocol import parse_proxy_header
from presenced.net.query import parameter_values
from presenced.net.refusals import Refusal
from presenced.protocols.base import ConnectRequest
from presenced.transports.base import ConnectionHandler
from presenced.transports.http1.connection import HttpConnection
from presenced.transports.http1.exchange import socket_address
from presenced.transports.http1.fault_log import FaultLog
from presenced.transports.http1.head import Head
from presenced.transports.websocket.connection import WebSocketConnection
from presenced.transports.websocket.handshake import Handshake

MAX_RETRY_S = 10
"""Maximum value of `Retry-After` in seconds when the server is behind."""

OpenConnection = HttpConnection | WebSocketConnection
"""An open connection of either kind."""


class FrontDoor:
    """State and decisions that the connections of one listener share.

    Bounds: `max_connections` for connections; the handler's `throttle` for connections of one address.

    Args:
        app: Answers every request that is not a handshake.
        handshakes: Rules of the handshake for each path of a WebSocket.
        peers: All open connections, of either kind.
    """

    def __init__(
        self,
        handler: ConnectionHandler,
        app: ASGIApp,
        handshakes: Mapping[bytes, Handshake],
        peers: set[OpenConnection],
    ) -> None:
        self.settings = handler.settings
        self.clock = handler.clock
        self.timer = handler.timer
        self.app = app
        self.tasks: set[asyncio.Task[None]] = set()
        """Tasks of the requests that are being answered."""
        self.faults = FaultLog(handler.clock)
        self._handler = handler
        self._handshakes = handshakes
        self._peers = peers

    def connection(self) -> HttpConnection:
        """Return the protocol of a new connection."""
        return HttpConnection(self, not self.settings.proxy_protocol)

    def connected(self, connection: HttpConnection) -> None:
        """Register a new connection, or refuse it."""
        self._peers.add(connection)
        throttle = self._handler.throttle
        if not (throttle.is_disabled or self.settings.proxy_protocol):
            found = socket_address(connection.transport)
            connection.client_address = found[0] if found else ""
            if not throttle.proxies.trusts(connection.client_address):
                self._count_or_refuse(connection, throttle.key(connection.client_address, ()))
        if len(self._peers) > self._handler.max_connections:
            detail = f"all {self._handler.max_connections} connections are taken; retry later"
            connection.refuse(Refusal(Problem.UNAVAILABLE, detail, counts_as="full", retry_after=5))

    def disconnected(self, connection: HttpConnection) -> None:
        """Unregister a connection that ended without an upgrade."""
        self._peers.discard(connection)
        self._handler.throttle.release_connection(connection.throttle_key)

    def identify(self, connection: HttpConnection, data: bytes) -> bytes | None:
        """Take the client's address from the PROXY header in front of its bytes.

        Returns:
            The bytes after the header; None if the header is incomplete or was refused.
        """
        try:
            found = socket_address(connection.transport)
            if found is None or not self._handler.throttle.proxies.trusts(found[0]):
                raise ValueError("only a trusted proxy may connect")
            header = parse_proxy_header(data)
        except ValueError as error:
            connection.refuse(Refusal(Problem.BAD_REQUEST, str(error)))
            return None
        if header is None:
            return None
        connection.client_address = header.address or found[0]
        self._count_or_refuse(connection, self._handler.throttle.key(connection.client_address, ()))
        return data[header.size :]

    def upgrade(self, connection: HttpConnection, head: Head) -> bool:
        """Return whether the request was a handshake, which upgrades the connection or refuses it."""
        if head.method != b"GET" or (handshake := self._handshakes.get(head.path)) is None:
            return False
        refusal = self._general_refusal(head) or self._address_refusal(connection, head)
        if refusal is None:
            answer = handshake.answer(head.version, head.headers)
            if not isinstance(answer, Refusal):
                token = answer.token or _token(head.query)
                websocket = self._successor(connection)
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
        self._handler.turned_away(refusal, origin)

    def _successor(self, connection: HttpConnection) -> WebSocketConnection:
        """Return a WebSocket that takes over the transport of the connection and its place in the throttle."""
        self._peers.discard(connection)
        websocket = WebSocketConnection(self._handler, self._peers)
        websocket.throttle_key, connection.throttle_key = connection.throttle_key, ""
        connection.transport.set_protocol(websocket)
        websocket.connection_made(connection.transport)
        websocket.paused = connection.is_writing_paused  # the client may not have read earlier responses
        return websocket

    def _general_refusal(self, head: Head) -> Refusal | None:
        """Return the refusal that does not depend on the client's address."""
        if head.length != 0:
            return Refusal(Problem.BAD_HANDSHAKE, "a handshake has no body")
        if self._handler.is_draining:
            detail = "the server is stopping; retry in a moment"
            return Refusal(Problem.UNAVAILABLE, detail, counts_as="stopping", retry_after=1)
        if self._handler.is_behind:
            # A random delay, because otherwise all clients would reconnect at once.
            retry = random.randint(1, MAX_RETRY_S)  # noqa: S311  # no secret
            detail = "the server is behind; retry in a moment"
            return Refusal(Problem.UNAVAILABLE, detail, counts_as="behind", retry_after=retry)
        return None

    def _address_refusal(self, connection: HttpConnection, head: Head) -> Refusal | None:
        """Return the refusal that applies to the client's address."""
        throttle = self._handler.throttle
        if throttle.is_disabled:
            return None
        if not connection.throttle_key:  # a proxy: its header names the client
            values = [value for name, value in head.headers if name == throttle.proxy_header]
            if (refusal := self._count(connection, throttle.key(connection.client_address, values))) is not None:
                return refusal
        return throttle.admit_handshake(connection.throttle_key, self.clock.monotonic())

    def _count_or_refuse(self, connection: HttpConnection, key: str) -> None:
        if (refusal := self._count(connection, key)) is not None:
            connection.refuse(refusal)

    def _count(self, connection: HttpConnection, key: str) -> Refusal | None:
        """Count the connection for an address. Return the refusal if the address is at its limit."""
        if self._handler.throttle.admit_connection(key):
            connection.throttle_key = key
            return None
        detail = "this address has reached its limit of open connections"
        return Refusal(Problem.TOO_MANY_REQUESTS, detail, counts_as="address", retry_after=5)


def _token(query: bytes) -> str:
    """Return the value of `?token=...`; empty unless there is exactly one.

    It is for clients that can send a token in no other way, because URLs reach the logs of proxies.
    """
    found = parameter_values(query, b"token") if b"token=" in query else []
    return found[0].decode("utf-8", "replace") if len(found) == 1 else ""
