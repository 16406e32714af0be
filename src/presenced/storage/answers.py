"""What is answered out of what was kept, as JSON: the keeper makes it, and the HTTP API passes it on as it is.

Times are epoch milliseconds.
"""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType

from presenced.protocols.ids import UserId
from presenced.protocols.v1.messages import SeenStatus, SomeCause


class Seen(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When a user was last there, as it was kept."""

    user_id: UserId
    last_seen: int
    last_active: int = 0


class PastChange(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A change as it was kept."""

    version: int
    status: SeenStatus
    was: SeenStatus
    """The status before."""
    cause: SomeCause
    at: int
    text: str = ""
    emoji: str = ""
    data: Raw | UnsetType = UNSET
    until: int = 0
    devices: tuple[str, ...] = ()


class History(Struct, frozen=True, rename="camel"):
    """Changes of a user, newest first."""

    changes: list[PastChange]
    next: str | None
    """`after` of the next page; null when this is the last."""


class PastSession(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A session as it was kept."""

    connection_id: str
    """Of its last connection."""
    protocol: str
    opened_at: int
    closed_at: int = 0
    """Not given while it is open."""
    reason: str = ""
    """Why its last connection ended."""
    device: str = ""
    address: str = ""
    """Where addresses are kept."""
    node: str = ""


class PastSessions(Struct, frozen=True, rename="camel"):
    """Sessions of a user, newest first."""

    sessions: list[PastSession]
    next: str | None
    """`after` of the next page; null when this is the last."""


class DeadLetter(Struct, frozen=True, rename="camel"):
    """A webhook that could not be delivered."""

    id: str
    """To send it again by."""
    endpoint: str
    attempts: int
    """Requests that it was in; 0 for one that went dead with others before it was sent."""
    error: str
    """Of the last attempt."""
    event: Raw


class DeadLetters(Struct, frozen=True, rename="camel"):
    """Webhooks that could not be delivered, in the order of their making."""

    dead_letters: list[DeadLetter]
    next: str | None
    """`after` of the next page; null when this is the last."""
