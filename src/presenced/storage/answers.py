"""Answers about stored data, as the HTTP API documents them. OpenAPI is generated from these types.

The storage worker encodes them, and the server passes the JSON on without decoding it. Times are epoch milliseconds.
"""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType

from presenced.protocols.ids import UserId
from presenced.protocols.v1.messages import SeenStatus, SomeCause


class StoredLastSeen(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When a user was last seen, according to the database."""

    user_id: UserId
    last_seen: int
    last_active: int = 0


class LastSeen(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When a user was last seen."""

    user_id: UserId
    status: SeenStatus
    """Current status."""
    last_seen: int = 0
    """When the user was last known to be present; omitted for a user who was never present."""
    last_active: int = 0
    """When the user last connected, chose a status or became active."""


class PastChange(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A stored change."""

    version: int
    status: SeenStatus
    was: SeenStatus
    """The status before."""
    cause: SomeCause
    at: int
    # From here on the fields of `records.ChangeDetails`, in the same order.
    text: str = ""
    emoji: str = ""
    data: Raw | UnsetType = UNSET
    until: int = 0
    devices: tuple[str, ...] = ()


class UserHistory(Struct, frozen=True, rename="camel"):
    """Changes of a user, newest first."""

    changes: list[PastChange]
    next: str | None
    """`after` of the next page; null if this is the last page."""


class PastSession(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A stored session."""

    connection_id: str
    """Id of its latest connection."""
    protocol: str
    opened_at: int
    closed_at: int = 0
    """Missing while the session is open."""
    reason: str = ""
    """Why its latest connection ended."""
    device: str = ""
    address: str = ""
    """Address of the client, an IPv6 address as its /64. Missing unless addresses are stored, and for a client on the
    machine of the server."""
    node: str = ""


class PastSessions(Struct, frozen=True, rename="camel"):
    """Sessions of a user, newest first."""

    sessions: list[PastSession]
    next: str | None
    """`after` of the next page; null if this is the last page."""


class DeadLetter(Struct, frozen=True, rename="camel"):
    """A webhook that could not be delivered."""

    id: str
    """Id for a request to send it again."""
    endpoint: str
    attempts: int
    """Number of requests that contained it; 0 if it went dead before it was sent."""
    error: str
    """Error of the last attempt."""
    event: Raw


class DeadLetters(Struct, frozen=True, rename="camel"):
    """Webhooks that could not be delivered, oldest first."""

    dead_letters: list[DeadLetter]
    next: str | None
    """`after` of the next page; null if this is the last page."""
