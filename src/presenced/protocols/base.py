"""The interface of a protocol that clients speak, and the table of all protocols.

A protocol is an object. It reads the messages of its clients, decides which messages they receive (its feed), and
enters their sessions into the directory. The node knows protocols by this interface only, so another one is a new class
and an argument of `node.build.build_node`. The life of one connection:

    transport                node                                   protocol
    ---------                ----                                   --------
    handshake  ----------->  find(path, subprotocol)
                             authenticate (auth.gatekeeper)         user_id(request), token_in(message)
                             get the session from another node      parse_parameters(...), resumption(...)
                             check limits                           replaces(...)
                             adopt the connection  -------------->  opened(...): directory, first message, feed
    message    ------------------------------------------------->   received(...)
    drained    ------------------------------------------------->   drained(...)
                             the user's own state changed  ------>  self_changed(...)
                             a newer token changes visibility --->  visibility_changed(...)
                             the token is about to expire  ------>  token_expires(...)
                             the store is lost, or is back  ----->  certainty_changed()
    end        ----------->  forget the connection  ------------->  closed(...)
                             stop  ------------------------------>  goodbye(...)
"""

# ruff: noqa: B027  # empty methods are hooks, and a protocol overrides only those it needs

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from presenced.config.settings import Settings
from presenced.delivery.broadcaster import Broadcaster
from presenced.delivery.connection import Connection
from presenced.delivery.events import Feed
from presenced.presence.directory import Directory
from presenced.presence.journal import Cursor
from presenced.presence.model import Display, OwnState
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import Rooms
from presenced.presence.visibility import EVERYTHING, Visibility
from presenced.protocols.ids import user_id_from_query
from presenced.protocols.tokens import RenewToken, token_in
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics


class ConnectRequest(NamedTuple):
    """Request with which a client connected. Its handshake has been accepted."""

    path: bytes
    """Path of the URL."""
    query: bytes
    """Query of the URL, as received, without the question mark."""
    subprotocol: str
    """Agreed subprotocol; empty if none."""
    token: str
    """Token of the client; empty if it sent none with the handshake."""


class Resumption(NamedTuple):
    """Request to continue a session."""

    session_id: str
    position: str
    """Last position that the client has received; empty if none."""


class Admitted(NamedTuple):
    """A user that the node has admitted."""

    user_id: str
    visibility: Visibility = EVERYTHING
    """Users and rooms that the user may see."""
    display: Display | None = None
    """Display data of the token; None if it does not mention any."""
    token_id: str = ""
    """Id of the token; empty without authentication."""


class Publisher(Protocol):
    """Publisher of outcomes (`node.publisher`). A protocol calls it after it has changed the directory or the rooms."""

    def apply(self, outcome: Outcome[Connection], now: Instant) -> None:
        """Notify everyone that the result of an event concerns, and schedule what time alone will change."""

    def update_rooms(self, user_id: str, now: Instant) -> None:
        """Make the user a member of exactly the rooms of their sessions, and notify others of the changes."""

    def session_opened(self, connection: Connection) -> None:
        """Record that the session of a connection opened, or was resumed."""


class ProtocolParts(NamedTuple):
    """Parts of a node that a protocol is made of."""

    settings: Settings
    clock: Clock
    timer: Timer
    metrics: Metrics
    directory: Directory[Connection]
    rooms: Rooms
    broadcaster: Broadcaster
    publisher: Publisher
    renew_token: RenewToken | None
    """None if the server does not authenticate."""


