"""What connections report to."""

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
    """What connections report to: the node, or the echo server of `presenced.testing`."""

    @property
    def settings(self) -> Settings:
        """The limits."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def timer(self) -> Timer:
        """The one timer."""

    @property
    def draining(self) -> bool:
        """No new connection is taken."""

    @property
    def throttle(self) -> Throttle:
        """What counts by address."""

    @property
    def is_behind(self) -> bool:
        """There is more to do than can be done: no new connection is taken for now."""

    @property
    def max_connections(self) -> int:
        """Open connections at most, HTTP ones included."""

    @property
    def subprotocols(self) -> Mapping[bytes, Sequence[str]]:
        """Paths of WebSockets, each with the subprotocols that are spoken there, the preferred one first."""

    @property
    def compressed(self) -> Collection[str]:
        """Subprotocols whose messages are worth compressing."""

    def opened(self, connection: WebSocketConnection, request: ConnectRequest) -> None:
        """The handshake succeeded. Its response goes out with the first message, or by `connection.accept()`."""

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count a request that was refused before it became a WebSocket.

        Args:
            origin: Its `Origin` header; empty if absent.
        """

    def received(self, connection: WebSocketConnection, message: str | bytes) -> None:
        """A whole text or binary message came."""

    def paused(self, connection: WebSocketConnection) -> None:
        """The transport holds more than `write_buffer` bytes."""

    def resumed(self, connection: WebSocketConnection) -> None:
        """The transport has drained."""

    def closed(self, connection: WebSocketConnection, ending: Ending, reason: str) -> None:
        """The connection ended, or began to be closed. Called at least once, and whatever comes later is no-op."""
