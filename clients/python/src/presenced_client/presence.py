"""Known state of a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

UserId = str | int
"""Id of a user: `7` and `"7"` are the same user. Mappings are keyed by `str(id)`."""

Status = Literal["online", "away", "busy", "offline", "unknown"]
"""Status of a user; `unknown` until the server has answered."""

MAX_ID_LENGTH = 128
"""Maximum number of characters of an id. A longer one is a ValueError."""


def user_key(user_id: UserId) -> str:
    """Return the key of a user in mappings.

    Raises:
        ValueError: The id is empty or too long. One such id would make the server refuse a whole list.
    """
    key = str(user_id)
    if not 0 < len(key) <= MAX_ID_LENGTH:
        raise ValueError(f"user_id must have 1 to {MAX_ID_LENGTH} characters, not {len(key)}")
    return key


@dataclass(frozen=True, slots=True)
class UserPresence:
    """Presence of one user, as others see it. Times are epoch milliseconds on the server's clock; 0 means none."""

    user_id: UserId
    status: Status = "unknown"
    since: int = 0
    """When the status began."""
    last_seen: int = 0
    """When the user was last known to be there, if away or offline."""
    until: int = 0
    """When the chosen status ends."""
    text: str = ""
    emoji: str = ""
    cause: str = ""
    """Why the presence changed, if the server says it to this client."""
    data: Any = None
    display: Mapping[str, Any] | None = None
    """Display data from the user's token, such as a name."""
    devices: tuple[str, ...] = ()
    """Kinds of connected devices."""
    version: int = 0
    """Version of the record; 0 if the client derived it, for example from a snapshot that omits the user."""
    certain: bool = True
    """False if the user may have changed unnoticed, because the server has lost the store that it shares with other
    servers. The rest is then the last known state."""

    @property
    def online(self) -> bool:
        """Whether the status is neither `offline` nor `unknown`."""
        return self.status not in ("offline", "unknown")

    def shows_the_same(self, other: UserPresence) -> bool:
        """Return whether both show the same. A restart of the server changes versions and times, but no state."""
        return _shown(self) == _shown(other)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> UserPresence:
        """Return the presence in a UserRecord of the protocol."""
        return cls(
            user_id=record["userId"],
            status=record["status"],
            since=record["since"],
            last_seen=record.get("lastSeen", 0),
            until=record.get("until", 0),
            text=record.get("text", ""),
            emoji=record.get("emoji", ""),
            cause=record.get("cause", ""),
            data=record.get("data"),
            display=record.get("display"),
            devices=tuple(record.get("devices", ())),
            version=record["version"],
            certain=record.get("certainty") != "stale",
        )


def _shown(user: UserPresence) -> tuple[object, ...]:
    return (user.status, user.text, user.emoji, user.data, user.display, user.devices, user.until, user.certain)


@dataclass(frozen=True, slots=True)
class Change:
    """A visible change of one user."""

    user: str
    """`str(id)` of the user, the key in mappings."""
    previous: UserPresence
    current: UserPresence
