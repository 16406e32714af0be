"""Protocol of a connection whose session is on its way from another node of the cluster."""

from __future__ import annotations

from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.protocols.base import ClientProtocol
from presenced.runtime.instant import Instant


class PlaceholderProtocol:
    """Placeholder for the protocol of a connection that waits for its session. Clients must not send meanwhile."""

    def __init__(self, protocol: ClientProtocol) -> None:
        self.warns_of_expiry = protocol.warns_of_expiry

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> None:
        """Close the connection, as for a client that sends while its token is being verified."""
        connection.close(Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")

    def token_expires(self, connection: Connection, expires_at: float) -> None:
        """Do nothing. The client requests a newer token when this one has expired."""