class ClientProtocol(ABC):
    """One protocol, for all of its connections."""

    name: str
    """Name in the database and in metrics."""
    path: bytes
    """Path of its WebSocket. Several protocols may share one; then their subprotocols differ."""
    subprotocols: tuple[str, ...]
    """Values of `Sec-WebSocket-Protocol` that select it; an empty one stands for clients that offer none."""
    is_compressed = False
    """Whether its messages are worth compressing for clients that offer it."""
    warns_of_expiry = False
    """Whether clients are warned before their tokens expire (`token_expires`)."""
    feed: Feed
    """Source of the messages that its connections receive about others."""

    def started(self, now: Instant, settling_s: float) -> None:
        """Prepare for the start of the node. No connection has opened yet.

        Args:
            settling_s: Seconds in which users who were online before may return unnoticed.
        """

    def user_id(self, request: ConnectRequest, placeholders: bool) -> str:
        """Return the id of the user that the client claims to be.

        Args:
            placeholders: Whether strings such as `undefined` are valid user ids.

        Raises:
            BadUserId: It is missing or invalid.
        """
        return user_id_from_query(request.query, placeholders)

    def parse_parameters(self, request: ConnectRequest) -> Any:
        """Return the parameters in the URL of a request. The node passes them to `replaces` and `opened`.

        Raises:
            BadParameter: One of them is invalid.
        """
        return None

    def replaces(self, user_id: str, parameters: Any) -> bool:
        """Return whether a connection with these parameters takes the place of another open one of the user."""
        return False

    def resumption(self, parameters: Any) -> Resumption | None:
        """Return which session the client wants to continue, if any. In a cluster, another node may have it."""
        return None

    def with_cursor(self, parameters: Any, cursor: Cursor) -> Any:
        """Return the parameters with the cursor of this node at which a session from another node continues."""
        return parameters

    def token_in(self, message: str | bytes) -> str:
        """Return the token in a message of a client that authenticates; empty if there is none."""
        return token_in(message)

    @abstractmethod
    def opened(self, connection: Connection, user: Admitted, parameters: Any, now: Instant) -> None:
        """Enter a connection into the directory, send its first message, and then add it to the feed.

        Set `connection.session` and `connection.connection_id`.
        """

    @abstractmethod
    def received(self, connection: Connection, message: str | bytes, now: Instant) -> None:
        """Process a message, text or binary."""

    def self_changed(self, connection: Connection, own: OwnState) -> None:
        """Send a client the state of its own user. No-op for a protocol without such a message."""

    def visibility_changed(self, connection: Connection, visibility: Visibility, now: Instant) -> None:
        """Apply the visibility that a newer token of the connection grants."""
        connection.session.visibility = visibility

    def token_expires(self, connection: Connection, expires_at: float) -> None:
        """Warn a client that its token expires at `expires_at`, in epoch seconds. Only called if `warns_of_expiry`."""

    def certainty_changed(self) -> None:
        """Notify all clients that the node has become stale, or current again (`presence.certainty`).

        No-op for a protocol without such a message.
        """

    def drained(self, connection: Connection) -> None:
        """Handle a slow client that has read everything."""

    def closed(self, connection: Connection) -> None:
        """Forget a connection that is about to leave the directory."""

    def goodbye(self, connection: Connection, retry_in: float) -> None:
        """Send a client the notice that the server stops. It should reconnect after `retry_in` seconds."""


class Protocols:
    """All protocols of a node, by path and subprotocol."""

    def __init__(self, protocols: Iterable[ClientProtocol]) -> None:
        self.all = tuple(protocols)
        """All protocols, in the order in which they were registered."""
        self._by_name: dict[tuple[bytes, str], ClientProtocol] = {}
        for protocol in self.all:
            for subprotocol in protocol.subprotocols:
                key = protocol.path, subprotocol
                assert key not in self._by_name, (
                    f"two protocols are {subprotocol or 'the default'} at {protocol.path!r}"
                )
                self._by_name[key] = protocol

    def find(self, path: bytes, subprotocol: str) -> ClientProtocol:
        """Return the protocol for an accepted handshake, which agreed to one of `subprotocols` or to none."""
        return self._by_name[path, subprotocol]

    @property
    def subprotocols(self) -> Mapping[bytes, Sequence[str]]:
        """Subprotocols at each path, the preferred one first: that of the protocol registered first."""
        found: dict[bytes, list[str]] = {protocol.path: [] for protocol in self.all}
        for path, subprotocol in self._by_name:
            if subprotocol:
                found[path].append(subprotocol)
        return found

    @property
    def compressed(self) -> Collection[str]:
        """Subprotocols whose messages are worth compressing."""
        return {name for protocol in self.all if protocol.is_compressed for name in protocol.subprotocols}
