"""The interface of one open connection."""

from __future__ import annotations

from typing import Any, Protocol

from presenced.delivery.batch import Batch
from presenced.errors import Close
from presenced.presence.session import Session


class Connection(Protocol):
    """One open connection. A transport implements it. The node and the protocols use it.

    The transport sets the attributes of the first group, the node and the protocol those of the second. A node adopts a
    connection when it admits the user. Until then `serial` is 0, and only `protocol` has a meaning in the second group.
    """

    # Set by the transport.

    paused: bool
    """Whether the transport holds so many unsent bytes that only answers to requests should be sent."""
    heard_at: float
    """Monotonic time in seconds at which the client last sent anything, pongs included; 0 if it has sent nothing.

    The node sets it, too: when it adopts the connection, and when the client has read everything.
    """
    throttle_key: str
    """Key under which the throttle counts the client: its IPv4 address, or the /64 of its IPv6 address. Empty if limits
    do not apply to it (`net.addresses.limit_key`)."""

    # Set by the node and the protocol.

    protocol: Any
    """The protocol that the client speaks (`protocols.base.ClientProtocol`)."""
    session: Session[Any]
    """Session that the connection belongs to. The protocol sets it."""
    user_id: str
    connection_id: str
    """Id by which clients and operators refer to it. The protocol sets it."""
    serial: int
    """Number of the connection within its node, from 1; 0 before the node has adopted it."""
    opened_ms: int
    """Opening time in epoch milliseconds."""
    opened_at: float
    """Monotonic opening time in seconds. It equals `heard_at` until the client sends something.

    Minus infinity if the client is known to be there: it has sent AUTH, or it names a session that it was given.
    """
    slice: int
    """Slice of the heartbeat; -1 if none."""

    @property
    def unsent(self) -> int:
        """Number of bytes that the transport holds because the client has not taken them."""

    def accept(self) -> None:
        """Send the response to the handshake now. Otherwise it goes out together with the first message."""

    def send(self, message: bytes) -> None:
        """Send one text message, UTF-8. Never raises; may set `paused`."""

    def send_batch(self, batch: Batch) -> int:
        """Send the messages of a batch in one write. Never raises; may set `paused`.

        Returns:
            Number of bytes written.
        """

    def ping(self) -> None:
        """Send a ping, which a living client answers."""

    def close(self, close: Close, reason: str = "") -> None:
        """Close the connection. The transport reports its end to the node before this returns. No-op if closed."""

    def __hash__(self) -> int: ...
