"""The records the rules speak of. No behaviour."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Instant(NamedTuple):
    """One moment on two clocks: deadlines use the first, what people read uses the second."""

    monotonic: float
    """Seconds on a clock that never steps; only differences mean anything."""
    epoch_ms: int
    """Milliseconds since 1970-01-01 UTC by the wall clock, which may step."""


class Status(StrEnum):
    """What others may see of a user."""

    ONLINE = "online"
    OFFLINE = "offline"


class Ending(StrEnum):
    """How a connection ended; it decides the grace (`core.presence.Grace`)."""

    CLOSED = "closed"
    """The client closed it on purpose: code 1000, 1005 or one of its own (3000 to 4999)."""
    GOING_AWAY = "going_away"
    """The client's page is going away (1001): a reload, perhaps."""
    LOST = "lost"
    """It broke without a word (1006), or was ended for breaking a rule."""
    TIMED_OUT = "timed_out"
    """It no longer answered."""
    DISCONNECTED = "disconnected"
    """The application ended it (`handle_user_disconnect`)."""


class Cause(StrEnum):
    """Why a user's visible status changed."""

    CONNECT = "connect"
    CLOSE = "close"
    GRACE = "grace"
    """A grace ended and nobody had come back."""
    TIMEOUT = "timeout"
    """The last connection no longer answered, and there was no grace."""
    KICK = "kick"
    ANNOUNCEMENT = "announcement"
    """A backend said so (`broadcast_user_status`)."""


class Change(Struct, frozen=True, gc=False):
    """One user's visible status became another."""

    position: int
    """Place in the log of changes: 1, 2, 3, ... without a gap, across all users."""
    user_id: str
    status: Status
    version: int
    """Strictly increasing for one user; may skip."""
    at: Instant
    cause: Cause
