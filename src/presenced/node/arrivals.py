"""What a connection speaks while its session is on its way from another node of the cluster."""

from __future__ import annotations

from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.protocols.base import ClientProtocol
from presenced.runtime.instant import Instant


class Arrival:
    """Stands in for the protocol of a connection that waits for its session. Clients send nothing in that time."""

    def __init__(self, protocol: ClientProtocol) -> None:
        self.protocol = protocol
        self.warns = protocol.warns

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> None:
        """Close the connection, as that of a client that does not wait while its token is verified."""
        connection.close(Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")

    def token_expires(self, connection: Connection, expires_at: float) -> None:
        """Do nothing: the client asks for a newer token when this one has expired."""
