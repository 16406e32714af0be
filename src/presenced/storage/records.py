"""Records: the units of storage. Each class is the one definition of its fields, from the server to the table.

| record | meaning | key | table | restored at startup as |
|---|---|---|---|---|
| `StoredUser` | current state of a user | user | `presenced_users` | `RestoredChoices`, `RestoredDisplay` |
| `StoredSession` | current state of a session | session key | `presenced_sessions` | |
| `Change` | one visible change | epoch, position | `presenced_changes` | |
| `StoredClaim` | a claim of a backend, in force or cleared | user, source | `presenced_claims` | `StoredClaim` |
| `StoredRevocation` | which tokens are refused | kind, subject | `presenced_revocations` | `StoredRevocation` |
| `RoomOccupancy` | a room got its first or lost its last member | room | none: only webhooks use it | |

All but `Change` and `RoomOccupancy` describe a state, so of two records with the same key only the newer one matters.

A field has the name and the unit of its column, so a record becomes a row without a table of names (`storage.store`).
Times are epoch milliseconds by the server's clock. JSON is bytes until the storage worker decodes it. Invalid UTF-8
costs one record there, and would raise an exception in the live process.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from presenced.presence.model import Change, Choice, StatusDetails

YEAR_2026_MS = 1_767_225_600_000
"""Start of the year 2026 in epoch milliseconds."""


class StoredUser(Struct, frozen=True, array_like=True, tag="user"):
    """Current state of a user."""

    user_id: str
    status: str
    """The status that others see."""
    version: int
    since_ms: int
    seen_ms: int
    """When others last knew the user to be present."""
    active_ms: int
    """When the user last connected, chose a status, or became active."""
    chosen: bytes = b""
    """`StoredChoice` as JSON; empty if nothing is chosen."""
    timed: bytes = b""
    """`StoredChoice` that ends by itself, as JSON. `chosen` returns when it ends."""
    display: bytes = b""
    """JSON object that the user's token gives for others to see; empty if there is none."""


class StoredSession(Struct, array_like=True, tag="session"):
    """Current state of a session.

    `WriteBehind` creates one per session and updates it. A resumed session is open again.
    """

    session_key: str
    """Id of the session's first connection."""
    user_id: str
    connection_id: str
    """Id of its latest connection."""
    session: str
    """Digest of the session id, because the id is a secret; empty for a classic connection."""
    protocol: str
    device: str
    address: str | None
    """Address of the client, an IPv6 address as its /64 (`Connection.throttle_key`). None unless `keep_addresses` is
    set, and for clients that no limit applies to."""
    opened_ms: int
    closed_ms: int | None = None
    """When its latest connection ended; None while it is open."""
    reason: str = ""
    """Why its latest connection ended."""


class RoomOccupancy(Struct, frozen=True, array_like=True, tag="room"):
    """A room got its first member, or lost its last one."""

    position: int
    room: str
    occupied: bool
    at_ms: int


class StoredClaim(Struct, frozen=True, array_like=True, tag="claim"):
    """Claim of a backend about a user. An empty status means that the claim is cleared."""

    user_id: str
    source: str
    status: str = ""
    text: str = ""
    emoji: str = ""
    data: bytes = b""
    priority: int = 0
    set_ms: int = 0
    until_ms: int | None = None
    """When it ends; None if it lasts until it is cleared."""


class StoredRevocation(Struct, frozen=True, array_like=True, tag="revocation"):
    """Tokens that are no longer accepted. Times are epoch seconds."""

    kind: str
    """`user` or `token`."""
    subject: str
    at: float
    until: float


class RestoredChoices(Struct, frozen=True, array_like=True, tag="chosen"):
    """Choices of a user from before the start. The fields are those of `StoredUser`."""

    user_id: str
    chosen: bytes = b""
    timed: bytes = b""


class RestoredDisplay(Struct, frozen=True, array_like=True, tag="display"):
    """Display data of a user from before the start. The fields are those of `StoredUser`."""

    user_id: str
    display: bytes


Record = StoredUser | StoredSession | Change | RoomOccupancy | StoredClaim | StoredRevocation
"""Everything that the server sends to the storage worker."""

Restored = RestoredChoices | RestoredDisplay | StoredClaim | StoredRevocation
"""Everything that the storage worker sends to the server at a start."""


class StoredDetails(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Text, emoji, data and end of a status, as JSON in a column."""

    text: str = ""
    emoji: str = ""
    data: Raw | UnsetType = UNSET
    until: int = 0
    """End in epoch milliseconds; 0 if it does not end by itself."""


class StoredChoice(StoredDetails, frozen=True, kw_only=True):
    """Status that a user chose, as JSON in `chosen` and `timed`."""

    status: str
    """Empty if the user chose the detected status."""


class ChangeDetails(StoredDetails, frozen=True, kw_only=True):
    """Details of a change besides its status, as JSON in `details`."""

    devices: tuple[str, ...] = ()


def choice_json(choice: Choice) -> bytes:
    """Return the choice as `StoredChoice`."""
    return msgspec.json.encode(StoredChoice(*_fields_of(choice.details), status=choice.status or ""))


def choice_from(stored: bytes) -> StoredChoice | None:
    """Return the stored choice; None if there is none, or another program wrote something that cannot be read."""
    try:
        return msgspec.json.decode(stored, type=StoredChoice) if stored else None
    except msgspec.MsgspecError:
        return None


def details_json(change: Change) -> bytes:
    """Return the details of a change as `ChangeDetails`; empty if there are none."""
    details = msgspec.json.encode(ChangeDetails(*_fields_of(change.view.details), devices=change.view.devices))
    return b"" if details == b"{}" else details


def _fields_of(details: StatusDetails) -> tuple[str, str, Raw | UnsetType, int]:
    """Return the fields of `StoredDetails`."""
    return details.text, details.emoji, Raw(details.data) if details.data else UNSET, details.until_ms


def is_about(record: Record, user_id: str) -> bool:
    """Return whether the record must be deleted with the user.

    Revocations stay, because otherwise a revoked token would be valid again.
    """
    return isinstance(record, (StoredUser, StoredSession, Change, StoredClaim)) and record.user_id == user_id


def start_position(started_ms: int) -> int:
    """Return the lowest position for a server started at this time in epoch milliseconds.

    There is one position per millisecond since 2026. So the result is above the last position of an earlier process,
    even if nothing is known of it, as long as it made fewer than 1,000 changes a second on average.
    """
    return max(0, started_ms - YEAR_2026_MS)
