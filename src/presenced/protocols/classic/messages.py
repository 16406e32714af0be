"""Messages of the classic protocol as records (`docs/reference/websocket-classic.md`)."""

from __future__ import annotations

from msgspec import Struct

from presenced.protocols.ids import UserId


class ConnectionEstablished(Struct, frozen=True, tag_field="type", tag="CONNECTION_ESTABLISHED", rename="camel"):
    """The first message on every connection."""

    user_id: UserId
    timestamp: str
    """Time of opening: ISO 8601, UTC, milliseconds, `Z`."""
    connection_id: str
    """`{userId}-{epoch milliseconds}`, unique even when two open in the same millisecond."""


class UserOnline(Struct, frozen=True, tag_field="type", tag="USER_ONLINE", rename="camel"):
    """Another user came online."""

    user_id: UserId
    timestamp: str
    """Time of the change: ISO 8601, UTC, milliseconds, `Z`."""


class UserOffline(Struct, frozen=True, tag_field="type", tag="USER_OFFLINE", rename="camel"):
    """Another user went offline."""

    user_id: UserId
    timestamp: str
    """Time of the change: ISO 8601, UTC, milliseconds, `Z`."""


ClassicMessage = ConnectionEstablished | UserOnline | UserOffline
