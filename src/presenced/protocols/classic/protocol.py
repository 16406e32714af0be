"""The classic protocol: three messages, and clients that send nothing but tokens.

`docs/reference/websocket-classic.md` is its specification.
"""

from __future__ import annotations

from typing import Any

from presenced.config.settings import WEBSOCKET_PATH
from presenced.delivery.connection import Connection
from presenced.presence.visibility import Visibility
from presenced.protocols.base import Admitted, ClientProtocol, ProtocolParts
from presenced.protocols.classic.codec import established_message
from presenced.protocols.classic.feed import ClassicFeed
from presenced.protocols.tokens import token_in
from presenced.runtime.instant import Instant


class ClassicProtocol(ClientProtocol):
    """The protocol of the first clients. It never changes."""

    name = "classic"
    path = WEBSOCKET_PATH.encode()
    # A browser that offers its token as a subprotocol refuses a response that agrees to none of its offers.
    subprotocols = "", "presenced.classic"

    feed: ClassicFeed

    def __init__(self, parts: ProtocolParts) -> None:
        self.feed = ClassicFeed(parts.directory.users)
        self._parts = parts

    def opened(self, connection: Connection, user: Admitted, parameters: Any, now: Instant) -> None:
        """Enter a connection: CONNECTION_ESTABLISHED, then the changes of others."""
        outcome = self._parts.directory.open(user.user_id, connection, now, display=user.display)
        assert outcome.session is not None, "it opened"
        connection.session = outcome.session
        connection.session.visibility = user.visibility
        connection.connection_id = outcome.connection_id
        self._parts.publisher.session_opened(connection)
        connection.send(established_message(user.user_id, outcome.connection_id, now))
        self._parts.publisher.apply(outcome, now)
        self._parts.broadcaster.add(connection)  # after its own change, which it must not receive
        if connection.paused:  # the client did not read while it waited to authenticate
            self._parts.broadcaster.pause(connection)

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> None:
        """Verify a newer token. The protocol ignores every other message."""
        if self._parts.renew_token is not None and (token := token_in(message)):
            self._parts.renew_token(connection, token, lambda _: None)

    def visibility_changed(self, connection: Connection, visibility: Visibility, now: Instant) -> None:
        """Apply the visibility that a newer token grants to all later changes."""
        with self._parts.broadcaster.changing(connection):
            connection.session.visibility = visibility
        self._parts.publisher.update_rooms(connection.user_id, now)
