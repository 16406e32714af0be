"""The user's own state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ChoiceStatus = Literal["auto", "online", "away", "busy", "invisible"]
"""Status that a user can choose; `auto` means that the server detects it."""


@dataclass(frozen=True, slots=True)
class Self:
    """The user's own true state, on all of the user's devices. Times are epoch milliseconds; 0 means none."""

    status: Literal["online", "away", "busy", "invisible", "offline"]
    chosen: ChoiceStatus
    """Status that the user chose; `auto` if the status is detected."""
    until: int = 0
    text: str = ""
    emoji: str = ""
    cause: str = ""
    data: Any = None
    display: Mapping[str, Any] | None = None
    devices: tuple[str, ...] = ()
    claimed: bool = False
    """Whether a backend's claim determines the status."""
    own_text: str = ""
    """Text of the user's own choice, even while a claim overrides it."""
    own_emoji: str = ""
    own_until: int = 0

    @property
    def online(self) -> bool:
        """Whether others see the user online, away or busy."""
        return self.status not in ("offline", "invisible")

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Return the state in a SELF of the protocol."""
        claimed = message.get("claimed", False)
        own = message.get("choice", {}) if claimed else message
        return cls(
            status=message["status"],
            chosen=message["chosen"],
            until=message.get("until", 0),
            text=message.get("text", ""),
            emoji=message.get("emoji", ""),
            cause=message.get("cause", ""),
            data=message.get("data"),
            display=message.get("display"),
            devices=tuple(message.get("devices", ())),
            claimed=claimed,
            own_text=own.get("text", ""),
            own_emoji=own.get("emoji", ""),
            own_until=own.get("until", 0),
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A status to choose. It replaces the whole earlier choice: omitted fields are empty."""

    status: ChoiceStatus
    text: str = ""
    emoji: str = ""
    data: Any = None
    ends_at: float | None = None
    """Monotonic seconds at which the previous permanent choice returns; None for a permanent choice."""

    def request(self, now: float) -> dict[str, Any]:
        """Return the request SET_STATUS, with the seconds that are left at `now`."""
        fields: dict[str, Any] = {"type": "SET_STATUS", "status": self.status}
        if self.text:
            fields["text"] = self.text
        if self.emoji:
            fields["emoji"] = self.emoji
        if self.data is not None:
            fields["data"] = self.data
        if self.ends_at is not None:
            fields["expiresIn"] = self.ends_at - now
        return fields

    def is_shown_by(self, own: Self) -> bool:
        """Return whether the server has this choice. A claim hides the data of a choice, so it is not compared then."""
        same = (self.status, self.text, self.emoji) == (own.chosen, own.own_text, own.own_emoji)
        return same and bool(self.ends_at) == bool(own.own_until) and (own.claimed or self.data == own.data)
