"""Interface between the transports and the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from presenced.config.settings import Settings
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.presence.model import Ending
from presenced.protocols.base import ConnectRequest
from presenced.runtime.clock import Clock, Timer

if TYPE_CHECKING:
    from presenced.transports.websocket.connection import WebSocketConnection


class ConnectionHandler(Protocol):
    """Handler of connections: the node, or the echo server of `presenced.testing`.

    Order of calls for one connection: `opened`, any number of `received`, `paused` and `resumed`, then `closed`.
    """

    settings: Settings
    """Settings with the limits of connections."""
    timer: Timer
    """Timer that all connections share."""
    throttle: Throttle
    """Limits for each client address."""

    @property
    def clock(self) -> Clock:
        """Source of the time."""

    @property
    def is_draining(self) -> bool:
        """Whether the server is stopping and refuses handshakes."""

    @property
    def is_behind(self) -> bool:
        """Whether the server is overloaded and refuses handshakes for now."""

    @property
    def max_connections(self) -> int:
        """Maximum number of open connections, HTTP connections included."""

    @property
    def subprotocols(self) -> Mapping[bytes, Sequence[str]]:
        """Paths of WebSockets, each with its subprotocols in the order of preference."""

    @property
    def compressed(self) -> Collection[str]:
        """Subprotocols whose messages are worth compressing."""

    def opened(self, connection: WebSocketConnection, request: ConnectRequest) -> None:
        """Handle a successful handshake. Its response goes out with the first message, or by `connection.accept()`."""

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count a request that was refused before it became a WebSocket.

        Args:
            origin: Value of its `Origin` header; empty if absent.
        """

    def received(self, connection: WebSocketConnection, message: str | bytes) -> None:
        """Handle a whole text or binary message."""

    def paused(self, connection: WebSocketConnection) -> None:
        """Handle a transport that buffers more than `write_buffer` bytes."""

    def resumed(self, connection: WebSocketConnection) -> None:
        """Handle a transport whose buffer has drained."""

    def closed(self, connection: WebSocketConnection, ending: Ending, reason: str) -> None:
        """Handle the end of a connection, or the start of its closing handshake.

        The first call counts. It may be called again, for example when the socket closes after the handshake.

        Args:
            reason: Label for logs and metrics, from a fixed set (`websocket.endings`).
        """
