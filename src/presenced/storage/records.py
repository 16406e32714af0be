"""What is kept, as records. Most say how something is now, so that of two about the same the newer one is enough.

They cross from the server to its keeper as MessagePack. Times are epoch milliseconds by the server's clock, 0 where
there is none yet; texts are checked before they come here.
"""

from __future__ import annotations

from msgspec import Struct

from presenced.presence.model import Change


class StoredChoice(Struct, frozen=True, array_like=True):
    """What a person chose."""

    status: str
    """Empty: as detected."""
    text: str = ""
    emoji: str = ""
    data: bytes = b""
    """JSON; empty when there is none."""
    until_ms: int = 0
    """When it ends; 0 when it lasts."""


YEAR_2026_MS = 1_767_225_600_000
"""Its begin, in epoch milliseconds."""


class StoredUser(Struct, frozen=True, array_like=True, tag="user"):
    """How a user is now."""

    user_id: str
    status: str
    """What others see."""
    version: int
    since_ms: int
    seen_ms: int
    """When they were last known to be there."""
    active_ms: int
    """When they last did something: came, chose, or became active."""
    chosen: StoredChoice | None = None
    timed: StoredChoice | None = None
    """What was chosen to last until its end; the one above returns then."""
    display: bytes = b""
    """JSON that the user's token gives for others to see; empty when there is none."""


class StoredSession(Struct, array_like=True, tag="session"):
    """How a session is now; it is made once for each, and changed. One that is resumed is open again."""

    key: str
    """The id of the session's first connection."""
    user_id: str
    connection_id: str
    """Of its last connection."""
    session: str
    """A digest of the session's id, which is a secret; empty for a classic connection."""
    protocol: str
    device: str
    address: str
    """Empty unless addresses are to be kept."""
    opened_ms: int
    closed_ms: int = 0
    reason: str = ""
    """Why its last connection ended."""


class RoomOccupancy(Struct, frozen=True, array_like=True, tag="room"):
    """A room got its first member, or lost its last."""

    position: int
    room: str
    occupied: bool
    at_ms: int


class StoredClaim(Struct, frozen=True, array_like=True, tag="claim"):
    """What a backend claims of a user, or, without a status, claims no more."""

    user_id: str
    source: str
    status: str = ""
    text: str = ""
    emoji: str = ""
    data: bytes = b""
    priority: int = 0
    set_ms: int = 0
    until_ms: int = 0


class StoredRevocation(Struct, frozen=True, array_like=True, tag="revocation"):
    """Tokens that are accepted no longer. Times are epoch seconds."""

    kind: str
    """`user` or `token`."""
    subject: str
    at: float
    until: float


class RestoredChoices(Struct, frozen=True, array_like=True, tag="chosen"):
    """What a user had chosen, as it is read again at the start."""

    user_id: str
    chosen: StoredChoice | None
    timed: StoredChoice | None


class RestoredDisplay(Struct, frozen=True, array_like=True, tag="display"):
    """What was seen of a user beside how available they were, as it is read again at the start."""

    user_id: str
    display: bytes


Restored = RestoredChoices | RestoredDisplay | StoredClaim | StoredRevocation
Record = StoredUser | StoredSession | Change | RoomOccupancy | StoredClaim | StoredRevocation


def is_of(fact: Record | Restored, user_id: str) -> bool:
    """Whether it goes when the user is erased; what is revoked stays."""
    return isinstance(fact, (StoredUser, StoredSession, Change, StoredClaim)) and fact.user_id == user_id


def start_position(started_ms: int) -> int:
    """Where positions begin, at least: also when nothing is known of the server before above its last one, if that made
    less than 1,000 changes a second on average.
    """
    return max(0, started_ms - YEAR_2026_MS)
